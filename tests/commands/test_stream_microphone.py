"""A real (virtual) microphone: PulseAudio without a sound card."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fixtures.media import read_audio, read_frames, write_wav
from fixtures.servers import PulseAudio, pulse_audio

SMALL = ("--size", "96", "--block", "0.4")
PULSE = pytest.mark.needs("pulseaudio", "paplay", "pactl")


@pytest.fixture
def microphone() -> Iterator[PulseAudio]:
    with tempfile.TemporaryDirectory(prefix="pulse") as folder, pulse_audio(Path(folder)) as server:
        yield server


@pytest.fixture
def no_audio(tmp_path: Path) -> dict[str, str]:
    """An environment in which no audio server answers."""
    return PulseAudio(tmp_path).environment


def stream(environment: dict[str, str], *args: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "musetalk_cli", "stream", "--mic", *map(str, args)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def wait_until_larger(path: Path, num_bytes: int, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 40
    while not (path.exists() and path.stat().st_size > num_bytes):
        assert child.poll() is None, child.stderr.read().decode()  # type: ignore[union-attr]
        assert time.monotonic() < deadline, "nothing came out"
        time.sleep(0.05)


def babble(duration_s: float) -> np.ndarray:
    """Syllables of noise with pauses: a signal that fits onto itself at one place only. int16 (n, 1), 48 kHz."""
    random = np.random.default_rng(3)
    noise = np.convolve(random.standard_normal(int(duration_s * 48_000)), np.ones(16) / 16, mode="same")
    envelope = np.repeat(random.uniform(0, 1, int(duration_s * 5) + 1), 9_600)[: len(noise)]
    return (12_000 * noise * envelope).astype(np.int16)[:, None]


def place(heard: np.ndarray, said: np.ndarray) -> tuple[int, float]:
    """Where in ``heard`` the audio lies, in samples, and how alike they are (correlation)."""
    size = 1 << int(np.ceil(np.log2(len(heard) + len(said))))
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size))
    at = int(np.argmax(np.fft.irfft(spectrum, size)[: len(heard)]))
    part = heard[at : at + len(said)]
    return at, float(np.corrcoef(part, said[: len(part)])[0, 1])


@PULSE
def test_what_is_said_is_what_is_recorded(microphone: PulseAudio, tmp_path: Path, ffmpeg: str) -> None:
    said = babble(5.0)
    wav = write_wav(tmp_path / "said.wav", said)
    child = stream(microphone.environment, *SMALL, "-o", tmp_path / "take.mp4")
    try:
        wait_until_larger(tmp_path / "take.mp4", 5_000, child)
        assert microphone.play(wav).wait(30) == 0
        time.sleep(1.0)  # until the last of it has come through PulseAudio
        child.send_signal(signal.SIGINT)
        _, messages = child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130, messages.decode()
    heard = read_audio(ffmpeg, tmp_path / "take.mp4")[:, 0].astype(float)
    _, alike = place(heard, said[:, 0].astype(float))
    assert alike > 0.98, "the same audio, as AAC leaves it, without a gap"
    num_frames = len(read_frames(ffmpeg, tmp_path / "take.mp4", 96, 96))
    assert num_frames / 25 == pytest.approx(len(heard) / 48_000, abs=0.08)


@PULSE
def test_a_microphone_that_goes_away_and_comes_back(microphone: PulseAudio, tmp_path: Path, ffmpeg: str) -> None:
    take = tmp_path / "take.mp4"
    said = babble(1.5)
    wav = write_wav(tmp_path / "said.wav", said)
    child = stream(microphone.environment, *SMALL, "-o", take)
    try:
        wait_until_larger(take, 5_000, child)
        microphone.kill()
        wait_until_larger(take, take.stat().st_size + 30_000, child)
        microphone.start()
        time.sleep(4)
        assert microphone.play(wav).wait(30) == 0
        time.sleep(1.0)  # until the last of it has come through PulseAudio
        child.send_signal(signal.SIGINT)
        _, messages = child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
    said_of_it = messages.decode()
    assert said_of_it.count("is gone: silence until it is back") == 1
    assert said_of_it.count("' is back") == 1
    heard = read_audio(ffmpeg, take)[:, 0].astype(float)
    assert place(heard, said[:, 0].astype(float))[1] > 0.98
    assert len(read_frames(ffmpeg, take, 96, 96)) / 25 == pytest.approx(len(heard) / 48_000, abs=0.08)


@PULSE
def test_a_microphone_that_goes_away_may_end_the_stream(microphone: PulseAudio, tmp_path: Path, ffmpeg: str) -> None:
    take = tmp_path / "take.mp4"
    child = stream(microphone.environment, *SMALL, "-o", take, "--on-source-loss", "stop")
    try:
        wait_until_larger(take, 5_000, child)
        microphone.kill()
        _, messages = child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 1
    assert b"is gone" in messages
    assert len(read_frames(ffmpeg, take, 96, 96)) > 0


@PULSE
def test_devices_are_listed(microphone: PulseAudio) -> None:
    command = [sys.executable, "-m", "musetalk_cli", "devices"]
    done = subprocess.run(command, env=microphone.environment, capture_output=True, text=True, check=True)
    assert "pulse" in done.stdout
    assert "Hz" in done.stdout
    assert done.stderr == (
        "PulseAudio has its own list: pactl list short sources; PULSE_SOURCE=NAME musetalk stream --mic takes one\n"
    )


@PULSE
@pytest.mark.parametrize(("name", "words"), [("nobody", "no microphone is called 'nobody'"), ("UL", "matches 2")])
def test_a_name_must_fit_one(microphone: PulseAudio, name: str, words: str, tmp_path: Path) -> None:
    child = stream(microphone.environment, *SMALL, "--device", name, "-o", tmp_path / "take.mp4")
    _, messages = child.communicate(timeout=40)
    assert child.returncode == 1
    assert words in messages.decode()
    assert len(messages.decode().splitlines()) == 1
    assert not (tmp_path / "take.mp4").exists()


@PULSE
def test_no_microphone_is_reported(no_audio: dict[str, str], tmp_path: Path) -> None:
    child = stream(no_audio, *SMALL, "-o", tmp_path / "take.mp4")
    _, messages = child.communicate(timeout=40)
    assert child.returncode == 1
    (line,) = messages.decode().splitlines()
    assert "there is no microphone" in line
