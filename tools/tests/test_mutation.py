"""The list of known bugs is true, and the mutants are what they say."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools.campaign import mutants
from tools.campaign.known_bugs import KnownBug, read_bugs
from tools.campaign.mutation.operators import Mutant, find_mutants
from tools.campaign.mutation.reached import list_test_files, select_tests, target_files
from tools.campaign.mutation.work_copy import ROOT

SOURCE = b'''
"""A module; its 3 numbers are in no mutant."""
from __future__ import annotations

SIZE = 8


def count(items: list[int], start: int = 0) -> float:
    """Items from 5 on."""
    total = 0.5
    for item in items:
        if item >= 5 and item != SIZE:
            total += max(item, start) - 1
    notify(items, start)
    kill(items, 9)
    if total is None:
        raise ValueError(f"{total + 1}, not {2 + 2}")
    return -total
'''


@pytest.mark.parametrize("bug", read_bugs(), ids=lambda bug: bug.name.replace(" ", "-"))
def test_a_known_bug_can_still_be_put_in(bug: KnownBug) -> None:
    """Its text has moved or changed? Give today's in tools/campaign/mutation/known_bugs.yaml."""
    changed = bug.apply((ROOT / bug.file).read_text(encoding="utf-8"))
    ast.parse(changed)
    for test in bug.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).exists(), f"{bug.name}: there is no {path}"
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{bug.name}: no {name}"


def test_a_bug_whose_place_is_gone_or_not_clear_is_an_error() -> None:
    bug = KnownBug("off by one", "a.py", "n + 1", "n", [])
    assert bug.apply("n + 1") == "n"
    for text in ("n + 2", "n + 1, n + 1"):
        with pytest.raises(ValueError, match="off by one"):
            bug.apply(text)


def test_a_module_has_these_mutants() -> None:
    changes = {(mutant.kind, mutant.old, mutant.new) for mutant in find_mutants("a.py", SOURCE)}
    assert changes == {
        ("constant", "8", "9"),
        ("constant", "8", "(7)"),
        ("constant", "0", "1"),
        ("constant", "0", "(-1)"),
        ("constant", "0.5", "0.625"),
        ("condition", "item >= 5 and item != SIZE", "(not (item >= 5 and item != SIZE))"),
        ("logic", "item >= 5 and item != SIZE", "(item >= 5 or item != SIZE)"),
        ("comparison", "item >= 5", "(item > 5)"),
        ("comparison", "item != SIZE", "(item == SIZE)"),
        ("constant", "5", "6"),
        ("constant", "5", "(4)"),
        ("removed step", "total += max(item, start) - 1", "pass"),
        ("arithmetic", "max(item, start) - 1", "(max(item, start) + 1)"),
        ("opposite function", "max(item, start)", "min(item, start)"),
        ("constant", "1", "2"),
        ("constant", "1", "(0)"),
        ("removed call", "notify(items, start)", "pass"),
        ("swapped arguments", "notify(items, start)", "notify(start, items)"),
        ("removed call", "kill(items, 9)", "pass"),
        ("condition", "total is None", "(not (total is None))"),
        ("comparison", "total is None", "(total is not None)"),
        ("sign", "-total", "(total)"),
    }


def test_every_mutant_is_a_module_and_has_a_key_of_its_own() -> None:
    found = find_mutants("a.py", SOURCE)
    changed = {mutant.apply(SOURCE) for mutant in found}
    assert len(changed) == len({mutant.key for mutant in found}) == len(found)
    for text in changed:
        ast.parse(text)
    assert [mutant.line for mutant in found] == sorted(mutant.line for mutant in found)
    assert [mutant.old for mutant in found if not mutant.in_function] == ["8", "8", "0", "0"]


def test_the_targets_and_their_tests_exist() -> None:
    assert len(target_files()) > 50
    assert all((ROOT / name).exists() for name in target_files())


def test_modules_are_tested_by_what_is_beside_them() -> None:
    live = list_test_files(["musetalk_cli/engine/live/clock.py"])
    assert "tests/engine/live/test_feed.py" in live
    assert all(name.startswith("tests/engine/live/") for name in live)
    warp = list_test_files(["musetalk_cli/engine/models/warp/face/skin_layers.py"])
    assert "tests/engine/models/warp/test_golden_faces.py" in warp
    assert all("warp" in name for name in warp)
    assert list_test_files(["musetalk_cli/engine/pipeline.py"]) == ["tests/engine/test_pipeline.py"]


def mutant_at(line: int, statement_line: int | None = None, *, in_function: bool = True) -> Mutant:
    return Mutant(
        "musetalk_cli/engine/live/a.py", line, statement_line or line, 0, 1, "a", "b", "constant", in_function
    )


def test_the_tests_that_reach_a_line_are_run_the_mirrored_and_quick_ones_first() -> None:
    file = "musetalk_cli/engine/live/a.py"
    reached = {
        "tests/engine/test_all.py::x": {"seconds": 0.1, "lines": {file: [1, 2, 3]}},
        "tests/engine/live/test_a.py::slow": {"seconds": 2.0, "lines": {file: [2, 5]}},
        "tests/engine/live/test_a.py::quick": {"seconds": 1.0, "lines": {file: [2]}},
        "tests/engine/live/test_a.py::endless": {"seconds": 200.0, "lines": {file: [2]}},
        "tests/engine/audio/test_b.py::y": {"seconds": 1.0, "lines": {"musetalk_cli/engine/audio/b.py": [2]}},
    }
    quick, slow = "tests/engine/live/test_a.py::quick", "tests/engine/live/test_a.py::slow"
    assert select_tests(mutant_at(2), reached).tests == [quick, slow, "tests/engine/test_all.py::x"]
    assert select_tests(mutant_at(2), reached).seconds == pytest.approx(3.1)
    assert select_tests(mutant_at(6, statement_line=5), reached).tests == [slow]
    assert select_tests(mutant_at(40), reached).tests == []
    assert len(select_tests(mutant_at(40, in_function=False), reached).tests) == 3, "a constant: those of its module"
    assert select_tests(mutant_at(2), {}).tests == []


def test_the_order_is_drawn_and_fair_to_every_room() -> None:
    rooms = [
        [Mutant(f"engine/{room}/a.py", line, line, line, line + 1, "a", "b", "constant") for line in range(count)]
        for room, count in (("live", 50), ("video", 5))
    ]
    order = mutants.draw(rooms, seed=3)
    assert order == mutants.draw(rooms, seed=3) != mutants.draw(rooms, seed=4)
    assert sum("video" in mutant.file for mutant in order[:10]) == 5
    assert len(order) == 55


def test_the_report_leaves_out_what_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = "musetalk_cli/engine/live/a.py"
    sources = {file: b"a = 1\nb = 2\nc = 3\n"}
    monkeypatch.setattr(mutants, "EQUIVALENT", tmp_path / "equivalent.yaml")
    mutants.EQUIVALENT.write_text(f"- {{file: {file}, line: b = 2, new: '3', why: nobody reads it}}\n")
    outcomes = ["caught", "survived", "survived"]
    found = [mutant for mutant in find_mutants(file, sources[file]) if not mutant.new.startswith("(")]
    results = [(mutant, {"outcome": outcome, "num_tests": 1}) for mutant, outcome in zip(found, outcomes, strict=True)]
    report = mutants.report(results, sources, num_all=6).splitlines()
    assert "| `engine/live` | 3 | 1 | 1 | 1 | 50 % |" in report
    assert report[-1] == f"{file}:3: constant: 3 -> 4"
