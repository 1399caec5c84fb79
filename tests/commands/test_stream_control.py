"""``musetalk stream --control``: a voice that is interrupted while it speaks, in every way that commands can come."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fixtures.media import read_audio, read_frames, write_wav
from fixtures.servers import pulse_audio

RATE_HZ = 16_000
STEP_S = 0.02
BLOCK_S = 0.2
SMALL = ("--size", "96", "--block", BLOCK_S)
OPTIONS = ("--input", "-", "--format", "s16le", "--rate", RATE_HZ, *SMALL)
WORD_HZ, LATER_HZ = 440, 1_100
PULSE = pytest.mark.needs("pulseaudio", "paplay", "pactl")
Send = Callable[[str], str]  # a line → the reply, empty where there is none


class Voice:
    """Tones in real time that change on request, written to whatever takes bytes."""

    def __init__(self, write: Callable[[bytes], object], head: bytes = b"") -> None:
        self.tone_hz = WORD_HZ
        self._write, self._head = write, head
        self._is_over = False
        self._speaker = threading.Thread(target=self._speak, daemon=True)
        self._speaker.start()

    def end(self) -> None:
        self._is_over = True
        self._speaker.join()

    def _speak(self) -> None:
        begun, count = time.monotonic(), round(STEP_S * RATE_HZ)
        self._write(self._head)
        for step in range(100_000):
            if self._is_over:
                return
            times = (np.arange(count) + step * count) / RATE_HZ
            wave = 8_000 * np.sin(2 * np.pi * self.tone_hz * times)
            try:
                self._write(wave.astype("<i2").tobytes())
            except OSError:
                return
            time.sleep(max(0.0, begun + (step + 1) * STEP_S - time.monotonic()))


class Stream:
    """The real command with a voice that speaks in real time, by default on its standard input."""

    def __init__(
        self,
        folder: Path,
        control: str,
        fds: tuple[int, ...] = (),
        options: tuple[object, ...] = OPTIONS,
        voice: Voice | None = None,
        environment: dict[str, str] | None = None,
        head: bytes = b"",
    ) -> None:
        self.take, self.stats = folder / "take.mp4", folder / "stats.jsonl"
        files = ("-o", self.take, "--stats", self.stats, "--control", control)
        command = [sys.executable, "-m", "musetalk_cli", "stream", *map(str, (*options, *files))]
        stdin = subprocess.DEVNULL if voice else subprocess.PIPE
        self.child = subprocess.Popen(command, stdin=stdin, stderr=subprocess.PIPE, pass_fds=fds, env=environment)
        self.voice = voice or Voice(self._say, head)

    def wait_for_bytes(self, num_bytes: int) -> None:
        deadline = time.monotonic() + 60
        target = num_bytes + (self.take.stat().st_size if self.take.exists() else 0)
        while not (self.take.exists() and self.take.stat().st_size > target):
            assert self.child.poll() is None, self.child.stderr.read().decode()  # type: ignore[union-attr]
            assert time.monotonic() < deadline, "nothing came out"
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        """The exit code and the messages, after all that was said."""
        self.voice.end()
        if self.child.stdin:
            with contextlib.suppress(OSError):
                self.child.stdin.close()
            self.child.stdin = None
        _, messages = self.child.communicate(timeout=60)
        return self.child.returncode, messages.decode()

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()
        self.voice.end()

    def _say(self, data: bytes) -> None:
        assert self.child.stdin
        self.child.stdin.write(data)
        self.child.stdin.flush()


@pytest.fixture(params=["descriptor", "fifo", "socket"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Stream, Send]]:
    """A stream, and a way to send it commands."""
    path = tmp_path / "control"
    if request.param == "descriptor":
        read_fd, write_fd = os.pipe()
        stream = Stream(tmp_path, str(read_fd), (read_fd,))
        os.close(read_fd)
    else:
        if request.param == "fifo":
            os.mkfifo(path)
        stream = Stream(tmp_path, str(path))
    connection: socket.socket | None = None

    def send(line: str) -> str:
        nonlocal connection
        if request.param == "descriptor":
            os.write(write_fd, f"{line}\n".encode())
        elif request.param == "fifo":
            path.write_bytes(f"{line}\n".encode())
        else:
            if connection is None:
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(str(path))
            connection.sendall(f"{line}\n".encode())
            return connection.makefile().readline().strip()
        return ""

    try:
        yield stream, send
    finally:
        stream.kill()
        if connection:
            connection.close()
        if request.param == "descriptor":
            os.close(write_fd)


def tones(audio: np.ndarray, window: int = 960) -> tuple[np.ndarray, np.ndarray]:
    """How much of both tones every 20 ms hold."""
    whole = audio[: len(audio) // window * window, 0].reshape(-1, window).astype(float)
    times = np.arange(window) / 48_000
    return tuple(  # type: ignore[return-value]
        np.abs(whole @ np.exp(-2j * np.pi * hz * times)) / window for hz in (WORD_HZ, LATER_HZ)
    )


def test_a_voice_is_interrupted_and_a_later_one_is_heard(way: tuple[Stream, Send], ffmpeg: str) -> None:
    stream, send = way
    stream.wait_for_bytes(60_000)
    stream.voice.tone_hz = LATER_HZ
    reply = send("clear")
    stream.wait_for_bytes(60_000)
    status, messages = stream.end()
    assert status == 0, messages
    assert "interrupted after" in messages
    assert not reply or reply.startswith("ok clear ")
    audio = read_audio(ffmpeg, stream.take)
    word, later = (level > 1_000 for level in tones(audio))
    assert word.any()
    assert later.any()
    gap = np.flatnonzero(later)[0] - np.flatnonzero(word)[-1]
    assert gap * 0.02 > BLOCK_S, "what was read and not shown is dropped; a block and its look-ahead come anew"
    assert gap * 0.02 < 2.0
    between = np.abs(audio[(np.flatnonzero(word)[-1] + 2) * 960 : (np.flatnonzero(later)[0] - 1) * 960])
    assert between.max() < 300, "silence, after 20 ms"
    if reply:
        word_s = np.count_nonzero(word) * 0.02
        assert word_s - 0.1 <= float(reply.split()[-1]) + 0.17 + 0.1, "what was heard is not more than was told"
    assert len(read_frames(ffmpeg, stream.take, 96, 96)) / 25 == pytest.approx(len(audio) / 48_000, abs=0.08)
    records = [json.loads(line)["live"] for line in stream.stats.read_text().splitlines()]
    assert abs(records[-1]["skew_ms"]) < 0.1
    assert records[-1]["latency"]["run_p95_s"] < 3.0


@pytest.fixture(params=["container", pytest.param("microphone", marks=PULSE)])
def other_source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stream]:
    """A voice that comes otherwise than as raw samples, in real time, too."""
    control = str(tmp_path / "control")
    with contextlib.ExitStack() as stack:
        if request.param == "container":
            stream = Stream(tmp_path, control, options=("--input", "-", *SMALL), head=endless_wav())
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pulse"))
            server = stack.enter_context(pulse_audio(Path(folder)))
            player = server.open_player(RATE_HZ)
            stack.enter_context(player)
            stack.callback(player.kill)
            assert player.stdin
            voice = Voice(partial(os.write, player.stdin.fileno()))
            stream = Stream(tmp_path, control, options=("--mic", *SMALL), voice=voice, environment=server.environment)
        stack.callback(stream.kill)
        yield stream


def wait_until_heard(stream: Stream, ffmpeg: str, tone: int) -> None:
    """Until the video holds one of both tones for half a second: ffmpeg needs seconds of a container at first."""
    deadline = time.monotonic() + 40
    stream.wait_for_bytes(10_000)
    while np.count_nonzero(tones(read_audio(ffmpeg, stream.take))[tone] > 1_000) < 25:
        assert time.monotonic() < deadline, "nothing was heard"
        stream.wait_for_bytes(2_000)


def test_other_sources_are_interrupted_as_well(other_source: Stream, ffmpeg: str, tmp_path: Path) -> None:
    stream = other_source
    wait_until_heard(stream, ffmpeg, 0)
    stream.voice.tone_hz = LATER_HZ
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "control"))
        connection.sendall(b"clear\n")
        assert connection.makefile().readline().startswith("ok clear ")
    wait_until_heard(stream, ffmpeg, 1)
    stream.child.send_signal(signal.SIGINT)
    status, messages = stream.end()
    assert status in (0, 130), messages
    assert "interrupted after" in messages
    audio = read_audio(ffmpeg, stream.take)
    word, later = (level > 1_000 for level in tones(audio))
    assert word.any()
    assert later.any()
    assert np.diff(np.flatnonzero(word | later)).max() > 1, "it has faded out between"
    assert len(read_frames(ffmpeg, stream.take, 96, 96)) / 25 == pytest.approx(len(audio) / 48_000, abs=0.08)
    assert abs(json.loads(stream.stats.read_text().splitlines()[-1])["live"]["skew_ms"]) < 0.1


def endless_wav() -> bytes:
    """The head of a WAV of 16-bit mono whose end nobody knows."""
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 2**32 - 1, b"WAVE", b"fmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    return head + struct.pack("<4sI", b"data", 2**32 - 1)


def test_a_file_goes_on_where_it_was_read_to(ffmpeg: str, tmp_path: Path) -> None:
    """It cannot be told to forget: what was read and not shown is left out, and the rest follows."""
    times = np.arange(12 * 48_000) / 48_000
    sweep = 8_000 * np.sin(2 * np.pi * (300 + 50 * times) * times)  # its frequency says where it is
    wav = write_wav(tmp_path / "sweep.wav", sweep.astype(np.int16)[:, None])
    stream = Stream(tmp_path, str(tmp_path / "control"), options=("--input", wav, *SMALL), voice=Voice(len))
    try:
        stream.wait_for_bytes(40_000)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tmp_path / "control"))
            connection.sendall(b"clear\n")
            assert connection.makefile().readline().startswith("ok clear ")
        status, messages = stream.end()
    finally:
        stream.kill()
    assert status == 0, messages
    audio = read_audio(ffmpeg, stream.take)[:, 0].astype(float)
    windows = audio[: len(audio) // 4_800 * 4_800].reshape(-1, 4_800)
    pitch_hz = np.abs(np.fft.rfft(windows * np.hanning(4_800))).argmax(axis=1) * 10
    steps = np.diff(pitch_hz[np.abs(windows).max(axis=1) > 4_000])
    assert np.count_nonzero(steps > 25) == 1, "one leap ahead"
    assert (steps >= -10).all(), "nothing comes twice"
    assert 1.5 < len(audio) / 48_000 < 12.0


def test_many_interruptions_leave_frames_and_audio_together(way: tuple[Stream, Send], ffmpeg: str) -> None:
    stream, send = way
    stream.wait_for_bytes(40_000)
    for _ in range(12):
        send("clear")
        stream.wait_for_bytes(2_000)
    status, messages = stream.end()
    assert status == 0, messages
    assert messages.count("interrupted after") == 12
    audio, images = read_audio(ffmpeg, stream.take), read_frames(ffmpeg, stream.take, 96, 96)
    assert len(images) / 25 == pytest.approx(len(audio) / 48_000, abs=0.08)
    assert abs(json.loads(stream.stats.read_text().splitlines()[-1])["live"]["skew_ms"]) < 0.1


def test_bad_lines_are_told_and_ignored(way: tuple[Stream, Send]) -> None:
    stream, send = way
    stream.wait_for_bytes(20_000)
    replies = [send(line) for line in ("panic\x1b[2J", "x" * 5_000, "clear", "mute", "stop")]
    stream.child.wait(60)
    status, messages = stream.end()
    assert status == 0, messages
    assert "control: unknown command 'panic\\x1b[2J'" in messages
    assert messages.count("control: a line is too long") == 1
    assert "muted" in messages
    assert not any(replies) or [reply.split()[0] for reply in replies] == ["error", "error", "ok", "ok", "ok"]


def test_a_socket_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    stream = Stream(tmp_path, str(path))
    peers = [socket.socket(socket.AF_UNIX) for _ in range(12)]
    try:
        stream.wait_for_bytes(20_000)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for peer in peers[:6]:
            peer.connect(str(path))
            peer.sendall(b"mute\n" * 1_001 + b"cle")  # nobody reads the replies
        for peer in peers[:3]:
            peer.close()
        stream.wait_for_bytes(20_000)
        status, messages = stream.end()
    finally:
        stream.kill()
        for peer in peers:
            peer.close()
    assert status == 0, messages
    assert not path.exists()


@pytest.mark.parametrize(("where", "words"), [("1", "no descriptor"), ("99", "no descriptor"), ("taken", "in use")])
def test_where_no_commands_can_come_from(tmp_path: Path, where: str, words: str) -> None:
    (tmp_path / "taken").write_bytes(b"kept")
    command = [sys.executable, "-m", "musetalk_cli", "stream", *map(str, OPTIONS), "-o", "a.mp4", "--control", where]
    done = subprocess.run(command, cwd=tmp_path, input=bytes(32_000), capture_output=True, check=False)
    assert done.returncode in (1, 2), done.stderr.decode()
    assert words in done.stderr.decode()
    assert len(done.stderr.decode().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_voice_without_a_clock_cannot_be_interrupted(run_cli: Callable[..., subprocess.CompletedProcess[bytes]],
                                                       tmp_path: Path) -> None:  # fmt: skip
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"clear\n")
    os.close(write_fd)
    options = (*OPTIONS, "--no-pace", "-o", tmp_path / "take.mp4", "--control", read_fd)
    done = run_cli("stream", *options, input=bytes(64_000), pass_fds=(read_fd,))
    os.close(read_fd)
    assert done.returncode == 0, done.stderr.decode()
    assert b"cannot be interrupted" in done.stderr
