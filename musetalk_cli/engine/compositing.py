"""Putting faces into frames: the only place that writes pixels of the final picture."""

from __future__ import annotations

from musetalk_cli.engine.colour import Planes
from musetalk_cli.engine.messages import ByteArray, FaceBatch, FrameBatch, Region


def write_region(picture: ByteArray, region: Region, planes: Planes) -> None:
    """Replace a region of an I420 picture in place."""
    height, width = picture.shape[0] * 2 // 3, picture.shape[1]
    left, top, region_width, region_height = region
    picture[top : top + region_height, left : left + region_width] = planes.luma
    chroma = picture[height:].reshape(2, height // 2, width // 2)
    rows = slice(top // 2, (top + region_height) // 2)
    columns = slice(left // 2, (left + region_width) // 2)
    chroma[0, rows, columns] = planes.chroma[:, :, 0]
    chroma[1, rows, columns] = planes.chroma[:, :, 1]


def composite(batch: FaceBatch, resting: ByteArray) -> FrameBatch:
    """Put each face of a batch into a copy of the avatar's resting picture (I420)."""
    pictures = []
    for face in batch.faces:
        picture = resting.copy()
        write_region(picture, batch.region, face)
        pictures.append(picture)
    return FrameBatch(tuple(pictures), batch.sound)
