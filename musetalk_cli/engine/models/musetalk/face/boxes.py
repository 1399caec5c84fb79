"""The rectangle of the face that the MuseTalk network is given and generates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray, Landmarks
from musetalk_cli.engine.avatar.mesh import ibug68_of

# Version 1.5 of the network was trained with 10 ± 10 pixels below the chin, whatever the image's size.
EXTRA_MARGIN_PX = 10
_RIDGE = 29  # of the 68 points: the third of the nose's ridge stands at the box's middle
MIN_SIDE_PX = 8  # a box is never smaller, so that it can always be resized


def face_boxes(
    points: FloatArray, size: tuple[int, int], *, bbox_shift: int = 0, extra_margin_px: int = EXTRA_MARGIN_PX
) -> NDArray[np.int32]:
    """Boxes int32 (n, 4): left, top, right, bottom (exclusive) in pixels, from meshes float32 (n, 468, 2).

    ``size`` is the image's width and height. ``bbox_shift`` moves the middle, and so the line below which the face
    is generated: down, for a mouth that opens more, where positive. Version 1.5 was trained with 0. ``extra_margin_px``
    lie below the chin.
    """
    boxes = [_box(ibug68_of(mesh), size, bbox_shift, extra_margin_px) for mesh in points]
    return np.array(boxes, dtype=np.int32).reshape(-1, 4)


def drawn_face_box(
    face: Landmarks, size: tuple[int, int], *, bbox_shift: int = 0, extra_margin_px: int = EXTRA_MARGIN_PX
) -> NDArray[np.int32]:
    """The same, int32 (4,), from landmarks alone, as the drawn portraits have them.

    Their nose has no point at the ridge's third; it lies two thirds of the way from the bridge to the tip.
    """
    bridge, tip = face.nose[:2]
    outline = np.concatenate([np.repeat((bridge + (tip - bridge) * 2 / 3)[None], _RIDGE + 1, axis=0), face.oval[7:30]])
    return np.array(_box(outline.astype(np.float32), size, bbox_shift, extra_margin_px), dtype=np.int32)


def _box(points: FloatArray, size: tuple[int, int], bbox_shift: int, extra_margin_px: int) -> tuple[int, int, int, int]:
    """MuseTalk's formula on whole pixels: from the ridge's point as far up as the chin is down, as wide as all points.

    Where it leaves the image it is cut; MuseTalk would fall back on its detector's box.
    """
    whole = points.astype(np.int32)
    middle = int(whole[_RIDGE, 1]) + bbox_shift
    chin = int(whole[:, 1].max())
    top, bottom = max(0, middle - (chin - middle)), chin + extra_margin_px
    left, right = _inside(int(whole[:, 0].min()), int(whole[:, 0].max()), size[0])
    top, bottom = _inside(top, bottom, size[1])
    return left, top, right, bottom


def _inside(low: int, high: int, extent: int) -> tuple[int, int]:
    """A span within 0 … extent that is at least MIN_SIDE_PX long."""
    low = min(max(0, low), max(0, extent - MIN_SIDE_PX))
    return low, min(extent, max(high, low + MIN_SIDE_PX))
