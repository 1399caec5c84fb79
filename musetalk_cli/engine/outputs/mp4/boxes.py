"""Reading the boxes that an MP4 is made of (ISO/IEC 14496-12, 4.2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from musetalk_cli.errors import EncoderError

BOX_HEADER_BYTES = 8


def damaged(what: str) -> EncoderError:
    """The error of an MP4 that breaks its own rules, or that has what our encoder never writes."""
    return EncoderError(f"the encoder's MP4 is damaged: {what}")


def read_size(header: bytes | bytearray) -> int:
    """The size of a box in bytes, its header included, from the header's first four bytes.

    Raises EncoderError for a box smaller than its header: sizes of 64 bits and "to the end" are not written here.
    """
    size = int.from_bytes(header[:4], "big")
    if size < BOX_HEADER_BYTES:
        raise damaged(f"a box of {size} bytes")
    return size


def boxes_in(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the body of each box in a row of them. Raises EncoderError where one is not complete."""
    at = 0
    while at + BOX_HEADER_BYTES <= len(body):
        size = read_size(body[at : at + 4])
        if at + size > len(body):
            raise damaged(f"a box of {size} bytes, of which {len(body) - at} are there")
        yield body[at + 4 : at + 8], body[at + BOX_HEADER_BYTES : at + size]
        at += size


def find_boxes(body: bytes, kind: bytes) -> list[bytes]:
    """The bodies of all boxes of a kind in a row of boxes."""
    return [inner for found, inner in boxes_in(body) if found == kind]


def find_box(body: bytes, *path: bytes) -> bytes:
    """The body of the first box under a path of kinds, empty when there is none."""
    for kind in path:
        body = next(iter(find_boxes(body, kind)), b"")
    return body


def is_whole_file(path: Path) -> bool:
    """Whether a file consists of complete boxes, at least one. Raises OSError."""
    with path.open("rb") as file:
        num_bytes = os.fstat(file.fileno()).st_size
        at = 0
        while at + BOX_HEADER_BYTES <= num_bytes:
            file.seek(at)
            try:
                at += read_size(file.read(4))
            except EncoderError:
                return False
        return at == num_bytes > 0
