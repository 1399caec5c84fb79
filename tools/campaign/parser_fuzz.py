"""``python -m tools.campaign.parser_fuzz [--executions 2000000]``: damaged inputs for everything that reads bytes.

Each is read, or refused with an error of ours, within a bound of time and memory. Findings are printed once for each
place, with the seed that finds it again: ``--parser NAME --seed N --executions 1``. The exit code is 1 if there are
any.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NamedTuple

from fixtures.parsers import all_parsers, find_fault

LONGEST_S = 5.0  # of CPU, for one input
MEMORY_BYTES = 1 << 30  # beside what the process has before the first input
CHUNK = 2_000


class Found(NamedTuple):
    """The outcome of a run of seeds: faults by their words, each with a seed, and the largest memory in MB."""

    num_executions: int
    faults: dict[str, int]
    memory_mb: int


class HangError(Exception):
    """One input took longer than any may."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=2_000_000, help="of all parsers together")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--parser", help="only this one")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        weights = {each.name: each.weight for each in all_parsers(Path(folder))}
    weights = {options.parser: 1} if options.parser else weights
    began, num_faults, num_executions = time.monotonic(), 0, 0
    for name, weight in weights.items():
        share = -(-options.executions * weight // sum(weights.values()))
        found = fuzz(name, range(options.seed, options.seed + share), options.jobs)
        num_executions += share
        num_faults += len(found.faults)
        print(
            f"{name:20} {found.num_executions:9,} executions, {len(found.faults)} faults, {found.memory_mb} MB",
            flush=True,
        )
        for words, seed in sorted(found.faults.items()):
            print(f"    {words}  (--parser {name} --seed {seed} --executions 1)")
    print(f"{num_executions:,} executions in {time.monotonic() - began:.0f} s, {num_faults} faults")
    return int(num_faults > 0)


def fuzz(name: str, seeds: range, jobs: int) -> Found:
    """Give a parser the inputs of these seeds, in several processes."""
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    if len(chunks) <= 1 or jobs <= 1:
        results = [run_chunk(name, chunk) for chunk in chunks]
    else:
        # Not ProcessPoolExecutor, which stands still once its children have done as many tasks as they may.
        with Pool(jobs, maxtasksperchild=50) as pool:
            results = pool.map(partial(run_chunk, name), chunks, chunksize=1)
    faults: dict[str, int] = {}
    for result in results:
        faults = {**result.faults, **faults}
    return Found(len(seeds), faults, max((result.memory_mb for result in results), default=0))


def run_chunk(name: str, seeds: range) -> Found:
    """The inputs of some seeds, in this process."""
    faults: dict[str, int] = {}
    signal.signal(signal.SIGPROF, _stop)
    with TemporaryDirectory() as folder, _bounded_memory(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser = next(each for each in all_parsers(Path(folder)) if each.name == name)
        for seed in seeds:
            signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
            fault = find_fault(parser, seed)
            signal.setitimer(signal.ITIMER_PROF, 0)
            if fault:
                faults.setdefault(fault, seed)
    return Found(len(seeds), faults, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise HangError(f"longer than {LONGEST_S} s")


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let an input that wants too much end in a MemoryError, not in the end of the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


if __name__ == "__main__":
    sys.exit(main())
