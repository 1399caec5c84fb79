"""Putting faces into frames. What a model draws by itself arrives without faces."""

from __future__ import annotations

import cv2
import numpy as np

from musetalk_cli.engine.types.colour import Planes
from musetalk_cli.engine.types.messages import ByteArray, Face, FaceBatch, FrameBatch, Region


def composite(batch: FaceBatch) -> FrameBatch:
    """Put each face of a batch into its frame, in place, or into a copy of one that is shared; everything outside its
    region stays as it was."""
    images = batch.images
    if batch.faces:
        images = tuple(image if image.flags.writeable else image.copy() for image in images)
        for face, image in zip(batch.faces, images, strict=True):
            write_face(image, face)
    return FrameBatch(images, batch.audio, batch.frames, batch.cue)


def write_face(image: ByteArray, face: Face) -> None:
    """Replace the face's region of an I420 frame in place, or blend it in where the face has a mask."""
    luma, blue, red = _region_views(image, face.region)
    planes: Planes = face.planes
    if face.mask is None:
        luma[:] = planes.luma
        _split_chroma(planes.chroma, blue, red)
        return
    sources = (planes.luma, planes.chroma[:, :, 0], planes.chroma[:, :, 1])
    half = cv2.resize(face.mask, (blue.shape[1], blue.shape[0]), interpolation=cv2.INTER_AREA)
    for target, source, mask in zip((luma, blue, red), sources, (face.mask, half, half), strict=True):
        target[:] = _blend(target, source, np.asarray(mask, dtype=np.uint16))


def _split_chroma(chroma: ByteArray, blue: ByteArray, red: ByteArray) -> None:
    """Write chroma (h, w, 2) into two planes (h, w).

    As the halves of 16-bit numbers: numpy shifts and converts those many at a time, and copies every second byte
    one by one.
    """
    both = np.ascontiguousarray(chroma).view(np.dtype("<u2"))[:, :, 0]
    np.copyto(blue, both, casting="unsafe")
    np.right_shift(both, 8, out=red, casting="unsafe")


def _region_views(image: ByteArray, region: Region) -> tuple[ByteArray, ByteArray, ByteArray]:
    """The region's part of each plane."""
    height, width = image.shape[0] * 2 // 3, image.shape[1]
    left, top, region_width, region_height = region
    chroma = image[height:].reshape(2, height // 2, width // 2)
    rows = slice(top // 2, (top + region_height) // 2)
    columns = slice(left // 2, (left + region_width) // 2)
    luma = image[top : top + region_height, left : left + region_width]
    return luma, chroma[0, rows, columns], chroma[1, rows, columns]


def _blend(under: ByteArray, over: ByteArray, mask: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> ByteArray:
    """``over`` by mask / 255 and ``under`` by the rest, to the nearest level: exact for 0 and 255."""
    return ((under * (255 - mask) + over * mask + 127) // 255).astype(np.uint8)
