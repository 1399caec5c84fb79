"""Images that show a person what was found: numbered faces, and a contact sheet of a prepared avatar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.frames import resize_image
from musetalk_cli.engine.avatar.landmarks import FloatArray, Landmarks
from musetalk_cli.engine.types.colour import ByteArray, as_bytes

CELL_PX = 320  # height of every image on the sheet
CAPTION_PX = 26
GAP_PX = 6
LISTING_PX = 720  # height of the image that numbers the faces
_GREEN, _YELLOW, _WHITE, _DARK = (90, 220, 60), (40, 210, 250), (255, 255, 255), (32, 32, 32)
_CLOSED = {"oval"}
_CAPTIONS = ("found", "landmarks, MuseTalk's box", "mask", "mouth closed", "half open", "open")


@dataclass(frozen=True)
class SheetRow:
    """One avatar frame on the sheet: ``image`` uint8 BGR, its ``face``, MuseTalk's ``box`` int32 (4,) and ``mask``
    uint8 (64, 64), and the same frame with the mouth closed, half open and open (``mouths``, BGR of the same size)."""

    label: str
    image: ByteArray
    face: Landmarks
    box: NDArray[np.int32]
    mask: ByteArray
    mouths: Sequence[ByteArray]


def draw_sheet(rows: Sequence[SheetRow]) -> ByteArray:
    """A contact sheet, uint8 BGR: a row for each frame, with what was found, box, mask and three mouths."""
    strips = [_draw_row(row) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    return np.concatenate([_pad(strip, width) for strip in strips])


def draw_faces(image: ByteArray, meshes: Sequence[FloatArray]) -> ByteArray:
    """A BGR image with every face, points float32 (468, 2 or 3) each, framed and numbered from 1."""
    factor = LISTING_PX / image.shape[0]
    canvas = resize_image(image, max(2, round(image.shape[1] * factor)), LISTING_PX).copy()
    for number, mesh in enumerate(meshes, start=1):
        (left, top), (right, bottom) = (np.round(f(mesh[:, :2], axis=0) * factor).astype(int) for f in (np.min, np.max))
        cv2.rectangle(canvas, (int(left), int(top)), (int(right), int(bottom)), _GREEN, 2, cv2.LINE_AA)
        _write(canvas, str(number), (int(left), max(28, int(top) - 8)), 1.0)
    return as_bytes(canvas)


def _draw_row(row: SheetRow) -> ByteArray:
    face_square = _square_around(row.face)
    boxed = _draw_landmarks(row.image, row.face)
    whole = _fit(boxed.copy())
    left, top, right, bottom = row.box.tolist()
    thickness = _line_px(row.face)
    cv2.rectangle(boxed, (left, top), (right, bottom), _YELLOW, thickness, cv2.LINE_AA)
    cells = [
        whole,
        *(_cut(image, face_square) for image in (boxed, _draw_mask(row.image, row.box, row.mask), *row.mouths)),
    ]
    captions = (f"{row.label}: {_CAPTIONS[0]}", *_CAPTIONS[1:])
    gap = np.full((CELL_PX + CAPTION_PX, GAP_PX, 3), _DARK, dtype=np.uint8)
    parts = [part for cell, caption in zip(cells, captions, strict=True) for part in (_caption(cell, caption), gap)]
    return np.concatenate([np.concatenate(parts, axis=1), _band(parts)])


def _band(parts: Sequence[ByteArray]) -> ByteArray:
    return np.full((GAP_PX, sum(part.shape[1] for part in parts), 3), _DARK, dtype=np.uint8)


def _draw_landmarks(image: ByteArray, face: Landmarks) -> ByteArray:
    canvas = image.copy()
    thickness = _line_px(face)
    for name, points in vars(face).items():
        line = np.round(points).astype(np.int32)[:, None]
        cv2.polylines(canvas, [line], name in _CLOSED, _GREEN, thickness, cv2.LINE_AA)
    return as_bytes(canvas)


def _line_px(face: Landmarks) -> int:
    """Width of the lines on a face: fine enough to see what they follow."""
    return max(1, round(_square_around(face)[2] / 250))


def _draw_mask(image: ByteArray, box: NDArray[np.int32], mask: ByteArray) -> ByteArray:
    """The image with the masked part in green, as strongly as it would be replaced."""
    left, top, right, bottom = box.tolist()
    cover = resize_image(mask, right - left, bottom - top)[..., None] / 255 * 0.7
    canvas = image.copy()
    part = canvas[top:bottom, left:right]
    canvas[top:bottom, left:right] = (part * (1 - cover) + np.array(_GREEN) * cover).round()
    return as_bytes(canvas)


def _square_around(face: Landmarks) -> tuple[int, int, int]:
    """Left, top and side of a square that shows the face with some air, in pixels; it may leave the image."""
    low, high = face.oval.min(axis=0), face.oval.max(axis=0)
    side = int(1.3 * (high - low).max())
    left, top = ((low + high - side) / 2).astype(int).tolist()
    return left, top, max(2, side)


def _cut(image: ByteArray, square: tuple[int, int, int]) -> ByteArray:
    left, top, side = square
    height, width = image.shape[:2]
    canvas = np.zeros((side, side, 3), dtype=np.uint8)
    x, y = max(0, left), max(0, top)
    part = image[y : min(height, top + side), x : min(width, left + side)]
    canvas[y - top : y - top + part.shape[0], x - left : x - left + part.shape[1]] = part
    return _fit(canvas)


def _fit(image: ByteArray) -> ByteArray:
    return resize_image(image, max(2, round(image.shape[1] * CELL_PX / image.shape[0])), CELL_PX)


def _caption(cell: ByteArray, text: str) -> ByteArray:
    bar = np.full((CAPTION_PX, cell.shape[1], 3), _DARK, dtype=np.uint8)
    _write(bar, text, (6, CAPTION_PX - 8), 0.45)
    return np.concatenate([bar, cell])


def _write(canvas: ByteArray, text: str, place: tuple[int, int], size: float) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, _DARK, 3, cv2.LINE_AA)
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, _WHITE, 1, cv2.LINE_AA)


def _pad(strip: ByteArray, width: int) -> ByteArray:
    return as_bytes(np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=_DARK[0]))
