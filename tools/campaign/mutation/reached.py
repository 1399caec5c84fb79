"""Which tests reach which lines: measured once, remembered as long as neither a test file nor the code has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.campaign.mutation.operators import Mutant
from tools.campaign.mutation.work_copy import ROOT, TestServer

PACKAGE = "musetalk_cli"
TESTS = ROOT / "tests"
# What times, cuts, orders, writes and draws.
TARGETS = (
    "engine/live",
    "engine/audio",
    "engine/outputs",
    "engine/runtime",
    "engine/video",
    "engine/models/warp",
    "engine/types",
    "engine/pipeline.py",
    "engine/session.py",
    "engine/session_output.py",
    "engine/avatar/cycle.py",
    "engine/avatar/frame_store.py",
    "engine/avatar/preparation/smoothing.py",
    "app/batch",
    "serve/cluster",
    "system/heap.py",
)
# No help: tests that start browsers or Ray, and those of the neural model.
SKIPPED_TESTS = ("browser", "musetalk", "test_contract", "test_ray")
TRACE_TIMEOUT_S = 400.0
# Tests beyond this many seconds are not tried: they reach the line, but their business is another.
MAX_TESTS_S = 12.0

Reached = dict[str, dict[str, Any]]


def target_files() -> list[str]:
    """Paths below ROOT of the modules to change."""
    paths = [path for target in TARGETS for path in _modules(ROOT / PACKAGE / target)]
    return sorted(str(path.relative_to(ROOT)) for path in paths if path.name != "__init__.py")


def _modules(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def list_test_files(files: Sequence[str]) -> list[str]:
    """The tests beside these modules: in the folders that mirror theirs, below and above them, but for the outermost. A
    single module of TARGETS has those that are called after it."""
    inside = {Path(file).relative_to(PACKAGE) for file in files}
    single = {path for path in inside if str(path) in TARGETS}
    folders = {path.parent for path in inside - single}
    found = []
    for path in sorted(TESTS.rglob("test_*.py")):
        folder = path.parent.relative_to(TESTS)
        is_near = len(folder.parts) > 1 and any(
            folder.is_relative_to(of) or of.is_relative_to(folder) for of in folders
        )
        if is_near or folder / path.name.removeprefix("test_") in single:
            found.append(str(path.relative_to(ROOT)))
    return [name for name in found if not any(part in name for part in SKIPPED_TESTS)]


def measure_reached(server: TestServer, state: Path, files: Sequence[str]) -> Reached:
    """For each test beside the modules ``files`` that passes: ``seconds`` and ``lines`` (file → numbers)."""
    folder = state / "reached"
    folder.mkdir(parents=True, exist_ok=True)
    targets = target_files()
    hashes = {file: _hash_of(file) for file in targets}
    selected = {file: hashes[file] for file in files}
    reached: Reached = {}
    for test_file in list_test_files(files):
        place = folder / f"{test_file.replace('/', '.')}.{_hash_of(test_file)[:12]}.json"
        if not place.exists() or _is_stale(json.loads(place.read_text()), selected):
            answer = server.run([test_file], TRACE_TIMEOUT_S, targets)
            print(f"{answer['seconds']:6.1f} s  {test_file}: {len(answer['reached'])} tests", flush=True)
            place.write_text(json.dumps({"hashes": hashes, "tests": answer["reached"]}))
        found = json.loads(place.read_text())["tests"]
        failed = found.pop("failed", {})
        reached |= {name: test for name, test in found.items() if name not in failed}
    return reached


def _is_stale(remembered: dict[str, Any], hashes: dict[str, str]) -> bool:
    """Whether one of these modules has changed since, and a test of the file reaches it."""
    tests = [test for name, test in remembered["tests"].items() if name != "failed"]
    reached = {file for test in tests for file in test["lines"]}
    return any(remembered["hashes"].get(file) != sha256 for file, sha256 in hashes.items() if file in reached)


def _hash_of(file: str) -> str:
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest()


@dataclass(frozen=True)
class Selection:
    """The tests for a mutant, in the order to run them, and how long they took without it."""

    tests: list[str]
    seconds: float


def select_tests(mutant: Mutant, reached: Reached) -> Selection:
    """Those that reach its line, else its statement, of a constant its module; from the mirrored folder first."""
    near = str(Path(mutant.file).parent).replace("musetalk_cli", "tests", 1)
    own = [{mutant.line}, set(range(mutant.statement_line, mutant.line + 1))]
    for wanted in own if mutant.in_function else [None]:
        found = [
            name
            for name, test in reached.items()
            if (hit := test["lines"].get(mutant.file)) and (wanted is None or wanted & set(hit))
        ]
        if found:
            break
    found.sort(key=lambda name: (not name.startswith(near), reached[name]["seconds"]))
    tests, seconds = [], 0.0
    for name in found:
        if not tests or seconds + reached[name]["seconds"] <= MAX_TESTS_S:
            tests.append(name)
            seconds += reached[name]["seconds"]
    return Selection(tests, seconds)
