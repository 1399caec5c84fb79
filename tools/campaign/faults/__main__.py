"""Kill, starve and disturb the commands at random, and see that what the documents promise holds.

    nice python -m tools.campaign.faults [--minutes 30] [--runs N] [--only kills,syscalls] [--seed 1] [--jobs 2]
    python -m tools.campaign.faults --report            # what has been found so far
    python -m tools.campaign.faults --write             # the same, into docs/reliability.md
    python -m tools.campaign.faults --again violations  # those in which something did not hold, or one by its key

Each run is drawn from the seed and its number. Results are kept in build/faults; the next call goes on behind them. The
exit code is 1 where something did not hold. Linux only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.campaign.faults import damage, kills, microphones, peers, refusals, surroundings, syscalls
from tools.campaign.faults.plans import Plan, Record
from tools.campaign.faults.report import describe, find_violations, table, write_report
from tools.campaign.faults.scenes import Place, Scene, all_scenes
from tools.campaign.faults.workshop import Workshop, accept_signals, open_workshop

ROOT = Path(__file__).parents[3]
# How many of a hundred runs.
SHARES = {
    "kills": 55,
    "refusals": 29,
    "syscalls": 4,
    "limits": 2,
    "disk": 2,
    "pipes": 2,
    "links": 1,
    "damage": 2,
    "peers": 1,
    "microphones": 1,
    "clock": 1,
    "rests": 1,
}
Maker = Callable[[random.Random, int], Plan]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--runs", type=int, default=1_000_000, help="at most")
    parser.add_argument("--only", default="", help=f"some of {', '.join(SHARES)}, with commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument(
        "--again", default="", metavar="KEY", help="one run, KIND-SEED-NUMBER, or violations: all those"
    )
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--write", action="store_true", help="run nothing; update docs/reliability.md")
    parser.add_argument("--state", type=Path, default=ROOT / "build" / "faults")
    args = parser.parse_args()
    args.state = args.state.resolve()  # nginx has a current folder of its own
    args.state.mkdir(parents=True, exist_ok=True)
    accept_signals()
    if args.write:
        write_report(read_records(args.state))
    if not (args.report or args.write):
        kinds = [kind for kind in SHARES if not args.only or kind in args.only.split(",")]
        records = read_records(args.state)
        keys = iter([args.again]) if args.again else new_keys(kinds, args.seed, records)
        if args.again == "violations":
            keys = iter([record["key"] for record in find_violations(records)])
        return run_all(keys, args.state, args.runs, args.minutes * 60, args.jobs)
    print(table(read_records(args.state)))
    return 0


def run_all(keys: Iterator[str], state: Path, num_runs: int, limit_s: float, jobs: int) -> int:
    """Run as many as the limits allow; returns the exit code."""
    end_s, lock, records = time.monotonic() + limit_s, threading.Lock(), list[Record]()
    keys = itertools.islice(keys, num_runs)
    with open_workshop(state / "workshop") as shop, (state / "results.jsonl").open("a") as results:
        makers = all_makers(shop, state)

        def work(slot: int) -> None:
            place = Place(state / f"world{slot}", shop)
            while time.monotonic() < end_s:
                with lock:
                    key = next(keys, None)
                if key is None:
                    return
                record = {"key": key, **run_one(key, makers, place)}
                with lock:
                    records.append(record)
                    results.write(json.dumps(record) + "\n")
                    results.flush()
                    if record.get("violations"):
                        print(describe(record), flush=True)

        with ThreadPoolExecutor(jobs) as pool:
            for done in [pool.submit(work, slot) for slot in range(jobs)]:
                done.result()
    violations = find_violations(records)
    print(f"{len(records)} runs, {len(violations)} with violations")
    return int(bool(violations))


def run_one(key: str, makers: dict[str, Maker], place: Place) -> Record:
    """The run that a key stands for; a kind that this machine cannot do is noted as skipped."""
    kind, seed, number = key.split("-")
    if kind not in makers:
        return {"skipped": True}
    plan = makers[kind](random.Random(f"{kind} {seed} {number}"), int(number))
    return plan.execute(place)


def all_makers(shop: Workshop, state: Path) -> dict[str, Maker]:
    """What makes the plans of each kind, as far as this machine can do them."""
    scenes = all_scenes(shop)
    light = [scene for scene in scenes if "models" not in scene.name and scene.name != "bench"]
    makers: dict[str, Maker] = {
        "kills": lambda chance, number: kills.make_plan(chance, number, scenes),
        "limits": lambda chance, number: surroundings.limits(chance, light),
        "pipes": lambda chance, number: surroundings.pipes(chance, scenes),
        "links": lambda chance, number: surroundings.links(chance, scenes),
        "damage": lambda chance, number: damage.damaged_files(chance, scenes),
        "peers": lambda chance, number: peers.peers(chance, scenes),
        "clock": lambda chance, number: surroundings.jumping_clock(chance, scenes),
        "rests": lambda chance, number: surroundings.rests(chance, light),
    }
    if microphones.has_microphone():
        makers["microphones"] = lambda chance, number: microphones.microphones(chance)
    if refusals.can_refuse():
        totals: dict[str, dict[str, int]] = {}
        makers["refusals"] = lambda chance, number: syscalls.make_refusal(chance, light, totals)
    if surroundings.can_mount(state / "mount"):
        makers["disk"] = lambda chance, number: surroundings.full_disk(chance, light)
    if syscalls.has_injection():
        counts = Counted(light, Place(state / "counted", shop))
        makers["syscalls"] = lambda chance, number: syscalls.make_plan(chance, light, counts)
    return makers


class Counted(dict[str, syscalls.Counts]):
    """Calls of each scene, counted when they are needed first, and kept from one call to the next."""

    def __init__(self, scenes: list[Scene], place: Place) -> None:
        super().__init__()
        self._scenes, self._place, self._lock = {scene.name: scene for scene in scenes}, place, threading.Lock()
        self._kept = place.root.with_name("counts.json")
        if self._kept.exists():
            self.update({name: syscalls.Counts(*counts) for name, counts in json.loads(self._kept.read_text()).items()})

    def __contains__(self, name: object) -> bool:
        return name in self._scenes

    def __missing__(self, name: str) -> syscalls.Counts:
        with self._lock:
            if name not in self.keys():
                self[name] = syscalls.count_calls(self._scenes[name], self._place)
                self._kept.write_text(json.dumps(self))
            return self[name]


def new_keys(kinds: list[str], seed: int, records: list[Record]) -> Iterator[str]:
    """Runs that are still to do, the kinds mixed by their shares."""
    done = {record["key"] for record in records}
    chance = random.Random(f"order {seed}")
    numbers = dict.fromkeys(kinds, 0)
    while True:
        kind = chance.choices(kinds, [SHARES[each] for each in kinds])[0]
        number, numbers[kind] = numbers[kind], numbers[kind] + 1
        if (key := f"{kind}-{seed}-{number}") not in done:
            yield key


def read_records(state: Path) -> list[Record]:
    """What earlier calls have found; of a run that was done again, what was found last."""
    path = state / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return list({record["key"]: record for record in map(json.loads, lines)}.values())


if __name__ == "__main__":
    sys.exit(main())
