"""A child's second input: both ways of giving it, on whatever system runs the tests."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fixtures.media import read_audio, read_frames
from musetalk_cli.system import extra_input
from musetalk_cli.system.extra_input import ExtraInput, PipeInput, SocketInput

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the pipe is POSIX's, and this tests both")

KINDS = [PipeInput, SocketInput]
READ = """
import os, socket, sys
kind, where = sys.argv[1].split(":", 1)
if kind == "pipe":
    data = open(int(where), "rb").read()
else:
    host, port = where.removeprefix("//").split(":")
    with socket.create_connection((host, int(port))) as connection:
        data = b"".join(iter(lambda: connection.recv(65536), b""))
sys.stdout.buffer.write(data)
"""


def start(extra: ExtraInput, code: str = READ) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", code, extra.url], stdout=subprocess.PIPE, pass_fds=extra.pass_fds)
    extra.connect(child.pid, lambda: child.poll() is None)
    return child


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_reads_all_of_it(kind: Callable[[], ExtraInput]) -> None:
    extra = kind()
    child = start(extra)
    sent = bytes(range(256)) * 4000
    for at in range(0, len(sent), 100_000):
        extra.write(sent[at : at + 100_000])
    extra.close()
    extra.close()
    assert child.communicate()[0] == sent


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_that_has_gone_breaks_the_pipe(kind: Callable[[], ExtraInput]) -> None:
    extra = kind()
    with start(extra, "") as child:
        child.wait()
    with closing(extra), pytest.raises(BrokenPipeError):
        extra.write(b"x")


def test_a_stranger_that_calls_first_gets_nothing() -> None:
    extra = SocketInput()
    port = int(extra.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        child = start(extra)
        extra.write(b"for the child")
        extra.close()
        assert child.communicate()[0] == b"for the child"
        assert stranger.recv(100) == b""


def test_a_video_is_the_same_through_a_socket(
    run_through_socket: Callable[..., None], ffmpeg: str, tone_wav: Callable[..., Path], tmp_path: Path
) -> None:
    voice, videos = tone_wav(1.0, 2), [tmp_path / "pipe.mp4", tmp_path / "socket.mp4"]
    for video in videos:
        run_through_socket(video == videos[1], voice, video)
    one, other = (read_frames(ffmpeg, video, 64, 64).tobytes() for video in videos)
    assert one == other
    one, other = (read_audio(ffmpeg, video, 2).tobytes() for video in videos)
    assert one == other


@pytest.fixture
def run_through_socket(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Render with either kind of second input."""
    import musetalk_cli
    from musetalk_cli.engine.video import encoder

    def run(uses_socket: bool, voice: Path, video: Path) -> None:
        kind = extra_input.SocketInput if uses_socket else extra_input.PipeInput
        monkeypatch.setattr(encoder, "open_extra_input", kind)
        musetalk_cli.render(voice, video, size=64)

    return run
