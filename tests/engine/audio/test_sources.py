from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fixtures.fakes import tone
from musetalk_cli.engine.audio.decoder import DecoderProcess, build_decoder_args
from musetalk_cli.engine.audio.sources import FileSource
from musetalk_cli.errors import SourceError


def read_all(location: str, ffmpeg: str) -> tuple[np.ndarray, FileSource]:
    source = FileSource(DecoderProcess(location, ffmpeg))
    try:
        source.open()
        chunks = []
        while (chunk := source.read()) is not None:
            chunks.append(chunk)
    finally:
        source.close()
    return np.concatenate(chunks), source


@pytest.mark.parametrize("num_channels", [1, 2])
def test_a_wav_comes_through_bit_for_bit(ffmpeg: str, tone_wav: Callable[..., Path], num_channels: int) -> None:
    audio, source = read_all(str(tone_wav(1.2345, num_channels)), ffmpeg)
    assert np.array_equal(audio, tone(1.2345, num_channels))
    assert source.num_channels == num_channels
    assert source.duration_s == pytest.approx(1.23, abs=0.01)


@pytest.mark.parametrize(
    "options", [["a.mp3"], ["a.flac"], ["-c:a", "libopus", "a.ogg"], ["a.m4a"], ["-ac", "6", "a.mka"]]
)
def test_whatever_ffmpeg_decodes_is_a_voice(
    ffmpeg: str, tone_wav: Callable[..., Path], tmp_path: Path, options: list[str]
) -> None:
    target = tmp_path / options[-1]
    command = [ffmpeg, "-v", "error", "-i", str(tone_wav(1.0, 2)), *options[:-1], str(target)]
    subprocess.run(command, check=True)
    audio, source = read_all(str(target), ffmpeg)
    assert source.num_channels == 2
    assert len(audio) == pytest.approx(48_000, abs=2_500)  # lossy codecs pad by a packet
    assert np.abs(audio).max() > 5_000  # surround is turned down when it is folded


def test_other_rates_and_a_videos_audio(ffmpeg: str, tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    inputs = ["-f", "lavfi", "-i", "sine=d=1:r=22050", "-f", "lavfi", "-i", "color=d=1:s=64x64"]
    subprocess.run([ffmpeg, "-v", "error", *inputs, "-shortest", str(target)], check=True)
    audio, source = read_all(str(target), ffmpeg)
    assert source.num_channels == 1
    assert len(audio) == pytest.approx(48_000, abs=2_500)


def test_names_that_look_like_options_or_protocols_are_files(
    ffmpeg: str, tone_wav: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-v.wav", "http:a.wav", "a%03d.wav", "a b'c\".wav"):
        tone_wav(0.1).rename(tmp_path / name)
        assert len(read_all(name, ffmpeg)[0]) == 4_800


def test_a_location_never_meets_a_shell() -> None:
    args = build_decoder_args("ffmpeg", "$(touch hacked); `x`.wav")
    assert "file:$(touch hacked); `x`.wav" in args


def test_what_cannot_be_read_is_explained(ffmpeg: str, tmp_path: Path, tone_wav: Callable[..., Path]) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "note.txt").write_text("Just some words.\n" * 50)
    (tmp_path / "broken.wav").write_bytes(tone_wav(1.0).read_bytes()[:20] + b"\xff" * 5_000)
    header = bytearray(tone_wav(1.0).read_bytes()[:44])
    header[4:8], header[40:44] = (36).to_bytes(4, "little"), bytes(4)
    (tmp_path / "nothing.wav").write_bytes(header)
    silent = tmp_path / "silent.mp4"
    subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", "color=d=1:s=64x64", str(silent)], check=True)
    cases = {
        "missing.wav": "does not exist",
        ".": "is a folder",
        "empty.wav": "is empty",
        "note.txt": "has no audio|cannot be decoded",
        "broken.wav": "cannot be decoded|has no audio",
        "nothing.wav": "0 s of audio",
        "silent.mp4": "has no audio",
    }
    for name, words in cases.items():
        with pytest.raises(SourceError, match=words) as caught:
            read_all(str(tmp_path / name), ffmpeg)
        assert (tmp_path / name).name in str(caught.value)


def test_stop_ends_a_read_that_waits(
    ffmpeg: str, tone_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_fd, write_fd = os.pipe()
    with os.fdopen(read_fd, "rb") as reader, os.fdopen(write_fd, "wb", buffering=0) as writer:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=reader, closed=False, isatty=lambda: False))
        source = FileSource(DecoderProcess("-", ffmpeg))
        # More than ffmpeg buffers before its first output, and no end: it waits for more.
        feeder = threading.Thread(target=writer.write, args=(tone_wav(3.0, 2).read_bytes(),))
        feeder.start()
        source.open()
        feeder.join()
        timer = threading.Timer(0.3, source.stop)
        timer.start()
        while source.read() is not None:
            pass
        timer.join()
        source.close()
