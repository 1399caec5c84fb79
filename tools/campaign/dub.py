"""Dubs clips of every kind with their own audio: frames, timestamps, colours and audio stay; only mouths change.

    python -m tools.campaign.dub [--minutes 10]

It also dubs a clip of one and of ``--minutes`` minutes (0 for neither), and compares the memory that they take. It
prints one JSON object; the exit code is 1 where anything has changed that should not, or memory grows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from fixtures.dub_clips import CASES, NUM_FRAMES, DubCase, find_changes, write_rotated
from fixtures.programs import find_ffmpeg
from tools.measure.command import COMMAND, ENVIRONMENT

POLL_S = 0.1
MAX_GROWTH_MB = 40  # of ten times the length


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    minutes = parser.parse_args().minutes
    ffmpeg = find_ffmpeg("auto")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changes = {case.name: check(ffmpeg, case.write(ffmpeg, folder), case, folder) for case in CASES}
        changes["rotated"] = check(ffmpeg, write_rotated(ffmpeg, folder), CASES[0], folder)
        lengths = (1.0, minutes) if minutes else ()
        rss_mb = {f"{each:g} min": measure(ffmpeg, folder, each) for each in lengths}
    print(json.dumps({"changes": changes, "rss_mb": rss_mb}, indent=2))
    growth_mb = max(rss_mb.values(), default=0.0) - min(rss_mb.values(), default=0.0)
    sys.exit(1 if any(changes.values()) or growth_mb > MAX_GROWTH_MB else 0)


def check(ffmpeg: str, clip: Path, case: DubCase, folder: Path) -> list[str]:
    """Dub a clip and find what should not have changed."""
    output = folder / f"dubbed-{clip.name}"
    voice = [] if case.num_channels else [folder / f"{CASES[0].name}.wav"]
    call(clip, *voice, "-o", output)
    leaves = 2 * NUM_FRAMES // 3 if case.name == "leaves" else None
    changes = find_changes(ffmpeg, clip, output, leaves)
    print(f"{clip.name}: {'; '.join(changes) or 'as it should be'}", file=sys.stderr, flush=True)
    return changes


def call(*arguments: object) -> None:
    command = [*COMMAND, "dub", *map(str, arguments), "-q"]
    subprocess.run(command, env=ENVIRONMENT, check=True)


def measure(ffmpeg: str, folder: Path, minutes: float) -> float:
    """The most resident memory, 10⁶ bytes, of a dub of a clip so long; its children are not counted."""
    once, long = folder / f"{CASES[0].name}.mp4", folder / "long.mp4"
    loop = ["-stream_loop", "-1", "-i", str(once), "-t", str(60 * minutes), "-c", "copy", str(long)]
    subprocess.run([ffmpeg, "-v", "error", "-y", *loop], check=True)
    command = [*COMMAND, "dub", str(long), "-o", str(folder / "long-dubbed.mp4"), "--overwrite", "-q"]
    process = subprocess.Popen(command, env=ENVIRONMENT)
    most: Any = 0.0
    while process.poll() is None:
        try:
            most = max(most, psutil.Process(process.pid).memory_info().rss / 1e6)
        except psutil.Error:
            break
        time.sleep(POLL_S)
    return round(most, 1)


if __name__ == "__main__":
    main()
