"""What a WAV file says of its length: ffmpeg believes the file's size instead, however much of it was cut off."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

CHUNK = struct.Struct("<4sI")  # name and length of what follows (RIFF)
BYTE_RATE_AT = 8  # in "fmt ": behind format, channels and sampling rate
# What is written to a pipe cannot know its length: 0, or a number about here and above.
UNKNOWN_FROM = 0x7FFF0000
MOST_CHUNKS = 100


def length_before_cut(path: str) -> float | None:
    """Seconds of audio that the header counts, of a file that ends before; None of any other."""
    with suppress(OSError, ValueError, struct.error), Path(path).open("rb") as file:
        if CHUNK.unpack(file.read(CHUNK.size))[0] == b"RIFF" and file.read(4) == b"WAVE":
            return _read_length(file, Path(path).stat().st_size)
    return None


def _read_length(file: BinaryIO, num_bytes: int) -> float | None:
    byte_rate = 0
    for _ in range(MOST_CHUNKS):
        name, size = CHUNK.unpack(file.read(CHUNK.size))
        start = file.tell()
        if name == b"data":
            is_cut = num_bytes - start < size < UNKNOWN_FROM
            return size / byte_rate if is_cut and byte_rate else None
        if name == b"fmt ":
            byte_rate = struct.unpack_from("<I", file.read(BYTE_RATE_AT + 4), BYTE_RATE_AT)[0]
        file.seek(start + size + size % 2)
    return None
