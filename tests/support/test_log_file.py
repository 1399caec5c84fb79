"""``--verbose`` and MUSETALK_LOG: a log to attach, with what ran and without secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def log_of(run_cli: Run, tmp_path: Path) -> Callable[..., str]:
    """Run a command with MUSETALK_LOG; the log."""
    path = tmp_path / "run.log"

    def run(*args: object) -> str:
        done = run_cli(*args, env={**os.environ, "MUSETALK_LOG": str(path)}, cwd=tmp_path)
        assert b"log" not in done.stdout
        return path.read_text(encoding="utf-8")

    return run


def test_the_log_has_versions_commands_timings_and_figures(
    log_of: Callable[..., str], tone_wav: Callable[..., Path]
) -> None:
    log = log_of("render", tone_wav(0.5), "-o", "out.mp4", "--size", "96", "-q")
    assert log.startswith("musetalk log\n")
    for part in (
        "Python 3.",
        "numpy ",
        "command: ",
        "libx264",
        "ended with exit status 0 after ",
        '"num_frames": 13',
    ):
        assert part in log, part


def test_an_error_is_logged_with_its_traceback(log_of: Callable[..., str]) -> None:
    log = log_of("render", "missing.wav", "-o", "out.mp4")
    assert "Traceback" in log
    assert "missing.wav" in log


def test_keys_are_not_in_the_log(log_of: Callable[..., str], tone_wav: Callable[..., Path]) -> None:
    key = "live_123_AbCdEf"
    target = f"rtmp://127.0.0.1:9/app/{key}?auth=s3cr3ts3cr3t"
    log = log_of(
        "stream", "-i", tone_wav(0.3), "--no-pace", "--size", "96", "-o", target, "--on-sink-loss", "stop", "-q"
    )
    assert "rtmp://127.0.0.1:9/app/…" in log
    assert key not in log
    assert "s3cr3ts3cr3t" not in log


def test_a_secret_with_blanks_and_quotes_is_not_in_the_log(log_of: Callable[..., str]) -> None:
    log = log_of("render", "missing.wav", "-o", "srt://127.0.0.1:9?passphrase=it's my s3cr3t")
    assert "command: " in log
    assert "s3cr3t" not in log


@pytest.mark.parametrize("place", ["before", "behind"])
def test_verbose_chooses_a_file_and_says_so(run_cli: Run, tmp_path: Path, place: str) -> None:
    words = ("-v", "avatars") if place == "before" else ("avatars", "--verbose")
    done = run_cli(*words, cwd=tmp_path)
    (path,) = tmp_path.glob("musetalk-*.log")
    assert f"musetalk: the log is {path}" in done.stderr.decode()
    assert b"nora" in done.stdout
    assert "command: " in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["missing/run.log", "video.mp4", "pipe"])
def test_a_log_that_cannot_be_written_does_not_stop_the_command(run_cli: Run, tmp_path: Path, name: str) -> None:
    if name == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("Windows has no such pipes")
        os.mkfifo(tmp_path / name)
    (tmp_path / "video.mp4").write_bytes(b"a video")
    done = run_cli("avatars", env={**os.environ, "MUSETALK_LOG": name}, cwd=tmp_path)
    assert done.returncode == 0
    assert b"warning: there will be no log: " in done.stderr
    assert (tmp_path / "video.mp4").read_bytes() == b"a video"


def test_without_a_log_logging_is_not_even_loaded() -> None:
    code = "import sys, musetalk_cli.__main__, musetalk_cli.cli; print('logging' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_completing_a_line_starts_no_log(run_cli: Run, tmp_path: Path) -> None:
    variables = {"_MUSETALK_COMPLETE": "complete_bash", "COMP_WORDS": "musetalk -v rend", "COMP_CWORD": "2"}
    done = run_cli(env={**os.environ, **variables}, cwd=tmp_path)
    assert b"render" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_ends_nothing() -> None:
    code = (
        "import logging\n"
        "from musetalk_cli.support.log_file import LogHandler\n"
        "log = logging.getLogger('musetalk_cli'); log.addHandler(LogHandler('/dev/full'))\n"
        "log.warning('a line'); logging.shutdown()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_warnings_are_printed_as_before() -> None:
    code = (
        "import logging, tempfile\n"
        "from musetalk_cli.support.log_file import start_log\n"
        "start_log(tempfile.mkdtemp() + '/run.log', ['musetalk'])\n"
        "logging.getLogger('musetalk_cli.engine').warning('beware')\n"
        "logging.getLogger('musetalk_cli.engine').info('a detail')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "beware\n"
    assert done.stdout == ""
