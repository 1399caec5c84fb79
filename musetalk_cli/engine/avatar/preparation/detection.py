"""From the face detector's raw output to boxes: anchors, decoding, merging, and the tiles that find small faces.

The net is MediaPipe's short-range face detector, BlazeFace (Bazarevsky et al., 2019): an SSD on 128 × 128 pixels. It
finds faces that are at least an eighth of its input wide, so smaller ones need the tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray

INPUT_PX = 128
# Grid cells per side, anchors per cell: strides 8 and 16 of the input.
GRIDS = ((16, 2), (8, 6))
NUM_KEY_POINTS = 6
MERGE_IOU = 0.3
# Two finds of one face at different scales may overlap too little for that, but one then lies within the other.
SAME_FACE_INSIDE = 0.6
SMALLEST_FACE = 0.05
# The narrowest face that is found for certain, as a share of what the net is shown.
NET_REACH = 0.16
# Faces up to this share of a tile are whole in at least one; the level above must reach larger ones.
TILE_OVERLAP = 0.3
LARGEST_RATIO = TILE_OVERLAP / NET_REACH
# No tile needs more pixels than this: twice what the net is shown.
TILE_PX = 2 * INPUT_PX


@dataclass(frozen=True)
class FaceBox:
    """A detected face: ``score`` 0..1, ``box`` left, top, width, height in pixels, ``key_points`` float32 (6, 2).

    The key points are the image's left eye, right eye, nose tip, mouth, left ear, right ear. The box may reach
    beyond the image.
    """

    score: float
    box: tuple[float, float, float, float]
    key_points: FloatArray

    @property
    def area(self) -> float:
        return self.box[2] * self.box[3]

    def scaled(self, scale: float) -> FaceBox:
        """The same face in an image that is ``scale`` times as large; pixel centres are at integers in both."""
        left, top, width, height = self.box
        points = ((self.key_points + 0.5) * scale - 0.5).astype(np.float32)
        corner = (left + 0.5) * scale - 0.5, (top + 0.5) * scale - 0.5
        return FaceBox(self.score, (*corner, width * scale, height * scale), points)

    def moved(self, to_image: NDArray[np.floating]) -> FaceBox:
        """The same face after a similarity, 2 × 3; the box stays upright around the same centre."""
        left, top, width, height = self.box
        scale = float(np.hypot(*to_image[:, 0]))
        x, y = to_image[:, :2] @ (left + width / 2, top + height / 2) + to_image[:, 2]
        points = (self.key_points @ to_image[:, :2].T + to_image[:, 2]).astype(np.float32)
        width, height = width * scale, height * scale
        return FaceBox(self.score, (float(x) - width / 2, float(y) - height / 2, width, height), points)


@dataclass(frozen=True)
class Tile:
    """A square of the image, which may reach beyond it on the right and below: left, top and side in pixels."""

    left: int
    top: int
    side: int


@cache
def anchors() -> FloatArray:
    """Centres of the 896 anchors, float32 (896, 2), in shares of the input; row by row, the finer grid first."""
    grids = []
    for cells, per_cell in GRIDS:
        at = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(at, at, indexing="ij")
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
    return np.concatenate(grids).astype(np.float32)


def decode(scores: FloatArray, offsets: FloatArray, tile: Tile, least_score: float) -> list[FaceBox]:
    """Boxes in pixels of the image from the net's output for one tile; not merged yet.

    ``scores`` (896,) before the sigmoid; ``offsets`` (896, 16): centre, size and six points, in pixels of the input,
    the centre and the points measured from the anchor.
    """
    least_logit = np.log(least_score / (1 - least_score))
    rows = np.flatnonzero(scores > least_logit)
    values = offsets[rows].reshape(len(rows), 2 + NUM_KEY_POINTS, 2) / INPUT_PX
    centres = anchors()[rows]
    points = (values[:, 2:] + centres[:, None]) * tile.side + (tile.left, tile.top)
    sizes = values[:, 1] * tile.side
    corners = (values[:, 0] + centres) * tile.side + (tile.left, tile.top) - sizes / 2
    # The net's pixels are squares; the image's coordinates name their centres.
    boxes = np.concatenate([corners - 0.5, sizes], axis=1)
    found = zip(1 / (1 + np.exp(-scores[rows])), boxes, points - 0.5, strict=True)
    return [FaceBox(float(score), _box(box), point.astype(np.float32)) for score, box, point in found]


def merge(boxes: Sequence[FaceBox]) -> list[FaceBox]:
    """One box per face: overlapping ones averaged by score, those within a better one dropped. Largest first."""
    left, merged = sorted(boxes, key=lambda box: -box.score), []
    while left:
        best, rest = left[0], left[1:]
        same = [best, *(box for box in rest if _overlap(best, box)[0] > MERGE_IOU)]
        left = [box for box in rest if _overlap(best, box)[0] <= MERGE_IOU]
        merged.append(_mean(same))
    distinct: list[FaceBox] = []
    for box in merged:
        if all(_overlap(box, other)[1] <= SAME_FACE_INSIDE for other in distinct):
            distinct.append(box)
    return sorted(distinct, key=lambda box: -box.area)


def _overlap(one: FaceBox, other: FaceBox) -> tuple[float, float]:
    """Intersection over union, and intersection over the smaller box."""
    corner = np.maximum(one.box[:2], other.box[:2])
    far = np.minimum(np.add(one.box[:2], one.box[2:]), np.add(other.box[:2], other.box[2:]))
    common = float(np.prod(np.maximum(far - corner, 0)))
    smaller, union = min(one.area, other.area), one.area + other.area - common
    return common / max(union, 1e-9), common / max(smaller, 1e-9)


def _mean(boxes: Sequence[FaceBox]) -> FaceBox:
    weights = np.array([box.score for box in boxes])
    box = np.average([box.box for box in boxes], axis=0, weights=weights)
    points = np.average([box.key_points for box in boxes], axis=0, weights=weights)
    return FaceBox(boxes[0].score, _box(box), points.astype(np.float32))


def _box(values: NDArray[np.floating]) -> tuple[float, float, float, float]:
    left, top, width, height = map(float, values)
    return left, top, width, height


def tiles(width: int, height: int) -> Iterator[list[Tile]]:
    """Levels of ever smaller tiles over an image, the first one the whole image, the last for the smallest faces."""
    whole = max(width, height)
    yield [Tile((width - whole) // 2, (height - whole) // 2, whole)]
    span = whole / max(INPUT_PX, SMALLEST_FACE * width / NET_REACH)
    num_levels = int(np.ceil(np.log(max(span, 1)) / np.log(LARGEST_RATIO) - 1e-9))
    for level in range(1, num_levels + 1):
        side = round(whole / span ** (level / num_levels))
        yield [Tile(left, top, side) for top, left in product(_steps(height, side), _steps(width, side))]


def needed_scale(width: int) -> float:
    """How much an image may be shrunk, at most 1, before its smallest faces are searched."""
    return min(1.0, TILE_PX * NET_REACH / (SMALLEST_FACE * width))


def _steps(length: int, side: int) -> list[int]:
    """Where tiles of one level begin along a side of the image, evenly spread, overlapping by a small face."""
    if length <= side:
        return [(length - side) // 2]
    count = 1 + int(np.ceil((length - side) / (side * (1 - TILE_OVERLAP))))
    return [round(at) for at in np.linspace(0, length - side, count)]


def is_cut_by_tile(face: FaceBox, tile: Tile, width: int, height: int) -> bool:
    """Whether a face reaches over an edge of its tile that is not the image's own edge."""
    left, top, box_width, box_height = face.box
    return (
        (left < tile.left and tile.left > 0)
        or (top < tile.top and tile.top > 0)
        or (left + box_width > tile.left + tile.side and tile.left + tile.side < width)
        or (top + box_height > tile.top + tile.side and tile.top + tile.side < height)
    )
