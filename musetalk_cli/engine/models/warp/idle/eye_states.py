"""An image and its eyelid images → one upsampled image per closure of the eyes, ready to sample from."""

from __future__ import annotations

import math

import numpy as np

from musetalk_cli.engine.avatar.eyelids import Eyelids
from musetalk_cli.engine.avatar.frames import resize_image
from musetalk_cli.engine.models.warp.face.sampling import FILTER_RADIUS_PX, UpsampledImage
from musetalk_cli.engine.types.colour import ByteArray, bgr_to_planes

_MARGIN_PX = 2 * FILTER_RADIUS_PX


class EyeStates:
    """An image at every level of its lids; immutable."""

    def __init__(
        self, open_eyes: UpsampledImage, image: ByteArray, size: tuple[int, int], lids: Eyelids | None
    ) -> None:
        """Prepare the levels.

        Args:
            open_eyes: ``image`` resized to ``size`` and upsampled.
            image: uint8 BGR (h, w, 3), in its own size.
            size: Width and height of the output.
            lids: Images of the eyelids in pixels of ``image``; without, the eyes stay open.
        """
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

    def at(self, closure: float) -> UpsampledImage:
        """The image whose level is nearest to a closure in 0..1."""
        return self._sources[int(np.abs(self._levels - closure).argmin())]


def _aligned_span(start: int, stop: int, extent: int, resized: int) -> range:
    """A span around start..stop with a margin, whose ends fall on even pixels when ``extent`` is resized.

    A crop so aligned resizes to the same pixels as the whole image does.
    """
    step = extent // math.gcd(extent, resized // 2)
    margin = math.ceil((_MARGIN_PX + 2) * extent / resized)
    return range(max(0, (start - margin) // step * step), min(extent, -(-(stop + margin) // step) * step))
