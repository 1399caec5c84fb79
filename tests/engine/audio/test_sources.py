from __future__ import annotations

import os
import struct
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


def read_all(
    location: str, ffmpeg: str, tell: Callable[[str], None] | None = None, *, is_live: bool = False
) -> tuple[np.ndarray, FileSource]:
    source = FileSource(DecoderProcess(location, ffmpeg, is_live=is_live), tell)
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


@pytest.mark.parametrize("scheme", ["http", "https", "HTTPS"])
def test_a_lost_web_server_is_called_again_by_a_live_stream_alone(scheme: str) -> None:
    url = f"{scheme}://host/radio.mp3"
    live, file = (build_decoder_args("ffmpeg", url, is_live=is_live) for is_live in (True, False))
    place = live.index("-reconnect")
    assert live[place : place + 6] == ["-reconnect", "1", "-reconnect_streamed", "1", "-reconnect_delay_max", "5"]
    assert place < live.index("-i") < live.index("-flush_packets")
    assert not {"-reconnect", "-flush_packets"} & set(file)
    assert "-reconnect" not in build_decoder_args("ffmpeg", "voice.wav", is_live=True)


def test_names_that_look_like_options_or_protocols_are_files(
    ffmpeg: str, tone_wav: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-v.wav", "http:a.wav", "a%03d.wav", "a b'c\".wav"):
        tone_wav(0.1).rename(tmp_path / name)
        assert len(read_all(name, ffmpeg)[0]) == 4_800


def test_an_address_is_named_without_its_secrets(ffmpeg: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_all("http://joe:hunter2@127.0.0.1:1/voice.mp3?token=s3cret", ffmpeg)
    assert str(caught.value).startswith("http://127.0.0.1:1/voice.mp3 cannot be opened")
    assert "hunter2" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{0}\n",
        "ffconcat version 1.0\nfile {0}\n",
        "v=0\nm=audio 1 RTP/AVP 0\n",
    ],
)
@pytest.mark.parametrize("name", ["list.wav", "list.mp4", "list.m3u8"])
def test_a_playlist_is_no_voice_and_opens_no_other_file(
    ffmpeg: str, tone_wav: Callable[..., Path], tmp_path: Path, text: str, name: str
) -> None:
    secret = tone_wav(1.0).rename(tmp_path / "secret.ts")
    (tmp_path / name).write_text(text.format(secret))
    with pytest.raises(SourceError, match=f"{name} (is not audio but a playlist|cannot be decoded)"):
        read_all(str(tmp_path / name), ffmpeg)


@pytest.mark.parametrize("scheme", ["concat", "subfile", "crypto", "lavfi", "cache", "async", "data", "gopher"])
def test_an_address_that_opens_others_is_refused(ffmpeg: str, scheme: str) -> None:
    with pytest.raises(SourceError, match=f"cannot read audio from '{scheme}://'"):
        read_all(f"{scheme}://x.wav|y.wav", ffmpeg)


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
        "empty.wav": "holds no audio",
        "note.txt": "holds no audio|cannot be decoded",
        "broken.wav": "cannot be decoded|holds no audio",
        "nothing.wav": "holds no audio",
        "silent.mp4": "holds no audio",
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
        data, is_open = tone_wav(60.0, 2).read_bytes(), threading.Event()

        def feed() -> None:
            """As much as this ffmpeg buffers before its first output, and no end: it waits for more."""
            for start in range(0, len(data), 4096):
                if is_open.is_set():
                    return
                writer.write(data[start : start + 4096])

        feeder = threading.Thread(target=feed)
        feeder.start()
        source.open()
        is_open.set()
        timer = threading.Timer(0.3, source.stop)
        timer.start()
        while source.read() is not None:
            pass
        timer.join()
        source.close()
        feeder.join()


def _with_told_losses(location: Path, ffmpeg: str, *, is_live: bool = False) -> tuple[np.ndarray, list[str]]:
    told: list[str] = []
    audio, _ = read_all(str(location), ffmpeg, told.append, is_live=is_live)
    return audio, told


def _encode(ffmpeg: str, source: Path, target: Path, *options: str) -> Path:
    subprocess.run([ffmpeg, "-v", "error", "-i", str(source), *options, str(target)], check=True)
    return target


@pytest.mark.parametrize("is_live", [False, True])
@pytest.mark.parametrize("target", ["gap.webm", "gap.mka"])
def test_silence_takes_the_place_of_a_gap(
    ffmpeg: str, tone_wav: Callable[..., Path], tmp_path: Path, target: str, is_live: bool
) -> None:
    options = ["-af", "asetpts=PTS+gte(T\\,1)*2/TB", "-c:a", "libopus"]
    audio, told = _with_told_losses(
        _encode(ffmpeg, tone_wav(2.0), tmp_path / target, *options), ffmpeg, is_live=is_live
    )
    assert len(audio) == pytest.approx(4 * 48_000, abs=2_000)
    assert np.abs(audio[55_000:140_000]).max() < 50
    assert np.abs(audio[150_000:190_000]).max() > 5_000
    assert len(told) == 1
    assert "2.0 s without audio became silence" in told[0]


def test_a_gap_of_hours_is_bounded(ffmpeg: str, tone_wav: Callable[..., Path], tmp_path: Path) -> None:
    options = ["-af", "asetpts=PTS+gte(T\\,1)*10800/TB", "-c:a", "libopus"]
    audio, told = _with_told_losses(_encode(ffmpeg, tone_wav(2.0), tmp_path / "g.webm", *options), ffmpeg)
    assert len(audio) == pytest.approx(62 * 48_000, abs=2_000)
    assert "a gap counts as 60 s at most" in told[0]


def test_audio_that_begins_after_its_video_begins_with_silence(ffmpeg: str, tmp_path: Path) -> None:
    inputs = ["-f", "lavfi", "-i", "color=d=3:s=64x64", "-itsoffset", "1.5", "-f", "lavfi", "-i", "sine=d=1"]
    target = tmp_path / "late.mkv"
    subprocess.run([ffmpeg, "-v", "error", *inputs, "-map", "0:v", "-map", "1:a", str(target)], check=True)
    audio, _ = _with_told_losses(target, ffmpeg)
    assert len(audio) == pytest.approx(2.5 * 48_000, abs=5_000)
    assert np.abs(audio[:70_000]).max() == 0


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("m4a", []), ("ogg", ["-c:a", "libvorbis"]), ("opus", ["-c:a", "libopus"]), ("ts", ["-c:a", "aac"])],
)
def test_what_damage_took_becomes_silence_and_is_told(
    ffmpeg: str, tone_wav: Callable[..., Path], tmp_path: Path, suffix: str, options: list[str]
) -> None:
    """Where timestamps say where the rest belongs, it stays there."""
    path = _encode(ffmpeg, tone_wav(4.0), tmp_path / f"a.{suffix}", *options)
    whole = read_all(str(path), ffmpeg)[0]
    damage(path)
    audio, told = _with_told_losses(path, ffmpeg)
    assert len(audio) == pytest.approx(len(whole), abs=5_000)
    assert len(told) == 1
    assert "became silence" in told[0]


@pytest.mark.parametrize("suffix", ["mp3", "aac"])
def test_what_is_lost_without_timestamps_is_told(
    ffmpeg: str, tone_wav: Callable[..., Path], tmp_path: Path, suffix: str
) -> None:
    path = _encode(ffmpeg, tone_wav(4.0), tmp_path / f"a.{suffix}")
    damage(path)
    audio, told = _with_told_losses(path, ffmpeg)
    assert len(audio) < 3.8 * 48_000
    assert len(told) == 1
    assert "cannot be decoded" in told[0]
    assert suffix == "aac" or " of the 4.0 s that it should have are missing" in told[0]


def test_a_length_that_a_comment_names_is_not_the_files(
    ffmpeg: str, tone_wav: Callable[..., Path], tmp_path: Path
) -> None:
    path = _encode(ffmpeg, tone_wav(1.0), tmp_path / "a.m4a", "-metadata", "comment=Duration: 01:00:00.00")
    assert _with_told_losses(path, ffmpeg)[1] == []


def damage(path: Path) -> None:
    """Overwrite a tenth of a file with zeros, in its middle."""
    data = bytearray(path.read_bytes())
    start, stop = len(data) // 2, len(data) * 6 // 10
    data[start:stop] = bytes(stop - start)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "options",
    [["a.mp3"], ["a.m4a"], ["a.flac"], ["-c:a", "libopus", "a.webm"], ["-c:a", "libvorbis", "a.ogg"], ["a.ts"]],
)
def test_a_file_without_gaps_stays_as_it_is(
    ffmpeg: str, tone_wav: Callable[..., Path], tmp_path: Path, options: list[str]
) -> None:
    path = _encode(ffmpeg, tone_wav(2.0, 2), tmp_path / options[-1], *options[:-1])
    audio, told = _with_told_losses(path, ffmpeg)
    plain = [ffmpeg, "-v", "error", "-i", str(path), "-ac", "2", "-ar", "48000", "-f", "s16le", "-"]
    expected = subprocess.run(plain, capture_output=True, check=True).stdout
    assert audio.tobytes() == expected
    assert told == []


@pytest.mark.parametrize("suffix", [".m4a", ".mp3", ".flac", ".wav", ".mkv"])
def test_tags_are_not_heard(ffmpeg: str, tone_wav: Callable[..., Path], tmp_path: Path, suffix: str) -> None:
    codec = {".m4a": "aac", ".mp3": "libmp3lame", ".mkv": "flac"}.get(suffix, "copy" if suffix == ".wav" else "flac")
    tags = ["-metadata", "title=A title", "-metadata", "artist=Somebody", "-metadata", "comment=odd"]
    paths = [tmp_path / f"{name}{suffix}" for name in ("plain", "tagged")]
    for path, given in zip(paths, (["-fflags", "+bitexact"], tags), strict=True):
        command = [ffmpeg, "-v", "error", "-i", str(tone_wav(2.0, 2)), "-c:a", codec, *given, str(path)]
        subprocess.run(command, check=True)
    plain, tagged = (read_all(str(path), ffmpeg)[0] for path in paths)
    assert len(tagged) == len(plain) >= 96_000
    assert np.array_equal(tagged, plain)


def with_chunk(wav: bytes, name: bytes, body: bytes) -> bytes:
    """A WAV file with one more chunk before the one with the samples."""
    at = wav.index(b"data")
    return wav[:at] + name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2) + wav[at:]


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("num_lost", [0, 1, 3])
def test_samples_begin_behind_every_chunk_and_end_with_the_last_whole_one(
    tone_wav: Callable[..., Path], tmp_path: Path, num_channels: int, num_lost: int
) -> None:
    whole = tone_wav(1.5, num_channels).read_bytes()
    made = tmp_path / "made.wav"
    made.write_bytes(with_chunk(whole, b"LIST", b"INFOINAM\x03\0\0\0abc")[: len(whole) + 24 - num_lost])
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\ncat {made}\n")
    program.chmod(0o755)
    audio, source = read_all(str(tone_wav(0.1)), str(program))
    assert source.num_channels == num_channels
    expected = np.frombuffer(whole[44:], "<i2").reshape(-1, num_channels)
    num_frames = len(expected) - -(-num_lost // (2 * num_channels))
    assert np.array_equal(audio, expected[:num_frames])


def test_of_two_tracks_the_default_one_is_the_voice(ffmpeg: str, tmp_path: Path) -> None:
    inputs = ["-f", "lavfi", "-i", "sine=d=1:f=300", "-f", "lavfi", "-i", "sine=d=1:f=3000"]
    chosen = ["-map", "0", "-map", "1", "-disposition:a:0", "0", "-disposition:a:1", "default"]
    target = tmp_path / "two.mka"
    subprocess.run([ffmpeg, "-v", "error", *inputs, *chosen, "-c:a", "flac", str(target)], check=True)
    audio, _ = read_all(str(target), ffmpeg)
    spectrum = np.abs(np.fft.rfft(audio[:48_000, 0].astype(float)))
    assert int(spectrum.argmax()) == pytest.approx(3_000, abs=2)


@pytest.mark.parametrize("num_channels", [1, 2])
def test_where_it_broke_off_is_told_in_seconds(
    tone_wav: Callable[..., Path], tmp_path: Path, num_channels: int
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\ncat {tone_wav(1.5, num_channels)}\nexit 3\n")
    program.chmod(0o755)
    source = FileSource(DecoderProcess(str(tone_wav(0.1)), str(program)))
    source.open()
    num_read = 0
    with pytest.raises(SourceError, match=r"broke off after 1\.5 s"):
        while (piece := source.read()) is not None:
            num_read += len(piece)
    assert num_read == 72_000
    source.close()
