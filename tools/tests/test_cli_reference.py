"""docs/cli.md is what the Typer app says today."""

from __future__ import annotations

from pathlib import Path

from tools.assets.cli_reference import SECTION, describe

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "cli.md"


def test_the_reference_is_up_to_date() -> None:
    begin, end = f"<!-- {SECTION} -->", f"<!-- end of {SECTION} -->"
    written = DOCUMENT.read_text(encoding="utf-8").split(begin, 1)[1].split(end, 1)[0]
    assert written.strip() == describe(), "run python -m tools.assets.cli_reference --write"
