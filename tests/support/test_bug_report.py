"""Errors that are ours: one line that says what, where to report it, and which file to attach."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from musetalk_cli.support import versions

BUG = """
import sys, musetalk_cli.cli as cli
sys.argv = ["musetalk", "devices"]
commands = {command.name: command for command in cli.app.registered_commands}
commands["devices"].callback = lambda: 1 / 0
cli.run()
"""


def run_with_bug(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(tmp_path), **variables}
    return subprocess.run([sys.executable, "-c", BUG], capture_output=True, text=True, check=False, env=environment)


def test_a_bug_is_told_in_one_line_with_a_file_to_attach(tmp_path: Path) -> None:
    done = run_with_bug(tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    found = re.fullmatch(
        r"musetalk: internal error: ZeroDivisionError: division by zero; this is a bug in musetalk: please report it"
        r".* and attach (\S+)\n",
        done.stderr,
    )
    assert found, done.stderr
    report = Path(found[1]).read_text(encoding="utf-8")
    assert "ZeroDivisionError" in report
    assert "Traceback" in report
    assert "musetalk 0." in report


def test_a_bug_in_a_stage_is_told_the_same_way(tmp_path: Path) -> None:
    raising = """
def fail():
    from musetalk_cli.errors import StageError
    raise StageError("internal error in the model stage: ValueError: odd") from ValueError("odd")
"""
    code = BUG.replace("\ncommands = ", f"{raising}\ncommands = ").replace("lambda: 1 / 0", "fail")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("musetalk: internal error in the model stage: ValueError: odd; this is a bug")
    (report,) = tmp_path.glob("musetalk-bug-*.log")
    assert "StageError" in report.read_text(encoding="utf-8")


def test_a_log_that_is_written_is_the_file(tmp_path: Path) -> None:
    done = run_with_bug(tmp_path, MUSETALK_LOG=str(tmp_path / "own.log"))
    assert done.stderr.endswith(f"attach {tmp_path / 'own.log'}\n")
    assert "ZeroDivisionError" in (tmp_path / "own.log").read_text(encoding="utf-8")
    assert list(tmp_path.glob("musetalk-bug-*")) == []


def test_a_library_that_cannot_be_loaded_is_no_bug_of_ours(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("raise ImportError('libyaml.so.9: cannot open shared object file')")
    (tmp_path / "own.yaml").write_text("avatar: theo")
    command = [sys.executable, "-m", "musetalk_cli", "render", "--config", "own.yaml", "--print-config"]
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 1
    assert "error: a library cannot be loaded: libyaml.so.9" in done.stderr
    assert "bug" not in done.stderr


class FakeDistribution(Distribution):
    def __init__(self, point: str, urls: str = "", record: str = "") -> None:
        self._texts = {
            "METADATA": f"Metadata-Version: 2.1\nName: musetalk\nVersion: 1\n{urls}",
            "entry_points.txt": f"[console_scripts]\nmusetalk = {point}\n",
            "direct_url.json": record,
        }

    def read_text(self, filename: str) -> str | None:
        return self._texts.get(filename) or None

    def locate_file(self, path: object) -> Path:
        return Path(str(path))


def test_the_address_is_what_the_metadata_say(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = "Project-URL: Homepage, https://a.example\nProject-URL: Issues, https://a.example/issues\n"
    monkeypatch.setattr(versions, "distribution", lambda name: FakeDistribution("musetalk_cli.__main__:main", urls))
    assert versions.report_address() == "https://a.example/issues"


def test_another_project_of_that_name_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = "Project-URL: Issues, https://other.example/issues\n"
    monkeypatch.setattr(versions, "distribution", lambda name: FakeDistribution("musetalk.cli:main", urls))
    assert versions.report_address() == ""
    assert versions.own_distribution() is None


def test_the_commit_is_the_installed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    record = '{"url": "https://a.example/r.git", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}'
    found = FakeDistribution("musetalk_cli.__main__:main", record=record)
    monkeypatch.setattr(versions, "distribution", lambda name: found)
    assert versions.find_commit() == "0123456"
