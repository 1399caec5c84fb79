"""The campaign of kills and faults sees what does not hold, and draws the same runs again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from tools.campaign.faults import damage, kills, report
from tools.campaign.faults.__main__ import new_keys, read_records
from tools.campaign.faults.plans import Plan, Record
from tools.campaign.faults.processes import Command, End
from tools.campaign.faults.refusals import Refusals, can_refuse
from tools.campaign.faults.scenes import Outcome, Place, Scene
from tools.campaign.faults.workshop import Workshop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

END = End(0, "", 1.0, 0.0, 50.0, ())
SCENE = Scene("something", lambda place: ["true"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("world/work", "world/home", "world/tmp", "world-logs"):
        (tmp_path / name).mkdir(parents=True)
    return Place(tmp_path / "world", Workshop(tmp_path, frozenset(), dict(os.environ), None))


def judge(place: Place, end: End, scene: Scene = SCENE, codes: frozenset[int] = frozenset({0, 1, 130})) -> list[str]:
    return list(Plan(scene, "", lambda place: end, codes).judge(place, end))


def test_an_end_that_is_right_is_no_violation(place: Place) -> None:
    assert judge(place, END) == []
    assert judge(place, END._replace(code=1, stderr="musetalk: error: no disk (buy one)")) == []


@pytest.mark.parametrize(
    "end, words",
    [
        (END._replace(code=None), "still running"),
        (END._replace(code=7), "exit code 7"),
        (END._replace(orphans=("ffmpeg -i x",)), "left running: ffmpeg"),
        (END._replace(code=1, stderr="musetalk: internal error: x"), "without a name"),
        (END._replace(code=130, stderr="Traceback (most recent call last):"), "without a name"),
        (END._replace(code=1, stderr="something else"), "without a line"),
        (END._replace(peak_mb=5000), "MB of memory"),
    ],
)
def test_an_end_that_is_wrong_is_seen(place: Place, end: End, words: str) -> None:
    assert any(words in each for each in judge(place, end))


def test_a_stray_file_is_seen_and_remains_of_a_kill_are_not(place: Place) -> None:
    (place.work / ".anna.part-12").touch()
    (place.work / "odd").touch()
    assert set(SCENE.find_strays(place, Outcome(is_killed=False, is_done=True))) == {
        "stray file .anna.part-12",
        "stray file odd",
    }
    assert list(SCENE.find_strays(place, Outcome(is_killed=True, is_done=False))) == ["stray file odd"]


def test_a_process_that_stays_is_found_and_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.campaign.faults.processes.GONE_S", 0.1)
    leave = "import subprocess; subprocess.Popen(['sleep', '60'], start_new_session=True)"
    command = Command([sys.executable, "-c", leave], place.work, place.logs, dict(os.environ))
    command.start()
    end = command.wait(30, 30)
    assert (end.code, end.orphans) == (0, ("sleep 60",))


def test_a_command_that_ignores_its_signal_is_still_running_at_the_bound(place: Place) -> None:
    ignore = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); sys.stdin.read()"
    reading, writing = os.pipe()
    command = Command([sys.executable, "-c", ignore], place.work, place.logs, dict(os.environ), stdin=reading)
    command.start()
    written = place.logs / "stdout"
    while not (written.exists() and written.read_bytes()):
        time.sleep(0.01)
    kills.strike(command, "musetalk", signal.SIGTERM, "once", 0)
    assert command.wait(30, 0.2).code is None
    os.close(reading)
    os.close(writing)


def test_codes_follow_the_signal() -> None:
    assert kills.allowed_codes("musetalk", signal.SIGINT, "once") == {130, -2, 0}
    assert 1 in kills.allowed_codes("encoder", signal.SIGTERM, "once")
    assert 1 not in kills.allowed_codes("encoder", signal.SIGTERM, "stopped first")


def test_a_seed_draws_the_same_runs_and_goes_on_behind_those_that_are_done(tmp_path: Path) -> None:
    kinds = ["kills", "syscalls"]
    first = list(islice(new_keys(kinds, 5, []), 20))
    assert first == list(islice(new_keys(kinds, 5, []), 20))
    done: list[Record] = [{"key": key} for key in first[:7]]
    assert list(islice(new_keys(kinds, 5, done), 13)) == first[7:]
    lines = [{"key": "kills-1-0", "violations": ["x"]}, {"key": "kills-1-0"}]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_records(tmp_path) == [{"key": "kills-1-0"}], "a run that was done again counts once"


@pytest.mark.parametrize("region", damage.REGIONS)
def test_damage_is_the_same_for_a_seed(region: str) -> None:
    data = bytes(range(256)) * 8
    damaged = [damage.damage(data, region, 0.5, random.Random(3)) for _ in range(2)]
    assert damaged[0] == damaged[1] != data


def test_the_table_counts_runs_in_which_something_was_done() -> None:
    record = {"scene": "render", "code": 0, "wait_s": 1.5, "seconds": 2.0, "words": "", "stderr": ""}
    records = [
        {**record, "key": "kills-1-0", "struck": ""},
        {**record, "key": "kills-1-1", "struck": "SIGINT"},
        {**record, "key": "kills-1-2", "struck": "SIGINT", "violations": ["bad"]},
    ]
    assert "| signals to a process of the tree | 2 | 1 |" in report.table(records)
    assert "| render | 2 | 1.5 |" in report.table(records)


@pytest.mark.skipif(not can_refuse(), reason="needs seccomp's notifications")
def test_one_call_of_many_is_refused(tmp_path: Path) -> None:
    code = (
        "import os, socket, sys\n"
        "from tools.campaign.faults.refusals import hand_over\n"
        "hand_over([int(each) for each in sys.argv[3].split(',')], socket.socket(fileno=int(sys.argv[2])))\n"
        "for name in 'abc':\n"
        "    try:\n        os.mkdir(f'{sys.argv[1]}/{name}')\n"
        "    except OSError as error:\n        print(name, error.errno)"
    )
    with Refusals(["mkdir"], 2, 2, "ENOSPC") as refusals:
        numbers, channel = refusals.watched
        args = [sys.executable, "-c", code, str(tmp_path), str(channel), ",".join(map(str, numbers))]

        done = subprocess.run(args, pass_fds=[channel], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("b 28\n", 0), done.stderr
    assert refusals.counts["mkdir"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]
