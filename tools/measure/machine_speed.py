"""Let ``musetalk bench`` measure this machine, and write what it prints into docs/performance.md.

    python -m tools.measure.machine_speed [--write] [--rounds 5] [BENCH OPTION…]

One section has the whole measurement, another the sweeps and several streams at once. Options that are not ours,
such as ``--model musetalk-1.5``, go to every ``musetalk bench``; a sweep that it refuses for that model is left out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from tools.measure.command import COMMAND
from tools.measure.report import PERFORMANCE, update_section

SWEEPS = ("batch", "workers", "block")
SESSIONS, SIZE = (2, 4), "512"
REFUSED = 2  # exit code
SEPARATOR = "\n\n"  # between the description of the machine and the figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", default="5")
    args, options = parser.parse_known_args()
    options += ["--rounds", args.rounds]
    whole = bench(options) or sys.exit(REFUSED)
    print(whole, flush=True)
    parts = [whole.split(SEPARATOR, 1)[0]]
    for choice in [*(["--sweep", name] for name in SWEEPS), *(["--sessions", str(count)] for count in SESSIONS)]:
        if text := bench([*options, *choice, "--size", SIZE]):
            parts.append(text.split(SEPARATOR, 1)[1])
            print(f"\n{parts[-1]}", flush=True)
    if args.write:
        update_section("bench", whole, PERFORMANCE)
        update_section("machine speed", "\n\n".join(parts), PERFORMANCE)


def bench(options: list[str]) -> str:
    """What it prints; empty where it refuses to measure this, and says so itself."""
    command = [*COMMAND, "bench", "--quiet", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, REFUSED):
        sys.exit(done.returncode)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
