"""The image with open eyes and at every painted level of its lids, ready to sample from."""

from __future__ import annotations

import math

import numpy as np

from musetalk_cli.engine.avatar.eyelids import Eyelids
from musetalk_cli.engine.avatar.frames import resize_image
from musetalk_cli.engine.models.warp.face.sampling import FILTER_REACH, Source
from musetalk_cli.engine.types.colour import ByteArray, bgr_to_planes

_MARGIN_PX = 2 * FILTER_REACH


class EyeStates:
    """Sources per lid level; immutable."""

    def __init__(self, open_eyes: Source, image: ByteArray, size: tuple[int, int], lids: Eyelids | None) -> None:
        """``open_eyes``: the image (uint8 BGR, original size) prepared at ``size`` (width, height)."""
        self._sources, self._levels = [open_eyes], np.zeros(1)
        if lids is None:
            return
        left, top, width, height = lids.box
        columns = _aligned_span(left, left + width, image.shape[1], size[0])
        rows = _aligned_span(top, top + height, image.shape[0], size[1])
        crop = image[rows.start : rows.stop, columns.start : columns.stop].copy()
        scale_x, scale_y = size[0] / image.shape[1], size[1] / image.shape[0]
        target = (round(len(columns) * scale_x), round(len(rows) * scale_y))
        corner = (round(columns.start * scale_x), round(rows.start * scale_y))
        x, y = left - columns.start, top - rows.start
        for patch in lids.images:
            crop[y : y + height, x : x + width] = patch
            planes = bgr_to_planes(resize_image(crop, *target))
            self._sources.append(open_eyes.with_patch(planes, *corner, _MARGIN_PX))
        self._levels = np.array([0.0, *lids.levels])

    def at(self, closure: float) -> Source:
        """The source whose lids are nearest to a closure 0..1."""
        return self._sources[int(np.abs(self._levels - closure).argmin())]


def _aligned_span(start: int, stop: int, extent: int, resized: int) -> range:
    """A span around start..stop, with a margin, whose ends fall on even pixels after extent was resized.

    A crop so aligned resizes to the same pixels as the whole image does.
    """
    step = extent // math.gcd(extent, resized // 2)
    margin = math.ceil((_MARGIN_PX + 2) * extent / resized)
    return range(max(0, (start - margin) // step * step), min(extent, -(-(stop + margin) // step) * step))
