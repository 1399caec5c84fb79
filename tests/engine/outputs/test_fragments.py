from __future__ import annotations

import pytest

from musetalk_cli.engine.outputs.fragments import Fragment, FragmentSplitter, InitSegment
from musetalk_cli.errors import EncoderError


def box(kind: bytes, num_bytes: int) -> bytes:
    """One with ``num_bytes`` in it; what is to hold boxes holds one that nobody reads."""
    body = box(b"free", num_bytes - 8) if kind in (b"moov", b"moof") else b"x" * num_bytes
    return (num_bytes + 8).to_bytes(4, "big") + kind + body


INIT_SEGMENT = InitSegment(box(b"ftyp", 20) + box(b"moov", 300))
FRAGMENTS = (
    Fragment(box(b"moof", 100) + box(b"mdat", 5_000), 0, False),
    Fragment(box(b"styp", 8) + box(b"moof", 90) + box(b"mdat", 0), 0, False),
)
PARTS = (INIT_SEGMENT, *FRAGMENTS)
STREAM = b"".join(part.data for part in PARTS)


def cut(data: bytes, step: int) -> tuple[list[InitSegment | Fragment], Fragment | None]:
    splitter = FragmentSplitter()
    parts = [part for start in range(0, len(data), step) for part in splitter.feed(data[start : start + step])]
    return parts, splitter.finish()


@pytest.mark.parametrize("step", [1, 3, 7, 1000, len(STREAM)])
def test_the_same_parts_however_the_bytes_arrive(step: int) -> None:
    assert cut(STREAM, step) == ([*PARTS], None)


def test_a_part_comes_only_when_it_is_whole() -> None:
    parts, rest = cut(STREAM[:-1], len(STREAM))
    assert parts == [*PARTS[:-1]]
    assert rest
    assert rest.data == FRAGMENTS[-1].data[:-1]
    assert rest.is_trailer


@pytest.mark.parametrize("step", [1, 1000])
def test_an_index_is_a_trailer(step: int) -> None:
    parts, trailer = cut(STREAM + box(b"mfra", 50), step)
    assert parts == [*PARTS]
    assert trailer == Fragment(box(b"mfra", 50), 0, False, is_trailer=True)


def test_the_splitter_finds_every_frame_and_every_keyframe(live_stream: bytes) -> None:
    parts, trailer = cut(live_stream, 777)
    assert trailer
    assert b"".join(part.data for part in [*parts, trailer]) == live_stream
    assert [isinstance(part, InitSegment) for part in parts] == [True] + [False] * (len(parts) - 1)
    assert sum(part.num_frames for part in parts) == 300
    assert sum(part.is_keyframe for part in parts if isinstance(part, Fragment)) == 12


def test_samples_are_read_once(live_stream: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, _ = cut(live_stream, len(live_stream))
    fragment = next(part for part in parts if isinstance(part, Fragment) and part.num_frames)
    first = fragment.samples
    monkeypatch.delattr("musetalk_cli.engine.outputs.fragments.read_samples")
    assert fragment.samples is first
    assert sum(len(sample.data) for sample in first) < len(fragment.data)


@pytest.mark.parametrize(
    "data",
    [
        (7).to_bytes(4, "big") + b"ftyp",  # a box smaller than its header
        bytes(16),
        (1 << 30).to_bytes(4, "big") + b"mdat",  # would be waited for until memory ends
        box(b"ftyp", 8) + box(b"mdat", 8),  # of no moof
    ],
)
def test_what_is_no_fragmented_mp4_is_refused(data: bytes) -> None:
    with pytest.raises(EncoderError, match="the encoder's MP4 is damaged"):
        cut(data, len(data))


def test_a_run_of_more_samples_than_it_has_bytes_is_refused(live_stream: bytes) -> None:
    parts, _ = cut(live_stream, len(live_stream))
    whole = next(part for part in parts if isinstance(part, Fragment) and part.num_frames)
    at = whole.data.index(b"trun") + 8
    torn = Fragment(whole.data[:at] + b"\xff\xff\xff\xff" + whole.data[at + 4 :], 1, True)
    with pytest.raises(EncoderError, match="the encoder's MP4 is damaged"):
        _ = torn.samples
