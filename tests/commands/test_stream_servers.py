"""A real RTMP server that is pulled from, killed, started again and frozen; and SRT received."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fixtures.media import packet_times, read_audio, read_frames
from fixtures.servers import RtmpServer, rtmp_server, tls_front

SMALL = ("--size", "96", "--block", "0.4")
RAW = ("-i", "-", "--format", "s16le", "--rate", "16000")
NGINX = pytest.mark.needs("nginx")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtmpServer]:
    with rtmp_server(tmp_path / "server") as running:
        yield running


class Session:
    """A stream that somebody hums into, in real time, until it is told to end."""

    def __init__(self, folder: Path, *args: object) -> None:
        command = [sys.executable, "-m", "musetalk_cli", "stream", *RAW, *SMALL, *map(str, args)]
        self._child = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    def hum_until(self, is_enough: Callable[[], bool], limit_s: float = 45) -> None:
        times = np.arange(1_600) / 16_000
        hum = (6_000 * np.sin(2 * np.pi * 200 * times)).astype("<i2").tobytes()
        deadline = time.monotonic() + limit_s
        while not is_enough():
            assert self._child.poll() is None, self._child.stderr.read().decode()  # type: ignore[union-attr]
            assert time.monotonic() < deadline, "it did not happen"
            self._child.stdin.write(hum)  # type: ignore[union-attr]
            self._child.stdin.flush()  # type: ignore[union-attr]
            time.sleep(0.1)

    def end(self) -> str:
        self._child.send_signal(signal.SIGINT)
        voice, self._child.stdin = self._child.stdin, None  # left open, or the voice's end could be what ends it
        _, messages = self._child.communicate(timeout=40)
        voice.close()  # type: ignore[union-attr]
        assert self._child.returncode == 130, messages.decode()
        return messages.decode()

    def kill(self) -> None:
        self._child.kill()
        self._child.communicate()


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    started: list[Session] = []

    def begin(*args: object) -> Session:
        started.append(Session(tmp_path, *args))
        return started[-1]

    yield begin
    for session in started:
        session.kill()


def grown(path: Path, num_bytes: int) -> Callable[[], bool]:
    return lambda: path.exists() and path.stat().st_size > num_bytes


def assert_whole(ffmpeg: str, take: Path) -> int:
    """The file beside a server that fails: every frame and all of the audio. Returns the number of frames."""
    times = packet_times(ffmpeg, take, "v")
    # The muxer moves everything but the first frame by the packet that the AAC encoder begins with.
    assert np.abs(np.diff(times[1:]) - 0.04).max() < 1e-3, "no frame is missing"
    assert len(times) / 25 == pytest.approx(len(read_audio(ffmpeg, take)) / 48_000, abs=0.08)
    return len(times)


@NGINX
def test_a_server_gets_it_and_gives_it_on(
    server: RtmpServer, sessions: Callable[..., Session], tmp_path: Path, ffmpeg: str
) -> None:
    session = sessions("-o", server.address, "-o", "take.mp4")
    session.hum_until(grown(tmp_path / "take.mp4", 30_000))
    pulled = tmp_path / "pulled.flv"
    puller = subprocess.Popen([ffmpeg, "-v", "error", "-i", server.address, "-c", "copy", "-t", "2", str(pulled)])
    try:
        session.hum_until(lambda: puller.poll() is not None)
        assert puller.returncode == 0
    finally:
        puller.kill()
        puller.wait()
    session.end()
    assert len(packet_times(ffmpeg, pulled, "v")) >= 48
    assert_whole(ffmpeg, tmp_path / "take.mp4")


@NGINX
@pytest.mark.needs("openssl")
def test_a_server_behind_tls(server: RtmpServer, sessions: Callable[..., Session], tmp_path: Path, ffmpeg: str) -> None:
    with tls_front(tmp_path, server.port) as port:
        session = sessions("-o", f"rtmps://127.0.0.1:{port}/live/talk")
        session.hum_until(lambda: bool(server.recordings) and server.recordings[-1].stat().st_size > 40_000)
        session.end()
    received = server.recordings[-1]
    assert len(packet_times(ffmpeg, received, "v")) >= 25
    assert len(read_audio(ffmpeg, received)) >= 48_000, "a second of it at least"


@NGINX
def test_a_server_that_is_killed_and_started_again(
    server: RtmpServer, sessions: Callable[..., Session], tmp_path: Path, ffmpeg: str
) -> None:
    take = tmp_path / "take.mp4"
    session = sessions("-o", server.address, "-o", take)
    session.hum_until(lambda: bool(server.recordings) and server.recordings[-1].stat().st_size > 20_000)
    server.kill()
    session.hum_until(grown(take, take.stat().st_size + 20_000))
    server.start()
    session.hum_until(lambda: len(server.recordings) > 1 and server.recordings[-1].stat().st_size > 20_000)
    messages = session.end()
    assert messages.count("trying again") == 1
    assert messages.count("goes on") == 1
    assert "talk" not in messages.replace("take", ""), "the stream's key is not shown"
    assert_whole(ffmpeg, take)
    server.kill()
    assert len(read_frames(ffmpeg, server.recordings[-1], 96, 96)) > 10


@NGINX
def test_a_server_that_is_frozen_stalls_nobody(
    server: RtmpServer, sessions: Callable[..., Session], tmp_path: Path, ffmpeg: str
) -> None:
    take, stats = tmp_path / "take.mp4", tmp_path / "stats.jsonl"
    session = sessions("-o", server.address, "-o", take, "--stats", stats)
    session.hum_until(lambda: bool(server.recordings))
    server.send_signal(signal.SIGSTOP)
    before = take.stat().st_size
    session.hum_until(grown(take, before + 60_000))
    server.send_signal(signal.SIGCONT)
    size = server.recordings[-1].stat().st_size
    session.hum_until(lambda: server.recordings[-1].stat().st_size > size + 20_000)
    session.end()
    assert_whole(ffmpeg, take)


def speaks_srt(ffmpeg: str) -> bool:
    done = subprocess.run([ffmpeg, "-hide_banner", "-protocols"], capture_output=True, text=True, check=True)
    return "srt" in done.stdout.split()


def test_srt_is_received(sessions: Callable[..., Session], tmp_path: Path, ffmpeg: str) -> None:
    if not speaks_srt(ffmpeg):
        pytest.skip("this ffmpeg has no SRT")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        address = f"srt://127.0.0.1:{free.getsockname()[1]}"
    received = tmp_path / "received.ts"
    receive = ["-probesize", "50000", "-i", f"{address}?mode=listener", "-c", "copy", "-t", "3", str(received)]
    receiver = subprocess.Popen([ffmpeg, "-v", "error", *receive])
    try:
        session = sessions("-o", address, "-o", "take.mp4")
        session.hum_until(lambda: receiver.poll() is not None)
        assert receiver.returncode == 0
        session.end()
    finally:
        receiver.kill()
        receiver.wait()
    assert len(packet_times(ffmpeg, received, "v")) >= 70
    assert_whole(ffmpeg, tmp_path / "take.mp4")
