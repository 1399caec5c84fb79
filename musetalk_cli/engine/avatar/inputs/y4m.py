"""Frames of a YUV4MPEG2 stream with 4:2:0 chroma, as ffmpeg writes it into a pipe."""

from __future__ import annotations

import re
from typing import IO

import numpy as np

from musetalk_cli.engine.types.colour import ByteArray

_FRAME = b"FRAME\n"
_SIZE = re.compile(rb"YUV4MPEG2 .*?W(\d+) H(\d+) ")
_FIELDS = {b" It ": "tff", b" Ib ": "bff"}


def read_header(stream: IO[bytes]) -> bytes:
    """The first line; what there is of it where the stream ends before."""
    header = bytearray()
    while not header.endswith(b"\n") and (byte := stream.read(1)):
        header += byte
    return bytes(header)


def size_in(header: bytes) -> tuple[int, int] | None:
    """Width and height in pixels; None where this is no header."""
    found = _SIZE.match(header)
    return (int(found[1]), int(found[2])) if found else None


def fields_in(header: bytes) -> str:
    """The order of the two fields in each frame, as ffmpeg's filters call it: tff, bff; empty where there are none."""
    return next((name for mark, name in _FIELDS.items() if mark in header), "")


def read_frame(stream: IO[bytes], width: int, height: int) -> ByteArray | None:
    """The next frame, I420, uint8 (height · 3/2, width); None at the end of the stream."""
    mark = bytearray(len(_FRAME))
    image = np.empty((height * 3 // 2, width), dtype=np.uint8)
    if _fill(stream, memoryview(mark)) and mark == _FRAME and _fill(stream, memoryview(image.data).cast("B")):
        return image
    return None


def _fill(stream: IO[bytes], rest: memoryview) -> bool:
    """Read as many bytes as there is room for; False where the stream ends before."""
    while len(rest):
        count = stream.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            return False
        rest = rest[count:]
    return True
