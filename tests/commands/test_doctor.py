"""``musetalk doctor`` as a user runs it, on a machine where much is broken."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from musetalk_cli.commands.doctor import _print
from musetalk_cli.doctor.checks.finding import warning
from musetalk_cli.doctor.checkup import GroupedFinding
from musetalk_cli.doctor.page import describe_json

ROOT = Path(__file__).parents[2]
BROKEN_MODULES = {
    "torch": "raise ImportError('libcudart.so.12: cannot open shared object file')",
    "sounddevice": "raise OSError('PortAudio library not found')",
}


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, str]:
    """Variables of a machine without torch, PortAudio, a home, UTF-8, and with an ffmpeg that cannot start."""
    for name, text in BROKEN_MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'libavdevice.so.59: cannot open shared object file' >&2\nexit 127\n")
    program.chmod(0o755)
    (tmp_path / "home").write_text("no folder")
    return {
        "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "MUSETALK_HOME": str(tmp_path / "home"),
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }


def run_doctor(variables: dict[str, str], *options: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "musetalk_cli", "doctor", *options]
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "MUSETALK_LOG")}
    return subprocess.run(
        command, capture_output=True, check=False, cwd=cwd, env={**environment, **variables}, timeout=100
    )


@pytest.mark.timeout(120)
def test_it_works_where_much_is_broken(broken: dict[str, str], tmp_path: Path) -> None:
    done = run_doctor(broken, cwd=tmp_path)
    page = done.stdout.decode("ascii")
    assert done.returncode == 0, page
    lines = {
        line[2:].split("  ")[0].strip(): line[0] for line in page.splitlines() if line.startswith(("+ ", "! ", "x "))
    }
    assert lines["render"] == "+"
    assert {lines[name] for name in ("ffmpeg on PATH", "microphone", "data folder")} == {"!"}
    assert b"Traceback" not in done.stderr
    assert str(Path.home()) + "/" not in page
    assert platform.node() not in page or len(platform.node()) < 3
    assert f"/{getpass.getuser()}/" not in page
    assert page.rstrip().splitlines()[-1].startswith("render works; ")


@pytest.mark.timeout(120)
def test_the_exit_code_says_that_render_does_not_work(broken: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("ffmpeg: /nowhere/ffmpeg\n")
    done = run_doctor(broken, "--json", "--config", "own.yaml", cwd=tmp_path)
    record = json.loads(done.stdout)
    assert done.returncode == 1
    assert record["render_works"] is False
    assert list(record) == list(describe_json()["properties"])
    states = {found["name"]: found["state"] for found in record["findings"]}
    assert states["ffmpeg"] == states["render"] == "failure"
    assert len(states) == len(record["findings"]), "a name stands for one thing"
    assert all(found["next_step"] for found in record["findings"] if found["state"] not in ("ok", "absent"))


def test_a_finding_does_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    found = warning("own avatars", "1, damaged: a\x1b]0;x\x07", "prepare them again")
    _print(GroupedFinding("models", found), is_first=True, is_new=False)
    assert "damaged: a\\x1b]0;x\\x07" in capsys.readouterr().out
