"""Where the time of ``musetalk render`` goes, by py-spy, written into docs/performance.md.

    python -m tools.measure.render_profile SPEECH.wav [--avatar AVATAR]

Needs py-spy (``pip install py-spy``). It samples every thread of the real command fifty times a second; threads that
wait for another, or for a pipe, are left out, so a share is one of the command's own work. ffmpeg's two processes are
not in it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tools.measure.command import COMMAND, ENVIRONMENT
from tools.measure.report import PERFORMANCE, describe_machine, update_section

RATE_HZ = 50
NUM_ROWS = 12
# A frame such as "render (musetalk_cli/engine/models/warp/face/mouth_warp.py:88)".
FRAME = re.compile(r"(.+) \((?:.*/)?([^/]+?)(?::\d+)?\)")
# What waits for another thread or for a pipe; the system does not always say that it sleeps.
WAITING = re.compile(
    r".*\((?:.*/)?(thread|threading|selectors|subprocess)\.py(:\d+)?\)"
    r"|.*(_drain_stderr|_read_output|_write_all) .*|thread \(.*"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--avatar", default="nora")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        stacks = record(args.speech, args.avatar, Path(name))
    own = Counter[str]()
    for leaf, count in stacks:
        if not WAITING.fullmatch(leaf):
            own[_place(leaf)] += count
    total = sum(own.values())
    rows = [f"| `{place}` | {count / total:.1%} |" for place, count in own.most_common(NUM_ROWS)]
    header = "| function | share |\n|---|---|"
    text = f"{describe_machine(renders=True)} {total / RATE_HZ:.1f} s of work.\n\n" + "\n".join([header, *rows])
    update_section("render profile", text, PERFORMANCE)
    print(text)


def record(speech: Path, avatar: str, folder: Path) -> list[tuple[str, int]]:
    """Innermost functions of the stacks that were seen, each with how often."""
    profiler = ["py-spy", "record", "--rate", str(RATE_HZ), "--format", "raw", "--output", folder / "stacks"]
    render = ["render", speech, "-o", folder / "talk.mp4", "--avatar", avatar, "-q"]
    command = [*profiler, "--", *COMMAND, *render]
    subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr, env=ENVIRONMENT)
    lines = (folder / "stacks").read_text().splitlines()
    return [(stack.rpartition(";")[2], int(count)) for stack, _, count in (line.rpartition(" ") for line in lines)]


def _place(leaf: str) -> str:
    found = FRAME.fullmatch(leaf)
    return f"{found[1]} ({found[2]})" if found else leaf


if __name__ == "__main__":
    main()
