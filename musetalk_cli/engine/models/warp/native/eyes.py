"""Drawing an eye in C: numpy arrays in, and a plane drawn in place. See eyes.c."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.native.arrays import declare, pointer
from musetalk_cli.engine.native.library import load
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.engine.types.messages import FloatArray

LINES = ("y", "upper", "lower", "lid_top", "meeting", "within", "eyeball")
# In half widths of the eye, as in eyes.c: how far lashes reach below a lid's edge; and its shadow above that edge, and
# below the lower lid.
LASHES, SHADOW_ABOVE, SHADOW_BELOW = 0.15, 0.07, 0.06
_BOX = ("top", "left", "rows", "columns")


class _EyeGrid(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in _BOX),
        *((name, ctypes.c_float) for name in ("half_width", "edge", "down_x", "down_y")),
        *((name, ctypes.c_void_p) for name in (*LINES, "spans")),
    )


class _EyePose(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_float) for name in ("closure", "shift_x", "shift_y"))


_POINTER, _INT = ctypes.c_void_p, ctypes.c_int32
_PARAMETERS = {
    "draw_eye": [_POINTER, _POINTER, _INT, _INT, _INT, ctypes.POINTER(_EyeGrid), ctypes.POINTER(_EyePose), _POINTER],
}


class EyeDrawer:
    """Draws one eye on one plane; immutable."""

    def __init__(
        self,
        lines: dict[str, FloatArray],
        corner: tuple[int, int],
        *,
        half_width: float,
        edge: float,
        down: FloatArray,
    ) -> None:
        """Prepare it.

        Args:
            lines: What _EyeGrid knows of each sample of the eye's box, by the names of LINES, float32 (rows, columns).
            corner: Row and column of the box's first sample in the plane.
            half_width: Of the eye, pixels.
            edge: How far below its edge a lid is shown, half widths.
            down: One unit downwards, in samples of the plane, (2,).
        """
        self._lines = {name: np.ascontiguousarray(lines[name], np.float32) for name in LINES}
        self._shape = self._lines["y"].shape
        addresses = [pointer(self._lines[name], np.float32, self._shape) for name in LINES]
        self._corner = corner
        self._spans = _spans_of(self._lines, half_width, edge)
        addresses.append(pointer(self._spans, np.int32, (self._shape[0], 2)))
        self._grid = _EyeGrid(*corner, *self._shape, half_width, edge, float(down[0]), float(down[1]), *addresses)

    def draw(
        self, drawn: ByteArray, opened: ByteArray, shut: ByteArray, closure: float, shift: tuple[float, float]
    ) -> bool:
        """Draw the eye; False, and nothing done, where the kernel is not there.

        Args:
            drawn: A plane uint8 (h, w) or (h, w, 2); written to in the eye's box.
            opened: The same plane with the eyes open.
            shut: And with them shut.
            closure: 0..1.
            shift: Of the eyeball, in samples of the plane.
        """
        library = load()
        if library is None:
            return False
        (top, left), (rows, columns) = self._corner, self._shape
        height, width = drawn.shape[:2]
        if top < 0 or left < 0 or top + rows > height or left + columns > width:
            raise ValueError(f"an eye of {rows} × {columns} at {top}, {left} leaves a plane of {height} × {width}")
        planes = [pointer(plane, np.uint8, drawn.shape) for plane in (opened, shut, drawn)]
        channels = 1 if drawn.ndim == 2 else drawn.shape[2]
        pose = _EyePose(closure, *shift)
        declare(library, _PARAMETERS)
        library.draw_eye(*planes[:2], height, width, channels, self._grid, pose, planes[2])
        return True


def _spans_of(lines: dict[str, FloatArray], half_width: float, edge: float) -> NDArray[np.int32]:
    """First and last column, exclusive, of what a lid or the eyeball changes at any closure: int32 (rows, 2)."""
    y, lowest = lines["y"], np.maximum(lines["upper"], lines["meeting"])
    above = np.minimum(lines["lid_top"], np.minimum(lines["upper"], lines["meeting"]) - SHADOW_ABOVE)
    below = np.maximum(lines["lower"] + SHADOW_BELOW, lowest + max(LASHES, edge) + 1 / half_width)
    is_still = ((y < above) | (y > below) | (lines["within"] == 0)) & (lines["eyeball"] == 0)
    columns = np.arange(y.shape[1], dtype=np.int32)
    first = np.where(is_still, y.shape[1], columns).min(axis=1)
    last = np.where(is_still, 0, columns + 1).max(axis=1)
    return np.stack([first, last], axis=1).astype(np.int32)
