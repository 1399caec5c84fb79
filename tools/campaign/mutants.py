"""Change the code in small ways, one at a time, and see that a test fails: what survives, no test sees.

    nice python -m tools.campaign.mutants [--minutes 20] [--seed 1] [--only WORD] [--state FOLDER]
    python -m tools.campaign.mutants --report [--state FOLDER]

Modules that time, cut, order, write and draw are changed in a copy: comparisons, arithmetic, constants, conditions,
removed calls, swapped arguments. Each mutant is run with the tests that reach its line. The order is drawn with the
seed, evenly over the rooms; what the state folder holds is not run again, so that a run can be gone on with. Mutants
that make no difference are in tools/campaign/mutation/equivalent.yaml, each with its reason.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from tools.campaign.mutation.operators import Mutant, find_mutants
from tools.campaign.mutation.reached import Reached, measure_reached, select_tests, target_files
from tools.campaign.mutation.work_copy import ROOT, TestServer, WorkCopy

EQUIVALENT = Path(__file__).parent / "mutation" / "equivalent.yaml"
# A mutant may run in circles: this many times as long as its tests take, and this many seconds more.
SLOWER, MORE_S = 6.0, 10.0
Record = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only modules whose path contains one of these words, with commas")
    parser.add_argument("--survivors", action="store_true", help="run those again that survived, not new ones")
    parser.add_argument("--report", action="store_true", help="run nothing; say what the state folder holds")
    parser.add_argument("--state", type=Path, default=ROOT / "build" / "mutants")
    args = parser.parse_args()
    args.state.mkdir(parents=True, exist_ok=True)
    files = [file for file in target_files() if any(word in file for word in args.only.split(","))]
    sources = {file: (ROOT / file).read_bytes() for file in files}
    mutants = draw([find_mutants(file, source) for file, source in sources.items()], args.seed)
    records = read_records(args.state)
    if not args.report:
        is_due = (
            (lambda key: records.get(key, {}).get("outcome") == "survived")
            if args.survivors
            else (lambda key: key not in records)
        )
        due = [mutant for mutant in mutants if is_due(mutant.key)]
        records |= run(due, sources, args.state, args.minutes * 60)
    current = [(mutant, records[mutant.key]) for mutant in mutants if mutant.key in records]
    print(report(current, sources, len(mutants)))
    return 0


def draw(mutants: list[list[Mutant]], seed: int) -> list[Mutant]:
    """All mutants in a drawn order: one of each room in turn, so that any beginning is a fair sample of every room."""
    rooms: dict[str, list[Mutant]] = {}
    for of_file in mutants:
        for mutant in of_file:
            rooms.setdefault(str(Path(mutant.file).parent), []).append(mutant)
    for room in rooms.values():
        random.Random(seed).shuffle(room)
    return [mutant for turn in zip_longest(*rooms.values()) for mutant in turn if mutant]


def read_records(state: Path) -> dict[str, Record]:
    """What earlier runs have found, by the mutants' keys."""
    path = state / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {record["key"]: record for record in map(json.loads, lines)}


def run(mutants: list[Mutant], sources: dict[str, bytes], state: Path, limit_s: float) -> dict[str, Record]:
    """Run mutants until the time is over; each result is written down at once."""
    copy = WorkCopy()
    server = TestServer(copy)
    results = state / "results.jsonl"
    try:
        reached = measure_reached(server, state, sorted({mutant.file for mutant in mutants}))
        end_s = time.monotonic() + limit_s
        left = run_patched(mutants, sources, copy, reached, results, limit_s)
        for mutant in left:
            if time.monotonic() > end_s:
                break
            note(results, run_one(mutant, sources[mutant.file], copy, server, reached))
    finally:
        server.close()
        copy.close()
    return read_records(state)


def run_patched(
    mutants: list[Mutant], sources: dict[str, bytes], copy: WorkCopy, reached: Reached, results: Path, limit_s: float
) -> list[Mutant]:
    """Run mutants whose code can be put into loaded modules, which is quick.

    Args:
        mutants: in the order to run them.
        sources: the text of each module.
        copy: where it happens.
        reached: which tests reach which lines.
        results: takes a line for each.
        limit_s: time for all of them.

    Returns:
        Those that show only when their module is imported.
    """
    by_key = {mutant.key: mutant for mutant in mutants}
    selections = {mutant.key: select_tests(mutant, reached) for mutant in mutants}
    left = []
    for record in copy.run_patched(mutants, selections, sources, limit_s, SLOWER, MORE_S):
        mutant = by_key[record["key"]]
        if record["outcome"] == "not patched":
            left.append(mutant)
        else:
            note(results, {**record, "num_tests": len(selections[mutant.key].tests), **asdict(mutant)})
            if record["outcome"] == "survived":
                print(describe(mutant), flush=True)
    return left


def note(results: Path, record: Record) -> None:
    with results.open("a") as file:
        file.write(json.dumps(record) + "\n")


def run_one(mutant: Mutant, source: bytes, copy: WorkCopy, server: TestServer, reached: Reached) -> Record:
    """Import a changed module, and run its tests."""
    selection = select_tests(mutant, reached)
    outcome, seconds = "not reached", 0.0
    if selection.tests:
        with copy.changed(mutant.file, mutant.apply(source)):
            answer = server.run(selection.tests, MORE_S + SLOWER * selection.seconds)
        seconds = answer["seconds"]
        outcome = {0: "survived", -1: "timed out"}.get(answer["code"], "caught")
    if outcome == "survived":
        print(describe(mutant), flush=True)
    record = {"key": mutant.key, "outcome": outcome, "num_tests": len(selection.tests), "seconds": round(seconds, 2)}
    return {**record, **asdict(mutant)}


def report(results: list[tuple[Mutant, Record]], sources: dict[str, bytes], num_all: int) -> str:
    """A table over the rooms, and what survived."""
    equivalent = {(each["file"], each["line"], each["new"]) for each in yaml.safe_load(EQUIVALENT.read_text()) or []}

    def makes_a_difference(mutant: Mutant) -> bool:
        return (mutant.file, line_of(mutant, sources), mutant.new) not in equivalent

    rooms: dict[str, list[int]] = {}
    left = []
    for mutant, record in results:
        if not record["num_tests"]:
            continue  # the tests beside its module do not reach it: nothing was run
        counts = rooms.setdefault(str(Path(mutant.file).parent.relative_to("musetalk_cli")), [0, 0, 0])
        is_caught = record["outcome"] != "survived"
        counts[0] += 1
        counts[1] += is_caught
        if not is_caught and makes_a_difference(mutant):
            left.append(mutant)
        elif not is_caught:
            counts[2] += 1
    return "\n".join(report_lines(rooms, left, num_all))


def report_lines(rooms: dict[str, list[int]], left: list[Mutant], num_all: int) -> Iterator[str]:
    yield "| room | run | caught | no difference | left | caught of those that make a difference |"
    yield "|---|--:|--:|--:|--:|--:|"
    total = [sum(column) for column in zip(*rooms.values(), strict=True)]
    for room, (run, caught, same) in [*sorted(rooms.items()), ("all", total or [0, 0, 0])]:
        share = 100 * caught / max(1, run - same)
        yield f"| `{room}` | {run} | {caught} | {same} | {run - caught - same} | {share:.0f} % |"
    yield f"\n{num_all} mutants in all."
    yield from (describe(mutant) for mutant in sorted(left, key=lambda mutant: (mutant.file, mutant.start)))


def line_of(mutant: Mutant, sources: dict[str, bytes]) -> str:
    return sources[mutant.file].splitlines()[mutant.line - 1].decode().strip()


def describe(mutant: Mutant) -> str:
    return (
        f"{mutant.file}:{mutant.line}: {mutant.kind}: {' '.join(mutant.old.split())} -> {' '.join(mutant.new.split())}"
    )


if __name__ == "__main__":
    sys.exit(main())
