"""Resolve every dependency of every extra again, and write the versions and their hashes down.

    python -m tools.assets.lock               # as few changes as the ranges in pyproject.toml ask for
    python -m tools.assets.lock --upgrade     # the newest versions
    python -m tools.assets.lock --constraints # the versions alone, on stdout, as PIP_CONSTRAINT takes them

Needs uv: ``pip install uv``. One file serves Linux, macOS and Windows, and Python 3.10 and newer.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "lock.txt"
HASH = re.compile(r"\s*\\?\n\s+--hash=\S+")
COMMAND = ("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.10", "--all-extras")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true")
    parser.add_argument("--constraints", action="store_true")
    args = parser.parse_args()
    if args.constraints:
        sys.stdout.write(without_hashes(LOCK.read_text(encoding="utf-8")))
        return 0
    return resolve(is_upgrade=args.upgrade)


def resolve(*, is_upgrade: bool) -> int:
    """Write the lock file; uv keeps the versions that are there, where they fit."""
    options = ["--generate-hashes", "--output-file", str(LOCK), *(["--upgrade"] if is_upgrade else [])]
    # An index of the machine's own is named in no file.
    environment = {**os.environ, "UV_CUSTOM_COMPILE_COMMAND": "python -m tools.assets.lock"}
    return subprocess.run([*COMMAND, *options, "pyproject.toml"], cwd=ROOT, env=environment, check=False).returncode


def without_hashes(lock: str) -> str:
    """The pinned versions with their markers: with hashes, pip would ask for one of the project itself."""
    return "".join(
        f"{line}\n" for line in HASH.sub("", lock).splitlines() if line and not line.lstrip().startswith("#")
    )


if __name__ == "__main__":
    sys.exit(main())
