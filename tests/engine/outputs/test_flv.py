"""The FLV that repacking children are fed with, against the MP4 that it is made from, as ffmpeg reads both."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import pytest

from fixtures.media import cut_stream
from musetalk_cli.engine.outputs.flv import LONGEST_MS, FlvPacker
from musetalk_cli.engine.outputs.fragments import Fragment
from musetalk_cli.errors import EncoderError

RATE = Fraction(30_000, 1_001)
IMAGES = ["-f", "lavfi", "-i", f"testsrc2=size=64x64:rate={RATE}"]
AUDIO = ["-f", "lavfi", "-i", "aevalsrc=sin(440*t)|sin(550*t):s=48000"]
FRAGMENTED = ["-movflags", "frag_keyframe+empty_moov+default_base_moof", "-f", "mp4", "pipe:1"]


def encode(ffmpeg: str, *options: str) -> bytes:
    command = [ffmpeg, "-v", "error", *IMAGES, *AUDIO, "-t", "4", "-g", "20", *options, *FRAGMENTED]
    return subprocess.run(command, capture_output=True, check=True).stdout


def read_packets(ffmpeg: str, path: Path) -> dict[str, list[tuple[float, float, str]]]:
    """Of each stream: when each packet is decoded and shown, in seconds, and the sum of its bytes."""
    command = [ffmpeg, "-v", "error", "-copyts", "-i", str(path), "-map", "0", "-c", "copy", "-f", "framecrc", "pipe:1"]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    bases = {line[4]: line.split()[-1] for line in lines if line.startswith("#tb")}
    packets: dict[str, list[tuple[float, float, str]]] = {stream: [] for stream in bases}
    for line in lines:
        if not line.startswith("#"):
            stream, decoded, shown, _, num_bytes, checksum, *_ = (field.strip() for field in line.split(","))
            unit_s = int(bases[stream].split("/")[0]) / int(bases[stream].split("/")[1])
            packets[stream].append((int(decoded) * unit_s, int(shown) * unit_s, f"{num_bytes} {checksum}"))
    return packets


@pytest.mark.parametrize(
    "options",
    [
        ("-preset", "ultrafast", "-tune", "zerolatency", "-frag_duration", "20000"),
        ("-preset", "veryfast", "-bf", "2"),
    ],
)
def test_every_packet_arrives_unchanged_and_within_a_millisecond(
    ffmpeg: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    stream = encode(ffmpeg, *options)
    init_segment, fragments = cut_stream(stream)
    packer = FlvPacker(init_segment, RATE)
    (tmp_path / "a.mp4").write_bytes(stream)
    (tmp_path / "a.flv").write_bytes(packer.begin() + b"".join(packer.pack(fragment) for fragment in fragments))
    expected, found = (read_packets(ffmpeg, tmp_path / name) for name in ("a.mp4", "a.flv"))
    assert sorted(map(len, expected.values())) == sorted(map(len, found.values()))
    assert min(map(len, found.values())) > 100
    for stream_number, packets in expected.items():
        for one, other in zip(packets, found[stream_number], strict=True):
            assert one[2] == other[2]
            assert one[:2] == pytest.approx(other[:2], abs=0.0011)


def test_what_has_no_samples_is_nothing(ffmpeg: str) -> None:
    init_segment, fragments = cut_stream(encode(ffmpeg, "-preset", "ultrafast"))
    assert fragments[-1].is_trailer
    assert FlvPacker(init_segment, RATE).pack(fragments[-1]) == b""


def test_targets_that_begin_at_different_keyframes_share_what_was_read(ffmpeg: str) -> None:
    init_segment, fragments = cut_stream(encode(ffmpeg, "-preset", "ultrafast"))
    early, late = FlvPacker(init_segment, RATE), FlvPacker(init_segment, RATE)
    early.pack(fragments[0])
    first, second = early.pack(fragments[1]), late.pack(fragments[1])
    assert len(first) == len(second)
    assert first[4:8] != b"\0\0\0\0"
    assert second[4:8] == b"\0\0\0\0", "the first tag's time"


@pytest.mark.parametrize("hours", [0.0, 1.0, 4.6, 4.7, 24.0, 300.0])
def test_tags_keep_their_time_for_weeks(ffmpeg: str, hours: float) -> None:
    """24 bits last 4 h 40; the rest of a tag's time stands behind them."""
    init_segment, fragments = cut_stream(encode(ffmpeg, "-preset", "ultrafast"))
    packer = FlvPacker(init_segment, RATE)
    packer.pack(fragments[0])
    units = {number: round(hours * 3600 * track.timescale) for number, track in init_segment.tracks.items()}
    later = Fragment(b"", fragments[1].num_frames, fragments[1].is_keyframe)
    moved = tuple(sample._replace(time=sample.time + units[sample.track]) for sample in fragments[1].samples)
    later.__dict__["samples"] = moved
    times_ms = read_times_ms(packer.pack(later))
    start_s = min(sample.time / init_segment.tracks[sample.track].timescale for sample in fragments[0].samples)
    expected = sorted(sample.time / init_segment.tracks[sample.track].timescale - start_s for sample in moved)
    assert times_ms == pytest.approx([1000 * time_s for time_s in expected], abs=0.6)
    assert not packer.is_full


def test_another_flv_is_due_before_the_times_end(ffmpeg: str) -> None:
    init_segment, fragments = cut_stream(encode(ffmpeg, "-preset", "ultrafast"))
    packer = FlvPacker(init_segment, RATE)
    packer.pack(fragments[0])
    for away_ms, is_full in ((-10_000, False), (0, True)):
        later = Fragment(b"", fragments[1].num_frames, fragments[1].is_keyframe)
        later.__dict__["samples"] = tuple(
            sample._replace(
                time=sample.time + (LONGEST_MS + away_ms) * init_segment.tracks[sample.track].timescale // 1000
            )
            for sample in fragments[1].samples
        )
        packer.pack(later)
        assert packer.is_full == is_full


def read_times_ms(tags: bytes) -> list[int]:
    """When each tag of an FLV is decoded; its length is checked in front and behind."""
    times_ms, place = [], 0
    while place < len(tags):
        length = int.from_bytes(tags[place + 1 : place + 4], "big")
        times_ms.append(int.from_bytes(tags[place + 7 : place + 8] + tags[place + 4 : place + 7], "big"))
        place += 11 + length + 4
        assert int.from_bytes(tags[place - 4 : place], "big") == 11 + length
    return times_ms


def test_a_header_without_audio_is_refused(ffmpeg: str) -> None:
    command = [ffmpeg, "-v", "error", *IMAGES, "-t", "1", *FRAGMENTED]
    stream = subprocess.run(command, capture_output=True, check=True).stdout
    with pytest.raises(EncoderError, match="one audio"):
        FlvPacker(cut_stream(stream)[0], RATE)
