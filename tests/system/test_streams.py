"""Standard streams that are closed, full, or in another encoding."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from musetalk_cli.system import streams
from musetalk_cli.ui.console import OutputMode, output_mode

RunCli = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], bytes]]:
    """What arrives of a text on a stderr in some encoding."""

    def write(text: str, encoding: str) -> bytes:
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding=encoding))
        streams.accept_every_character()
        sys.stderr.write(text)
        sys.stderr.flush()
        return raw.getvalue()

    yield write
    monkeypatch.undo()
    streams.accept_every_character()


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("0.3× → né", "utf-8", "0.3× → né".encode()),
        ("0.3× → né", "ascii", rb"0.3x -> n\xe9"),
        ("0.3× → né", "cp1252", b"0.3\xd7 -> n\xe9"),
        ("0.3× · né", "cp437", b"0.3x \xfa n\x82"),
        ("caf\udce9", "utf-8", b"caf\xe9"),  # the name of a file from an old disk
        ("語", "ascii", rb"\u8a9e"),
    ],
)
def test_every_character_arrives_somehow(
    text: str, encoding: str, expected: bytes, written: Callable[[str, str], bytes]
) -> None:
    assert written(text, encoding).rstrip() == expected


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musetalk_cli.ui.console.is_terminal", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    assert output_mode(is_quiet=False) is OutputMode.PLAIN
    monkeypatch.setenv("TERM", "xterm")
    assert output_mode(is_quiet=False) is OutputMode.TERMINAL


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_commands_print_in_any_encoding(encoding: str, run_cli: RunCli, tmp_path: Path) -> None:
    for command in (["avatars"], ["models", "list"], ["render", "-h"]):
        home = {"MUSETALK_HOME": str(tmp_path / "Zoë"), "PYTHONIOENCODING": encoding}
        done = run_cli(*command, env={**os.environ, **home})
        assert done.returncode == 0, done.stderr
        assert done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_on_stderr_and_endured_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "musetalk_cli", "avatars"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 1
        assert done.stderr == b"musetalk: error: cannot write to standard output: no space left on device\n"
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, check=False)
        assert done.returncode == 0
        assert b"nora" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a folder that is used cannot be removed there")
def test_a_working_directory_that_is_gone(tone_wav: Callable[..., Path], tmp_path: Path) -> None:
    gone, voice = tmp_path / "gone", tone_wav(0.3)
    script = f'mkdir -p "{gone}" && cd "{gone}" && rmdir "{gone}" && exec "$@"'
    base = ["sh", "-c", script, "sh", sys.executable, "-m", "musetalk_cli", "render", str(voice), "--size", "64", "-o"]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([*base, str(tmp_path / "out.mp4")], capture_output=True, env=here, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*base, "out.mp4"], capture_output=True, env=here, check=False)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1, done.stderr
    assert b"error: the working directory is gone" in done.stderr
