"""From an image as Pillow decodes it to BGR pixels: colours, transparency and orientation as its file says."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np

from musetalk_cli.engine.avatar.inputs.hdr import Colours, colours_of_codes, map_colours
from musetalk_cli.engine.types.colour import ByteArray, as_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

STRIP_ROWS = 512  # of the result, made at once when a large image is scaled down
SRGB_GAMMA = 0.45455


def to_bgr(image: Image, head: bytes, background: tuple[int, int, int], reduce_by: int = 1) -> ByteArray:
    """Pixels as an ordinary screen shows them, uint8 BGR (h, w, 3), upright.

    Args:
        image: as Pillow opened it; its pixels are loaded here.
        head: the file's first bytes, which say what Pillow does not: HDR.
        background: red, green and blue of what is behind transparent parts.
        reduce_by: every so many pixels in each direction become one.

    Raises:
        OSError, SyntaxError: it is damaged.
        ValueError: its pixels are none that an image has.
    """
    from PIL import ImageOps

    image.load()
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    colours = Colours() if profile else colours_of_file(image, head)
    is_srgb = profile or "srgb" in image.info or not colours.are_ordinary
    upright = ImageOps.exif_transpose(_with_orientation(image, _reduced(image, reduce_by)))
    plain, cover = _split(upright)
    plain = _to_rgb(plain, profile)
    rgb = as_bytes(np.asarray(plain))
    if not colours.are_ordinary:
        rgb = _map(rgb, colours)
    elif gamma and not is_srgb and abs(gamma - SRGB_GAMMA) > 0.02:
        rgb = _look_up(rgb, (np.arange(256) / 255) ** (SRGB_GAMMA / gamma))
    if cover is not None:
        rgb = put_on(rgb, as_bytes(np.asarray(cover)), background)
    return np.ascontiguousarray(rgb[:, :, ::-1])


def put_on(rgb: ByteArray, cover: ByteArray, background: tuple[int, int, int]) -> ByteArray:
    """An image (h, w, 3) on a background; ``cover`` (h, w) is 255 where it hides it."""
    share = cover[:, :, None].astype(np.uint16)
    behind = np.array(background, np.uint16) * (255 - share)
    return as_bytes((rgb * share + behind + 127) // 255)


def colours_of_file(image: Image, head: bytes) -> Colours:
    """What an AVIF, HEIC or PNG file says of its primaries and transfer function."""
    nclx = image.info.get("nclx_profile")
    if nclx:  # as pillow-heif gives it
        return colours_of_codes(int(nclx["color_primaries"]), int(nclx["transfer_characteristics"]))
    at = head.find(b"colrnclx") + 4 if image.format == "AVIF" else -1
    if 4 < at <= len(head) - 8:
        return colours_of_codes(*struct.unpack_from(">HH", head, at + 4))
    at = head.find(b"cICP") if image.format == "PNG" else -1
    return colours_of_codes(head[at + 4], head[at + 5]) if 0 < at <= len(head) - 6 else Colours()


def _with_orientation(image: Image, reduced: Image) -> Image:
    """``reduced`` with what the file says of the camera's orientation; a PNG says so behind its pixels."""
    if reduced is not image:
        reduced.info = {key: image.info[key] for key in ("exif", "xmp", "XML:com.adobe.xmp") if key in image.info}
        orientation = image.getexif().get(0x0112)
        if orientation:
            reduced.getexif()[0x0112] = orientation
    return reduced


def _reduced(image: Image, by: int) -> Image:
    """Scaled down by a whole number, a strip at a time, so that the large one is never there twice."""
    import PIL.Image

    if by == 1:
        return _simple(image)
    width, height = image.size
    strips = []
    for top in range(0, height, by * STRIP_ROWS):
        strip = _simple(image.crop((0, top, width, min(height, top + by * STRIP_ROWS))))
        strips.append(strip.reduce(by))
    whole = PIL.Image.new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips)))
    top = 0
    for strip in strips:
        whole.paste(strip, (0, top))
        top += strip.height
    return whole


def _simple(image: Image) -> Image:
    """Without palettes, colour keys and more than 8 bits: L, LA, RGB, RGBA, CMYK or LAB."""
    import PIL.Image

    if image.mode in ("F", "I;32", "I;32B"):
        raise ValueError("its pixels are floating-point numbers, not 8 or 16 bits a channel")
    if image.mode.startswith("I"):  # 16 bits of grey
        grey = np.asarray(image).astype(np.int64)
        return PIL.Image.fromarray((np.clip(grey, 0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("P", "PA", "1", "RGBa", "La") or "transparency" in image.info:
        is_grey = image.mode in ("1", "La", "L")
        has_cover = "transparency" in image.info or image.mode in ("PA", "RGBa", "La")
        return image.convert(("LA" if is_grey else "RGBA") if has_cover else "L" if is_grey else "RGB")
    return image if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "LAB") else image.convert("RGB")


def _split(image: Image) -> tuple[Image, Image | None]:
    """Colours without transparency, and how much each pixel covers."""
    if image.mode not in ("LA", "RGBA"):
        return image, None
    cover = image.getchannel("A")
    return image.convert(image.mode[:-1]), None if cover.getextrema() == (255, 255) else cover


def _to_rgb(image: Image, profile: bytes | None) -> Image:
    """In sRGB, as the file's colour profile says; one that is damaged, or of another kind of pixels, is not used."""
    from PIL import ImageCms

    if not profile:
        return image.convert("RGB")
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = given.profile.xcolor_space.strip()
        if space == "RGB" and "srgb" in (ImageCms.getProfileDescription(given)).lower():
            return image.convert("RGB")
        if space == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        if {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}.get(space) == image.mode:
            converted = ImageCms.profileToProfile(image, given, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return converted if converted is not None else image.convert("RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        pass
    return image.convert("RGB")


def _map(rgb: ByteArray, colours: Colours) -> ByteArray:
    """``map_colours`` row by row, for bounded memory."""
    rows = [map_colours(rgb[top : top + 64] / 255, colours, is_image=True) for top in range(0, len(rgb), 64)]
    return np.concatenate([np.rint(row * 255).astype(np.uint8) for row in rows])


def _look_up(rgb: ByteArray, curve: np.ndarray[tuple[int], np.dtype[np.float64]]) -> ByteArray:
    return as_bytes(np.rint(curve * 255).astype(np.uint8)[rgb])
