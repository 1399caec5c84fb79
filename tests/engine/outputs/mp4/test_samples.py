"""Every way in which a fragment may say what its samples are (ISO/IEC 14496-12, 8.8)."""

from __future__ import annotations

import struct

import pytest

from musetalk_cli.engine.outputs.mp4.samples import NO_KEYFRAME, Track, count_frames, read_samples, read_tracks

TRACK = 0x01020307  # each of its bytes counts
KEY = 0x02000000


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, flags: int, *parts: bytes, version: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def moof(*trafs: bytes) -> bytes:
    return box(b"moof", full_box(b"mfhd", 0, words(1)), *trafs)


def traf(
    tfhd_flags: int, defaults: bytes, *runs: tuple[int, int, bytes], time: bytes = b"", track: int = TRACK
) -> bytes:
    """``defaults`` and ``runs`` (flags, number of samples, values) as they stand in the file."""
    tfdt = time or full_box(b"tfdt", 0, words(1000))
    truns = [full_box(b"trun", flags, words(count), values) for flags, count, values in runs]
    return box(b"traf", full_box(b"tfhd", 0x020000 | tfhd_flags, words(track), defaults), tfdt, *truns)


def read(traf: bytes, data: bytes) -> list[tuple[int, int, bool, bytes]]:
    """Time, delay, whether it is a keyframe, and data of each sample; the offset of the data stands for itself."""
    head = moof(traf)
    place = head.index(b"\xee\xee\xee\xee")
    head = head[:place] + words(len(head) + 8) + head[place + 4 :]
    samples = list(read_samples(box(b"styp", b"iso6") + head + box(b"mdat", data)))
    assert {sample.track for sample in samples} == {TRACK}
    return [(sample.time, sample.delay, sample.is_keyframe, bytes(sample.data)) for sample in samples]


OFFSET = b"\xee\xee\xee\xee"


def test_each_sample_may_say_everything_itself() -> None:
    values = OFFSET + words(40, 2, KEY, 3) + words(50, 3, NO_KEYFRAME, 0) + words(60, 1, NO_KEYFRAME, (1 << 32) - 5)
    assert read(traf(0, b"", (0xF01, 3, values)), b"aabbbc") == [
        (1000, 3, True, b"aa"),
        (1040, 0, False, b"bbb"),
        (1090, -5, False, b"c"),
    ]


def test_what_it_does_not_say_is_the_tracks_default() -> None:
    assert read(traf(0x38, words(20, 2, KEY), (0x1, 2, OFFSET)), b"aabb") == [
        (1000, 0, True, b"aa"),
        (1020, 0, True, b"bb"),
    ]


@pytest.mark.parametrize(("flags", "before"), [(0x1, words(0, 0)), (0x2, words(9)), (0x3, words(0, 0, 9))])
def test_defaults_stand_behind_an_offset_and_a_description(flags: int, before: bytes) -> None:
    assert read(traf(0x38 | flags, before + words(20, 2, NO_KEYFRAME), (0x1, 1, OFFSET)), b"aa") == [
        (1000, 0, False, b"aa")
    ]


@pytest.mark.parametrize(
    ("tfhd_flags", "defaults", "run_flags", "values", "expected"),
    [
        (0x08, words(20), 0x201, words(2), (0, False)),
        (0x10, words(2), 0x101, words(30), (0, False)),
        (0x20, words(KEY), 0x301, words(30, 2), (0, True)),
        (0x18, words(20, 2), 0x801, words(4), (4, False)),
    ],
)
def test_each_default_alone(
    tfhd_flags: int, defaults: bytes, run_flags: int, values: bytes, expected: tuple[int, bool]
) -> None:
    (sample,) = read(traf(tfhd_flags, defaults, (run_flags, 1, OFFSET + values)), b"aa")
    assert sample == (1000, *expected, b"aa")


def test_a_run_may_have_flags_for_its_first_sample_alone() -> None:
    found = read(traf(0x38, words(20, 1, NO_KEYFRAME), (0x5, 3, OFFSET + words(KEY))), b"abc")
    assert [is_keyframe for _, _, is_keyframe, _ in found] == [True, False, False]


def test_times_go_on_from_run_to_run_and_may_have_64_bits() -> None:
    time = full_box(b"tfdt", 0, struct.pack(">Q", (3 << 32) + 5), version=1)
    head = moof(traf(0x38, words(20, 1, KEY), (0x1, 2, OFFSET), (0x1, 1, OFFSET), time=time))
    at = len(head) + 8
    for number in range(2):
        head = head.replace(OFFSET, words(at + 2 * number), 1)
    samples = list(read_samples(head + box(b"mdat", b"abc")))
    assert [sample.time - (3 << 32) for sample in samples] == [5, 25, 45]
    assert [bytes(sample.data) for sample in samples] == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ((0xF01, 2, OFFSET + words(1, 1, KEY, 0) + words(1, 1, NO_KEYFRAME, 0)), (2, True)),
        ((0xF01, 2, OFFSET + words(1, 1, NO_KEYFRAME, 0) + words(1, 1, KEY, 0)), (2, False)),
        ((0x701, 1, OFFSET + words(1, 1, KEY)), (1, True)),
        ((0x601, 1, OFFSET + words(1, KEY)), (1, True)),
        ((0x501, 1, OFFSET + words(1, KEY)), (1, True)),
        ((0x401, 1, OFFSET + words(KEY)), (1, True)),
        ((0x400, 1, words(KEY)), (1, True)),
        ((0x5, 3, OFFSET + words(KEY)), (3, True)),
        ((0x4, 3, words(NO_KEYFRAME)), (3, False)),
        ((0x1, 4, OFFSET), (4, False)),
        ((0x1, 0, OFFSET), (0, False)),
    ],
)
def test_frames_are_counted_without_reading_them(run: tuple[int, int, bytes], expected: tuple[int, bool]) -> None:
    audio = traf(0x20, words(KEY), (0x1, 9, OFFSET), track=TRACK + 1)
    both = moof(audio, traf(0, b"", run))[8:]
    assert count_frames(both, TRACK) == expected
    assert count_frames(both, TRACK + 1) == (9, True)
    assert count_frames(both, TRACK + 2) == (0, False)
    assert count_frames(both, None) == (0, False)


def trak(number: int, kind: bytes, timescale: int, entry: bytes, *, version: int = 0) -> bytes:
    times = struct.pack(">QQ" if version else ">II", 11, 12)
    tkhd = full_box(b"tkhd", 3, times, words(number), bytes(60), version=version)
    mdhd = full_box(b"mdhd", 0, times, words(timescale), bytes(8), version=version)
    hdlr = full_box(b"hdlr", 0, bytes(4), kind, bytes(13))
    stbl = box(b"stbl", full_box(b"stsd", 0, words(1), entry))
    return box(b"trak", tkhd, box(b"mdia", mdhd, hdlr, box(b"minf", stbl)))


def descriptor(tag: int, body: bytes, *, is_long: bool) -> bytes:
    length = bytes([0x80, 0x80, 0x80 | len(body) >> 7, len(body) & 0x7F]) if is_long else bytes([len(body)])
    return bytes([tag]) + length + body


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("is_long", [False, True])
def test_tracks_of_every_writer(version: int, is_long: bool) -> None:
    """Times of 32 or 64 bits, and descriptors whose length is one byte or four."""
    info = bytes(range(40)) * (4 if is_long else 1)
    decoder = bytes(13) + descriptor(5, info, is_long=is_long)
    stream = bytes(3) + descriptor(9, b"other", is_long=is_long) + descriptor(4, decoder, is_long=is_long)
    esds = full_box(b"esds", 0, descriptor(3, stream, is_long=is_long))
    video = trak(3, b"vide", 12_800, box(b"avc1", bytes(78), box(b"avcC", b"how")), version=version)
    audio = trak(300, b"soun", 48_000, box(b"mp4a", bytes(28), esds), version=version)
    moov = full_box(b"mvhd", 0, bytes(96)) + video + audio
    assert read_tracks(moov) == {3: Track(True, 12_800, b"how"), 300: Track(False, 48_000, info)}
