"""Reads input images: checked before their pixels are decoded, scaled down, as their files say they are to be shown.

Pillow decodes them: it knows orientation, colour profiles, transparency and animations in every format, and scales a
JPEG while it decodes. It takes 0.1 s to load, once an image is to be prepared.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from musetalk_cli.engine.avatar.inputs.clip import WHITE
from musetalk_cli.engine.avatar.inputs.file_kinds import FORMATS, MOVING, explain_heif, refuse_known
from musetalk_cli.engine.avatar.inputs.pixels import to_bgr
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.engine.types.signatures import HEAD_BYTES, looks_like_heif, looks_like_image
from musetalk_cli.errors import AvatarError, system_words

if TYPE_CHECKING:
    from PIL.Image import Image

# An image of this size decodes to 512 MB. Cameras stay below it; a small file with more is a decompression bomb.
MAX_PIXELS = 128_000_000
# A JPEG that is not progressive is scaled while it is decoded, so that phones' 200 megapixels take 50 MB.
MAX_SCALED_PIXELS = 512_000_000
MIN_SIDE_PX = 64
MAX_FILE_BYTES = 256 << 20
# No video that we can make is higher, and encoders stop at 4096 columns.
MAX_HEIGHT_PX, MAX_WIDTH_PX = 2160, 4096
# Where a file's header says how its pixels are to be shown.
COLOUR_BYTES = 65536

_READABLE = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "DIB", "HEIF")
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_pillow_limit = threading.Lock()


def read_image(path: Path, background: tuple[int, int, int] = WHITE) -> ByteArray:
    """An image as uint8 BGR (h, w, 3), both sides even, upright, in sRGB, on ``background`` where it is transparent.

    It is scaled down to fit into MAX_WIDTH_PX × MAX_HEIGHT_PX. Raises AvatarError when it cannot be read or decoded, or
    has too many pixels, or a side has less than MIN_SIDE_PX.
    """
    with open_image(path) as image, telling_damage(path):
        factor = check_image(path, image)
        pixels = to_bgr(image, read_head(path, COLOUR_BYTES), background, max(1, int(1 / factor)))
    return shrink_image(pixels, MAX_HEIGHT_PX)


@contextmanager
def open_image(path: Path) -> Iterator[Image]:
    """An image of one of FORMATS as Pillow opens it, its pixels not decoded yet. Raises AvatarError."""
    import PIL.Image

    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise AvatarError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MB", hint="give a smaller image")
        refuse_known(path)
        head = read_head(path)
    except OSError as error:
        raise AvatarError(f"cannot read {path}: {system_words(error)}") from error
    if looks_like_heif(head):
        with suppress(ImportError):
            import pillow_heif  # type: ignore[import-not-found, unused-ignore]

            pillow_heif.register_heif_opener()
    # Opened here, not by Pillow, which would map an uncompressed TIFF into memory and then not turn it.
    file = path.open("rb")
    try:
        with _without_pillow_limit(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = PIL.Image.open(file, formats=[name for name in _READABLE if _is_known(name)])
    except Exception as error:  # as below
        file.close()
        if looks_like_heif(head) and not _is_known("HEIF"):
            raise explain_heif(path) from error
        raise AvatarError(
            f"{path} is not an image that can be read", hint=f"it must be {FORMATS}, and whole"
        ) from error
    with file, image, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged metadata, which is then as good as absent
        yield image


def check_image(path: Path, image: Image) -> float:
    """By what factor an image that was opened is scaled down to the largest that is of use; a JPEG is told so.

    Raises AvatarError when it is too small or too large.
    """
    width, height = image.size
    if min(width, height) < MIN_SIDE_PX:
        raise AvatarError(
            f"{path} has only {width} × {height} pixels", hint=f"both sides must have {MIN_SIDE_PX} at least"
        )
    can_be_scaled = image.format in ("JPEG", "MPO") and not image.info.get("progressive")
    limit = MAX_SCALED_PIXELS if can_be_scaled else MAX_PIXELS
    if width * height > limit:
        raise AvatarError(
            f"{path} has {width} × {height} pixels, more than {limit // 1_000_000} million",
            hint="give a smaller image; nothing above 4096 × 2160 is of use",
        )
    is_turned = image.getexif().get(0x0112) in _TURNED
    up_width, up_height = (height, width) if is_turned else (width, height)
    factor = min(1.0, MAX_HEIGHT_PX / up_height, MAX_WIDTH_PX / up_width)
    if factor < 1 and image.format in ("JPEG", "MPO"):
        image.draft(None, (int(width * factor), int(height * factor)))
    return factor * width / image.size[0]


@contextmanager
def telling_damage(path: Path) -> Iterator[None]:
    """Turn what a damaged image makes of Pillow into an AvatarError. A lack of memory is none of its damage."""
    try:
        yield
    except (AvatarError, MemoryError):
        raise
    except Exception as error:  # its readers raise whatever their lines run into: IndexError, TypeError, struct.error
        raise explain_damage(path, error) from error


def explain_damage(path: Path, error: Exception) -> AvatarError:
    """What to say of an image that begins as one, and cannot be decoded to its end."""
    reason = str(error).strip() or type(error).__name__
    return AvatarError(f"{path} cannot be decoded as an image: {reason}", hint=f"it must be {FORMATS}, and whole")


def is_moving(path: Path) -> bool:
    """Whether a file of an image format is a video: an animation of several images. Raises AvatarError."""
    if not looks_like_image(read_head(path)):
        return False
    with open_image(path) as image, telling_damage(path):
        return image.format in MOVING and getattr(image, "n_frames", 1) > 1


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
        found = [path for path in files if looks_like_image(read_head(path))]
    except OSError as error:
        raise AvatarError(f"cannot read {error.filename or folder}: {system_words(error)}") from error
    if not found:
        raise AvatarError(f"there is no image in the folder {folder}", hint=f"an image is {FORMATS}")
    return sorted(found, key=_natural_order)


def read_head(path: Path, num_bytes: int = HEAD_BYTES) -> bytes:
    """A file's first bytes. Raises OSError."""
    with path.open("rb") as file:
        return file.read(num_bytes)


def _natural_order(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _is_known(name: str) -> bool:
    """Whether this Pillow reads a format."""
    import PIL.Image

    PIL.Image.init()
    return name in PIL.Image.OPEN


@contextmanager
def _without_pillow_limit() -> Iterator[None]:
    """Open an image of any size: Pillow's own limit is below a phone's photo, and ours comes next."""
    import PIL.Image

    with _pillow_limit:
        before = PIL.Image.MAX_IMAGE_PIXELS
        PIL.Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = before
