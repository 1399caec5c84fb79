"""Put known bugs into a copy of the code, one at a time, and see that the tests catch each.

    python -m tools.campaign.known_bugs [--only WORD] [--list]

The bugs are in tools/campaign/mutation/known_bugs.yaml. The exit code is 1 where one is not caught, or where the text
that it replaces is no longer in its file.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from tools.campaign.mutation.work_copy import ROOT, WorkCopy

BUGS = Path(__file__).parent / "mutation" / "known_bugs.yaml"
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class KnownBug:
    """``old`` stands once in ``file`` and becomes ``new``; one of ``tests`` must fail with it."""

    name: str
    file: str
    old: str
    new: str
    tests: list[str]

    def apply(self, text: str) -> str:
        """The file's text with the bug. Raises ValueError where its place is not found, or not clear."""
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.name}: the text to replace is {count} times in {self.file}: {self.old!r}")
        return text.replace(self.old, self.new)


def read_bugs() -> list[KnownBug]:
    return [KnownBug(**record) for record in yaml.safe_load(BUGS.read_text(encoding="utf-8"))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only bugs whose name or file contains this")
    parser.add_argument("--list", action="store_true", help="only name them")
    args = parser.parse_args()
    bugs = [bug for bug in read_bugs() if args.only in bug.name or args.only in bug.file]
    changed = {bug.name: bug.apply((ROOT / bug.file).read_text(encoding="utf-8")) for bug in bugs}
    if args.list:
        print("\n".join(f"{bug.file}: {bug.name}" for bug in bugs))
        return 0
    copy = WorkCopy()
    try:
        results = [run(copy, bug, changed[bug.name]) for bug in bugs]
    finally:
        copy.close()
    print(f"{sum(results)} of {len(results)} caught")
    return 0 if all(results) else 1


def run(copy: WorkCopy, bug: KnownBug, text: str) -> bool:
    """Whether the tests catch a bug."""
    started_s = time.perf_counter()
    with copy.changed(bug.file, text.encode()):
        outcome, tail = copy.run_tests(bug.tests, TIMEOUT_S)
    is_caught = outcome != "passed"
    mark = "caught    " if is_caught else "NOT CAUGHT"
    print(f"{mark} {time.perf_counter() - started_s:6.1f} s  {bug.file}: {bug.name}", flush=True)
    first = next((line for line in tail.splitlines() if "FAILED" in line or "rror" in line), "")
    print(f"           {first[:160]}" if is_caught else "", flush=True)
    return is_caught


if __name__ == "__main__":
    sys.exit(main())
