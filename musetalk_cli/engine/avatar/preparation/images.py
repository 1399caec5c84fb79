"""Reads input images: rotated as their EXIF data says, and checked before anything is decoded.

Their headers are parsed here, not by Pillow: it would save some 75 lines, but is a further dependency of 22 MB, takes
25 ms to import and 30 to 80 ms more to load its formats. OpenCV has to decode the pixels anyway (16 bits, EXIF
orientation), and reads some TIFFs that Pillow refuses.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.errors import AvatarError

# An image of this size decodes to 384 MB. Cameras stay below it; a small file with more is a decompression bomb.
MAX_PIXELS = 128_000_000
MIN_SIDE_PX = 64
MAX_FILE_BYTES = 256 << 20
# No video that we can make is higher, and encoders stop at 4096 columns.
MAX_HEIGHT_PX, MAX_WIDTH_PX = 2160, 4096

FORMATS = "PNG, JPEG, WebP, BMP, TIFF or AVIF"


class Header(NamedTuple):
    """What an image's first bytes say; ``width`` and ``height`` before it is rotated as its EXIF data says."""

    width: int
    height: int
    is_transparent: bool


def looks_like_image(head: bytes) -> bool:
    """Whether a file that begins with these (at least 16) bytes is an image, not a video."""
    is_raster = head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*"))
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return is_raster or is_webp or (head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"heic", b"heix", b"mif1"))


def read_image(path: Path) -> ByteArray:
    """An image as uint8 BGR (h, w, 3), both sides even, upright, transparent parts white.

    It is scaled down to fit into MAX_WIDTH_PX × MAX_HEIGHT_PX. Raises AvatarError when it cannot be read or decoded, or
    has more than MAX_PIXELS, or a side has less than MIN_SIDE_PX.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise AvatarError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MB", hint="give a smaller image")
        data = path.read_bytes()
    except OSError as error:
        raise AvatarError(f"cannot read {path}: {error.strerror}") from error
    header = read_header(data)
    if header is None:  # nothing is decoded whose size is not known beforehand
        raise AvatarError(f"{path} is not an image that can be read", hint=f"it must be {FORMATS}, and whole")
    if min(header.width, header.height) < MIN_SIDE_PX:
        raise AvatarError(
            f"{path} has only {header.width} × {header.height} pixels",
            hint=f"both sides must have {MIN_SIDE_PX} at least",
        )
    if header.width * header.height > MAX_PIXELS:
        raise AvatarError(
            f"{path} has {header.width} × {header.height} pixels, more than {MAX_PIXELS // 1_000_000} million",
            hint="give a smaller image; nothing above 4096 × 2160 is of use",
        )
    image = _decode(data, header)
    if image is None:
        raise AvatarError(f"{path} cannot be decoded as an image", hint=f"it must be {FORMATS}, and whole")
    return shrink_image(image, MAX_HEIGHT_PX)


def shrink_image(image: ByteArray, height_px: int) -> ByteArray:
    """A BGR image that is no higher than ``height_px`` and no wider than MAX_WIDTH_PX, both sides even.

    It is scaled down when it is larger, never up; an odd last row or column is cut off.
    """
    height, width = image.shape[:2]
    factor = min(1.0, height_px / height, MAX_WIDTH_PX / width)
    if factor < 1:
        size = (max(2, 2 * round(width * factor / 2)), max(2, 2 * round(height * factor / 2)))
        return as_bytes(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return np.ascontiguousarray(image[: height - height % 2, : width - width % 2])


def encode_png(image: ByteArray) -> bytes:
    """A BGR image as a PNG file's bytes."""
    is_done, data = cv2.imencode(".png", image)
    if not is_done:
        raise AvatarError(f"an image of {image.shape[1]} × {image.shape[0]} pixels cannot be stored")
    return data.tobytes()


def list_images(folder: Path) -> list[Path]:
    """The images of a folder by name, numbers by value: ``2.png`` before ``10.png``. Raises AvatarError for none."""
    try:
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
        found = [path for path in files if looks_like_image(_head(path))]
    except OSError as error:
        raise AvatarError(f"cannot read {error.filename or folder}: {error.strerror}") from error
    if not found:
        raise AvatarError(f"there is no image in the folder {folder}", hint=f"an image is {FORMATS}")
    return sorted(found, key=_natural_order)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(32)


def _natural_order(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _decode(data: bytes, header: Header) -> ByteArray | None:
    buffer = np.frombuffer(data, dtype=np.uint8)
    flags = cv2.IMREAD_UNCHANGED if header.is_transparent else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(buffer, flags)
    except cv2.error:
        return None
    if image is None:
        return None
    if image.dtype == np.uint16:
        image = as_bytes(np.asarray(image, dtype=np.uint16) >> 8)
    if image.dtype != np.uint8:
        return None
    if image.ndim == 3 and image.shape[2] == 4:
        return _on_white(as_bytes(image))
    return as_bytes(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image)


def _on_white(image: ByteArray) -> ByteArray:
    colours, cover = image[:, :, :3], image[:, :, 3:]
    return as_bytes((colours.astype(np.uint16) * cover + 255 * (255 - cover.astype(np.uint16)) + 127) // 255)


def read_header(data: bytes) -> Header | None:
    """Size and transparency of an image without decoding it; None for what is none of FORMATS, or broken.

    Sources: PNG 1.2 §11.2.2, ITU-T T.81 annex B, RFC 9649 (WebP), BITMAPINFOHEADER, TIFF 6.0 §2, ISO/IEC 23008-12
    (AVIF's image spatial extents).
    """
    readers: dict[bytes, Callable[[bytes], Header | None]] = {
        b"\x89P": _png_header,
        b"\xff\xd8": _jpeg_header,
        b"RI": _webp_header,
        b"BM": _bmp_header,
        b"II": _tiff_header,
        b"MM": _tiff_header,
    }
    read = _avif_header if data[4:8] == b"ftyp" else readers.get(data[:2])
    try:
        return read(data) if read else None
    except (struct.error, IndexError):
        return None


def _png_header(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    return Header(width, height, data[25] in (4, 6) or b"tRNS" in data[:4096])


def _bmp_header(data: bytes) -> Header:
    width, height = struct.unpack_from("<ii", data, 18)
    return Header(abs(width), abs(height), False)


def _tiff_header(data: bytes) -> Header:
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    values = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, _ = struct.unpack_from(f"{order}HHI", data, entry)
        (values[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, entry + 8)
    return Header(values.get(256, 0), values.get(257, 0), False)


def _avif_header(data: bytes) -> Header | None:
    """The largest of the images inside, the others being parts and thumbnails of it."""
    places = [found.end() + 4 for found in re.finditer(b"ispe", data[:65536])]
    sizes: list[tuple[int, int]] = [struct.unpack_from(">II", data, at) for at in places]
    if not sizes:
        return None
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return Header(width, height, False)


def _webp_header(data: bytes) -> Header | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return Header(width, height, bool(data[20] & 0x10))
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1))
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header(width & 0x3FFF, height & 0x3FFF, False)
    return None


def _jpeg_header(data: bytes) -> Header | None:
    for marker, at in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return Header(width, height, False)
    return None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and position (of the marker's length field, less 2) of every segment in front of the image's data."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:
            return
        yield marker, at
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
