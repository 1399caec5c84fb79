"""Keeps the measured parts of a document up to date, and leaves its written parts alone."""

from __future__ import annotations

from pathlib import Path


def update_section(name: str, text: str, document: Path) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- end of name -->``; add both at the end where missing."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    old = document.read_text(encoding="utf-8") if document.exists() else ""
    if begin not in old:
        old = f"{old.rstrip()}\n\n{begin}\n{end}\n"
    before, rest = old.split(begin, 1)
    after = rest.split(end, 1)[1]
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", encoding="utf-8")
