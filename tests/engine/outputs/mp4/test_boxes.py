"""Boxes of an MP4, complete and cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from musetalk_cli.engine.outputs.mp4.boxes import find_box, find_boxes, is_whole_file
from tests.engine.outputs.test_fragments import box

SEGMENT = box(b"styp", 16) + box(b"moof", 200) + box(b"mdat", 1_000)


@pytest.mark.parametrize(
    ("data", "is_whole"),
    [
        (SEGMENT, True),
        (box(b"free", 0), True),
        (SEGMENT[: len(SEGMENT) // 2], False),
        (SEGMENT[:-1], False),
        (SEGMENT + b"x", False),
        (SEGMENT + box(b"mdat", 9)[:8], False),
        (SEGMENT[:5], False),
        (b"", False),
    ],
)
def test_a_file_is_complete_when_its_last_box_is(tmp_path: Path, data: bytes, is_whole: bool) -> None:
    (tmp_path / "a.m4s").write_bytes(data)
    assert is_whole_file(tmp_path / "a.m4s") == is_whole


def test_boxes_are_found_by_their_kind() -> None:
    inner = box(b"aaaa", 3) + box(b"bbbb", 5) + box(b"aaaa", 1)
    outer = box(b"free", 7) + (len(inner) + 8).to_bytes(4, "big") + b"moov" + inner
    assert find_box(outer, b"moov") == inner
    assert find_box(outer, b"moov", b"aaaa") == b"xxx"
    assert find_boxes(inner, b"aaaa") == [b"xxx", b"x"]
    assert find_box(outer, b"moov", b"cccc") == b""
    assert find_box(outer, b"trak", b"aaaa") == b""
