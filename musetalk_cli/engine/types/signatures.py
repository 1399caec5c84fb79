"""What a file is, by its bytes: an image, text, or something that is encrypted."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

HEAD_BYTES = 512  # of a file, enough to tell what it is
MAX_INDEX_BYTES = 16 << 20  # of an MP4's index, searched for signs of encryption
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"GIF87a", b"GIF89a")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# ISO/IEC 23001-7 (Common Encryption), and what Apple's and Audible's shops sold.
_ENCRYPTED_ENTRIES = (b"encv", b"enca", b"drms", b"drmi", b"aavd")
_MAX_ENTRIES = 16  # of a track


def looks_like_image(head: bytes) -> bool:
    """Whether a file that begins with these (at least 16) bytes is of an image format; some of those can move."""
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    is_avif = head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis")
    return head.startswith(_IMAGES) or is_webp or is_avif or looks_like_heif(head)


def looks_like_heif(head: bytes) -> bool:
    """Whether it is HEIC or one of its relatives; AVIF may begin likewise."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def looks_like_text(head: bytes) -> bool:
    """Whether these bytes are letters rather than a container: UTF-8 without control characters."""
    if head.startswith(b"YUV4MPEG2") or any(byte < 32 and byte not in b"\t\n\r\f" for byte in head):
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= max(1, len(head) - 3)  # only a letter that is cut at the end
    return bool(head)


def is_encrypted(path: Path) -> bool:
    """Whether an MP4's index says that its tracks are encrypted; False for whatever is no MP4. Raises OSError."""
    with path.open("rb") as file:
        while len(header := file.read(16)) >= 8:
            size, kind = struct.unpack(">I4s", header[:8])
            length = 8
            if size == 1 and len(header) == 16:
                (size,), length = struct.unpack(">Q", header[8:]), 16
            if not kind.isalnum() or (size and size < length):
                return False
            if kind == b"moov":
                file.seek(length - len(header), 1)
                index = file.read(min(size - length if size else MAX_INDEX_BYTES, MAX_INDEX_BYTES))
                return any(entry in _ENCRYPTED_ENTRIES for entry in _sample_entries(index))
            if not size:
                return False
            file.seek(size - len(header), 1)
    return False


def _sample_entries(index: bytes) -> Iterator[bytes]:
    """What each track of an MP4's index holds, as its table of entries says (ISO/IEC 14496-12, 8.5.2): titles may have
    the same letters."""
    for table in re.finditer(b"stsd\0\0\0\0", index):
        at = table.end() + 4
        for _ in range(min(int.from_bytes(index[table.end() : at], "big"), _MAX_ENTRIES)):
            yield index[at + 4 : at + 8]
            at += max(8, int.from_bytes(index[at : at + 4], "big"))
