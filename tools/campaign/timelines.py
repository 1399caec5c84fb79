"""Run random lives of a timeline against the model of what must come out of it, on all cores.

    python -m tools.campaign.timelines [--lives 100000] [--first-seed 0]

tests/engine/live/test_timeline.py runs 600 of them. Says the seeds that fail; the exit code is then 1. One is run again
with ``--lives 1 --first-seed SEED``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from fixtures.timeline_model import run_lives

GROUP = 500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=100_000)
    parser.add_argument("--first-seed", type=int, default=0)
    args = parser.parse_args()
    begin, failures, num_done = time.monotonic(), [], 0
    for count, failed in run(args.first_seed, args.lives):
        num_done += count
        failures += failed
        for failure in failed:
            print(f"\n{failure}", flush=True)
        print(f"\r{num_done} of {args.lives} lives, {len(failures)} failed", end="", flush=True)
    print(f", {time.monotonic() - begin:.0f} s")
    return 1 if failures else 0


def run(first_seed: int, num_lives: int) -> Iterator[tuple[int, list[str]]]:
    """How many lives more are over, and what was wrong with those that failed."""
    groups = [
        (seed, min(GROUP, first_seed + num_lives - seed)) for seed in range(first_seed, first_seed + num_lives, GROUP)
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(run_group, groups)


def run_group(group: tuple[int, int]) -> tuple[int, list[str]]:
    first_seed, count = group
    failures = []
    for seed in range(first_seed, first_seed + count):
        try:
            run_lives(seed, 1)
        except Exception as error:  # whatever it is, it belongs to this seed
            told = str(error) if isinstance(error, AssertionError) else f"life {seed}: {type(error).__name__}: {error}"
            failures.append(told)
    return count, failures


if __name__ == "__main__":
    sys.exit(main())
