from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from musetalk_cli.engine.runtime.ffmpeg import FfmpegProcess, describe_status, find_error, kill_all, list_ffmpegs
from musetalk_cli.errors import EncoderError


def test_ffmpeg_is_found_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    bundled = list_ffmpegs("bundled")
    assert list_ffmpegs("auto") == bundled
    mine = tmp_path / "ffmpeg"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    assert list_ffmpegs("auto") == [str(mine), *bundled]
    assert list_ffmpegs("auto", is_local=True) == [*bundled, str(mine)]
    assert list_ffmpegs(str(mine)) == [str(mine)]
    with pytest.raises(EncoderError, match="no ffmpeg at '/nowhere/ffmpeg'"):
        list_ffmpegs("/nowhere/ffmpeg")


def test_a_program_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="cannot start"):
        FfmpegProcess([str(tmp_path / "missing")], stdin=-3)


@pytest.mark.parametrize(
    ("status", "words"),
    [(1, "ended with exit status 1"), (-9, "was killed by SIGKILL"), (-70, "was killed by signal 70")],
)
def test_statuses_in_words(status: int, words: str) -> None:
    assert describe_status(status) == words


@pytest.mark.parametrize(
    ("log", "error"),
    [
        (["[info] Input #0, wav", "[aac @ 0x5] [error] not [so] good", "[fatal] Conversion failed!"], "not [so] good"),
        (["[mov @ 0x5] [fatal] no space left"], "no space left"),
        (["[info]     title: [error] is what it is called", "[warning] late"], ""),
        (["[warning] late", "ffmpeg: error while loading shared libraries: libx264.so"], "libx264.so"),
        ([], ""),
    ],
)
def test_the_reason_in_a_log(log: list[str], error: str) -> None:
    assert find_error(log).removeprefix("ffmpeg: error while loading shared libraries: ") == error


@pytest.mark.parametrize(
    "words", ["Error writing trailer of a.mkv: No space", "[out#0 @ 0x5] Error closing file a.mkv: I/O"]
)
def test_an_end_that_was_not_written_is_a_failure(tmp_path: Path, words: str) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho '[error] {words}' >&2\n")
    program.chmod(0o755)
    process = FfmpegProcess([str(program)], stdin=subprocess.DEVNULL)
    try:
        assert process.wait() == 1
        assert process.error.endswith(words)
    finally:
        process.close()


def test_a_process_knows_its_error(ffmpeg: str, tmp_path: Path) -> None:
    command = [ffmpeg, "-hide_banner", "-loglevel", "level+info", "-i", str(tmp_path / "missing"), "-f", "null", "-"]
    process = FfmpegProcess(command, stdin=subprocess.DEVNULL)
    try:
        assert process.wait()
        assert process.error.endswith(": No such file or directory")
    finally:
        process.close()


def test_all_that_run_can_be_killed_at_once(ffmpeg: str) -> None:
    processes = [FfmpegProcess([ffmpeg, "-i", "pipe:0"], stdin=subprocess.PIPE) for _ in range(2)]
    kill_all()
    assert [process.wait() for process in processes] == [-signal.SIGKILL] * 2
    for process in processes:
        process.close()


def test_closing_ends_one_that_still_runs(ffmpeg: str) -> None:
    process = FfmpegProcess([ffmpeg, "-f", "wav", "-i", "pipe:0", "-f", "null", "-"], stdin=subprocess.PIPE)
    assert process.is_running
    process.close()
    assert not process.is_running
    assert process.wait() == -signal.SIGKILL


def test_a_pipe_that_fails_ends_the_reading_of_the_log_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    process = FfmpegProcess([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)

    class Failing:
        def __iter__(self) -> Failing:
            return self

        def __next__(self) -> bytes:
            raise OSError(5, "Input/output error")

    stderr, process._child.stderr = process._child.stderr, Failing()  # type: ignore[assignment]
    process._drain_stderr()
    process._child.stderr = stderr
    process.close()
    assert capfd.readouterr().err == ""
