"""Our MP4 around what ffmpeg encoded: box by box, and as two ffmpegs read it."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fixtures.media import packet_times, read_audio, read_frames
from fixtures.programs import find_ffmpeg
from musetalk_cli.engine.outputs.flv import FlvPacker
from musetalk_cli.engine.outputs.fragments import FragmentSplitter, InitSegment
from musetalk_cli.engine.outputs.mp4.boxes import boxes_in, find_box, find_boxes
from musetalk_cli.engine.outputs.mp4.fmp4 import (
    AUDIO_TRACK,
    VIDEO_TRACK,
    AudioTrack,
    Run,
    Sample,
    VideoTrack,
    fragment,
    init_segment,
)
from musetalk_cli.engine.outputs.mp4.h264 import build_configuration, split_nal_units, to_length_prefixed
from musetalk_cli.engine.outputs.mp4.samples import read_tracks

RATES = [Fraction(25), Fraction(30_000, 1_001), Fraction(24_000, 1_001), Fraction("23.976"), Fraction(60), Fraction(5)]
NUM_FRAMES, AAC_SAMPLES = 20, 1_024
STEREO_48_KHZ = bytes.fromhex("1190")  # AudioSpecificConfig: AAC-LC, 48 kHz, two channels
ACCESS_UNIT_DELIMITER, ADTS_HEADER_BYTES = 9, 7
PARAMETERS = bytes.fromhex("00000167 42c01eda 00000168 ce0fc8")
VIDEO = VideoTrack(64, 48, Fraction(25), build_configuration(PARAMETERS))
AUDIO = AudioTrack(2, 128_000, STEREO_48_KHZ)


@pytest.fixture(params=["auto", "bundled"])
def reader(request: pytest.FixtureRequest) -> str:
    """The system's ffmpeg, then the one that the package brings."""
    return find_ffmpeg(request.param)


def encode(ffmpeg: str, rate: Fraction) -> tuple[list[bytes], list[bytes]]:
    """What an encoder gives: H.264 access units in Annex B, and raw AAC frames."""
    images = ["-f", "lavfi", "-i", f"testsrc2=size=64x48:rate={rate}", "-frames:v", str(NUM_FRAMES), "-pix_fmt"]
    images += ["yuv420p", "-bf", "0", "-g", "8", "-x264-params", "aud=1", "-bsf:v", "dump_extra", "-f", "h264"]
    tone = ["-f", "lavfi", "-i", "aevalsrc=sin(2000*t)|sin(3000*t):s=48000", "-t", str(float(NUM_FRAMES / rate))]
    video, audio = (
        subprocess.run([ffmpeg, "-v", "error", *options, "pipe:1"], capture_output=True, check=True).stdout
        for options in (images, [*tone, "-f", "adts"])
    )
    return split_access_units(video), split_adts(audio)


def split_access_units(annex_b: bytes) -> list[bytes]:
    units: list[list[bytes]] = []
    for unit in split_nal_units(annex_b):
        if unit[0] & 0x1F == ACCESS_UNIT_DELIMITER:
            units.append([])
        units[-1].append(unit)
    return [b"".join(b"\0\0\1" + unit for unit in access_unit) for access_unit in units]


def split_adts(data: bytes) -> list[bytes]:
    frames = []
    while data:
        length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
        frames.append(data[ADTS_HEADER_BYTES:length])
        data = data[length:]
    return frames


def pack(rate: Fraction, video: list[bytes], audio: list[bytes]) -> bytes:
    """A fragment for each frame, with the audio up to its end."""
    track = VideoTrack(64, 48, rate, build_configuration(video[0]))
    stream, num_aac = init_segment(track, AUDIO), 0
    for number, unit in enumerate(video):
        is_keyframe = any(nal[0] & 0x1F == 5 for nal in split_nal_units(unit))
        sample = Sample(to_length_prefixed(unit), track.frame_duration, is_keyframe)
        runs = [Run(VIDEO_TRACK, number * track.frame_duration, [sample])]
        end = int((number + 1) / rate * 48_000 / AAC_SAMPLES)
        if taken := [Sample(data, AAC_SAMPLES) for data in audio[num_aac:end]]:
            runs.append(Run(AUDIO_TRACK, num_aac * AAC_SAMPLES, taken))
            num_aac += len(taken)
        stream += fragment(number + 1, runs)
    return stream


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_what_ffmpeg_encoded_is_decoded_from_our_boxes(
    ffmpeg: str, reader: str, tmp_path: Path, rate: Fraction
) -> None:
    video, audio = encode(ffmpeg, rate)
    path = tmp_path / "a.mp4"
    path.write_bytes(pack(rate, video, audio))
    times = packet_times(reader, path, "v")
    assert times == pytest.approx([float(number / rate) for number in range(NUM_FRAMES)], abs=1e-9)
    assert packet_times(reader, path, "a")[:2] == [0, pytest.approx(AAC_SAMPLES / 48_000)]
    assert len(read_frames(reader, path, 64, 48)) == NUM_FRAMES
    assert np.abs(read_audio(reader, path, 2)).max() > 10_000


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_a_frame_lasts_a_whole_number_of_units(rate: Fraction) -> None:
    track = VideoTrack(64, 48, rate, b"")
    assert Fraction(track.frame_duration, track.timescale) == 1 / rate
    assert 10_000 <= track.timescale < 1 << 32


def test_the_moov_says_what_the_tracks_are() -> None:
    kinds = [kind for kind, _ in boxes_in(init_segment(VIDEO, AUDIO))]
    assert kinds == [b"ftyp", b"moov"]
    moov = find_box(init_segment(VIDEO, AUDIO), b"moov")
    video, audio = find_boxes(moov, b"trak")
    timescales = {number: track.timescale for number, track in read_tracks(moov).items()}
    assert timescales == {VIDEO_TRACK: 10_000, AUDIO_TRACK: 48_000}
    assert [find_box(trak, b"mdia", b"hdlr")[8:12] for trak in (video, audio)] == [b"vide", b"soun"]
    assert len(find_boxes(find_box(moov, b"mvex"), b"trex")) == 2
    entry = find_box(video, b"mdia", b"minf", b"stbl", b"stsd")[8 + 8 + 78 :]
    assert find_box(entry, b"avcC") == VIDEO.configuration
    assert find_box(entry, b"colr") == b"nclx" + struct.pack(">HHHB", 1, 1, 1, 0)
    header = find_box(video, b"tkhd")
    assert len(header) == 84
    assert struct.unpack(">II", header[-8:]) == (64 << 16, 48 << 16)


def test_every_box_ends_where_its_parent_does() -> None:
    parents = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"mvex", b"moof", b"traf"}

    def check(body: bytes) -> None:
        inside = list(boxes_in(body))
        assert sum(8 + len(inner) for _, inner in inside) == len(body)
        for kind, inner in inside:
            if kind in parents:
                check(inner)

    check(init_segment(VIDEO, AUDIO) + fragment(1, [Run(VIDEO_TRACK, 0, [Sample(b"abc", 400)])]))


def test_the_bytes_are_those_that_players_have_been_tried_with() -> None:
    """Most of what stands in a moov is read by some players only. On purpose? Try the players, and change the sums."""
    video = VideoTrack(640, 360, Fraction(30_000, 1001), bytes(range(30)))
    audio = AudioTrack(2, 128_000, b"\x11\x90")
    runs = [
        Run(VIDEO_TRACK, 1 << 33, [Sample(b"key", 1001), Sample(b"inter", 1001, False)]),
        Run(AUDIO_TRACK, 77, [Sample(b"one", 1_024), Sample(b"two2", 1_024)]),
    ]
    sums = [hashlib.sha256(data).hexdigest()[:16] for data in (init_segment(video, audio), fragment(9, runs))]
    assert sums == ["330dc4ce114d29ac", "fb693e06293f9fa6"]


def test_times_have_64_bits_and_the_number_goes_round() -> None:
    late = 5 << 32
    made = fragment(
        (1 << 32) + 7, [Run(VIDEO_TRACK, late, [Sample(b"v", 400)]), Run(AUDIO_TRACK, late + 1, [Sample(b"a", 1_024)])]
    )
    moof = find_box(made, b"moof")
    assert find_box(moof, b"mfhd")[4:] == struct.pack(">I", 7)
    times = [find_box(traf, b"tfdt") for traf in find_boxes(moof, b"traf")]
    assert times == [struct.pack(">IQ", 1 << 24, late), struct.pack(">IQ", 1 << 24, late + 1)]


def test_offsets_lead_to_each_tracks_data() -> None:
    runs = [
        Run(VIDEO_TRACK, 0, [Sample(b"key", 400), Sample(b"inter", 400, False)]),
        Run(AUDIO_TRACK, 0, [Sample(b"one", 1_024), Sample(b"two2", 1_024)]),
    ]
    made = fragment(1, runs)
    for traf, expected in zip(find_boxes(find_box(made, b"moof"), b"traf"), (b"keyinter", b"onetwo2"), strict=True):
        offset = int.from_bytes(find_box(traf, b"trun")[8:12], "big")
        assert made[offset : offset + len(expected)] == expected
        assert find_box(traf, b"tfhd")[:4] == struct.pack(">I", 0x020000)


@pytest.mark.parametrize("is_keyframe", [True, False])
def test_the_splitter_and_the_flv_packer_understand_it(is_keyframe: bool) -> None:
    header = init_segment(VIDEO, AUDIO)
    runs = [Run(VIDEO_TRACK, 0, [Sample(b"v", 400, is_keyframe)]), Run(AUDIO_TRACK, 0, [Sample(b"a", 1_024)])]
    found = list(FragmentSplitter().feed(header + fragment(1, runs) + fragment(2, runs[1:])))
    assert [part.data for part in found] == [header, fragment(1, runs), fragment(2, runs[1:])]
    init, *fragments = found
    assert isinstance(init, InitSegment)
    assert [(part.is_keyframe, part.num_frames) for part in fragments] == [(is_keyframe, 1), (False, 0)]
    packer = FlvPacker(init, Fraction(25))
    assert STEREO_48_KHZ in packer.begin()
    assert VIDEO.configuration in packer.begin()
    assert len(packer.pack(fragments[0])) == 2 * (11 + 4) + (5 + 1) + (2 + 1)
