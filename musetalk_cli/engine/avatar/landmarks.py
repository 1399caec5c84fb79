"""Named points of a face: what the warp model and the compositing need to know about where a face is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.errors import AvatarError

FloatArray = NDArray[np.float32]

# How many points each group holds. The groups follow the order of the 468-point face mesh, so that a detector's
# points map onto them one to one; "left" is the left side of the image.
NUM_POINTS = {
    "outer_upper_lip": 11,
    "outer_lower_lip": 11,
    "inner_upper_lip": 11,
    "inner_lower_lip": 11,
    "left_upper_lid": 9,
    "left_lower_lid": 9,
    "right_upper_lid": 9,
    "right_lower_lid": 9,
    "left_brow": 5,
    "right_brow": 5,
    "nose": 5,
    "oval": 36,
}
_ENDS = list(accumulate(NUM_POINTS.values()))
_SPANS = [slice(end - count, end) for end, count in zip(_ENDS, NUM_POINTS.values(), strict=True)]


@dataclass(frozen=True, eq=False)  # arrays are not equal or unequal as a whole
class Landmarks:
    """Points of one face, each group float32 (n, 2) as x right, y down, in pixels of the image they belong to.

    Pixel centres are at integer coordinates. Lips, lids and brows run from the image's left to its right, and the
    first and last points of an upper and a lower group coincide (the corners). ``nose`` is bridge, tip, base,
    left wing, right wing. ``oval`` is the face's outline, clockwise on the image from the middle of the forehead,
    so that index 18 is the chin.
    """

    outer_upper_lip: FloatArray
    outer_lower_lip: FloatArray
    inner_upper_lip: FloatArray
    inner_lower_lip: FloatArray
    left_upper_lid: FloatArray
    left_lower_lid: FloatArray
    right_upper_lid: FloatArray
    right_lower_lid: FloatArray
    left_brow: FloatArray
    right_brow: FloatArray
    nose: FloatArray
    oval: FloatArray

    @classmethod
    def from_mapping(cls, groups: Mapping[str, Any]) -> Landmarks:
        """Build from ``{group: [[x, y], ...]}``, as it stands in an avatar's JSON.

        Raises AvatarError when a group is missing, has another number of points, or holds a value that is not finite.
        """
        arrays = {}
        for name, count in NUM_POINTS.items():
            points = np.asarray(groups.get(name, ()), dtype=np.float32)
            if points.shape != (count, 2) or not np.isfinite(points).all():
                raise AvatarError(f"landmark group '{name}' must hold {count} points; found shape {points.shape}")
            arrays[name] = points
        return cls(**arrays)

    @classmethod
    def of_stacked(cls, points: FloatArray) -> Landmarks:
        """Build from all points, float32 (131, 2), in the order of NUM_POINTS; the groups are views."""
        return cls(*[points[span] for span in _SPANS])

    def stacked(self) -> FloatArray:
        """The reverse of :meth:`of_stacked`."""
        return np.concatenate(list(vars(self).values()))

    def to_mapping(self) -> dict[str, list[list[float]]]:
        """The reverse of :meth:`from_mapping`, rounded to a hundredth of a pixel."""
        return {f.name: np.round(getattr(self, f.name), 2).tolist() for f in fields(self)}
