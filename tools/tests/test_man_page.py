"""docs/man/musetalk.1 is what the Typer app says today, and a clean manual page."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.assets.man_page import describe, escape, paragraphs

PAGE = Path(__file__).parent.parent.parent / "docs" / "man" / "musetalk.1"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == describe(), "run python -m tools.assets.man_page --write"


def test_the_page_is_ascii_and_names_every_command() -> None:
    page = describe()
    assert page.isascii()
    for name in ("render", "stream", "serve", "prepare\\-avatar", "doctor", "models download", "avatars rename"):
        assert f".SS musetalk {name}\n" in page


@pytest.mark.needs("mandoc")
def test_the_page_is_clean() -> None:
    done = subprocess.run(["mandoc", "-Tlint", str(PAGE)], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_text_is_no_request() -> None:
    assert paragraphs(".mp4 and\n'quoted'") == ["\\&.mp4 and 'quoted'"]
    assert escape("a-b \\ é …") == "a\\-b \\e \\[u00E9] ..."
