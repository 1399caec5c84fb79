"""Keeps the measured parts of a document up to date, and leaves its written parts alone."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import date
from pathlib import Path

from musetalk_cli.engine.runtime.ffmpeg import list_ffmpegs

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PERFORMANCE = ROOT / "docs" / "performance.md"
STREAMING = ROOT / "docs" / "streaming.md"
RELIABILITY = ROOT / "docs" / "reliability.md"
SERVER = ROOT / "docs" / "server.md"


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


def describe_machine(*, renders: bool = False) -> str:
    """``2026-11-25, x86_64, 2 cores, Python 3.11.2, ffmpeg 5.1.6.``

    ``renders``: whether what is measured is ``render``, which has an ffmpeg of its own.
    """
    ffmpeg = list_ffmpegs(is_local=renders)[0]
    told = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout.split()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{date.today()}, {platform.machine()}, {cores} cores, Python {platform.python_version()}, ffmpeg {told[2]}."
