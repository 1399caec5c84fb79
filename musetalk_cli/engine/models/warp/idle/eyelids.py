"""Image uint8 BGR (h, w, 3) and landmarks → the same eyes shut, for avatars that bring no drawn lids.

A lid is drawn over the eyeball, from a little above the open upper lid down to the lower one. Its colour is that of the
skin between eye and brow; where the brow lies on the eye, that of the cheek below, in the brow's shadow. Its grain is
the cheek's. Nothing above it is moved, so that brows, folds and glasses stay where they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, smooth_curve, smoothstep
from musetalk_cli.engine.models.warp.face.sampling import sample_bilinear
from musetalk_cli.engine.types.colour import ByteArray, as_bytes

_MIN_OPENING = 0.12  # height of an eye, half widths of it, below which it counts as closed already
_BROW = 0.40  # thickness of a brow below its landmarks
_BAND = (0.14, 0.40)  # least and largest height of what is drawn above the open upper lid
_BAND_SHARE = 0.8  # of the way to the brow
_MEETING = 0.97  # where the lids meet, as a share of the way from the open upper lid to the lower
LASHES = 0.15  # how far lashes reach below a lid's edge
_NEAR_BROW = (0.05, 0.30)  # distance of brow and eye over which the skin between them begins to count
_LASH_CONTRAST = (0.15, 0.62)
_LEAST_TRUST = 0.3
_OTHER_COLOUR, _TOO_BRIGHT = (0.25, 0.5), (1.15, 1.4)
_NUM_COLUMNS = 48


@dataclass(frozen=True)
class Eye:
    """One eye in its own coordinates: x from -1 to 1 between the corners, y down, in half widths of the eye.

    ``centre`` (2,) and ``half_width`` in pixels; ``axes`` (2, 2): columns are the unit vectors of x and y. ``x`` (n,);
    ``upper``, ``lower``, ``top`` (n,): y of the lids' edges, and from where on a lid is drawn, at these x.
    ``brow_gap``: mean distance of lid and brow.
    """

    centre: FloatArray
    half_width: float
    axes: FloatArray
    x: FloatArray
    upper: FloatArray
    lower: FloatArray
    top: FloatArray
    brow_gap: float

    @classmethod
    def of(cls, upper: FloatArray, lower: FloatArray, brow: FloatArray) -> Eye:
        """From the landmarks of both lids and of the brow, pixels."""
        left, right = (upper[0] + lower[0]) / 2, (upper[-1] + lower[-1]) / 2
        centre, along = (left + right) / 2, (right - left) / 2
        half_width = max(float(np.hypot(*along)), 1e-3)
        x_axis = along / half_width
        axes = np.column_stack([x_axis, [-x_axis[1], x_axis[0]]]).astype(np.float32)
        x = np.linspace(-1, 1, _NUM_COLUMNS, dtype=np.float32)

        def curve(points: FloatArray) -> FloatArray:
            line = (smooth_curve(points) - centre) @ axes / half_width
            order = np.argsort(line[:, 0], kind="stable")
            return np.asarray(np.interp(x, line[order, 0], line[order, 1]), dtype=np.float32)

        above, below, brows = curve(upper), curve(lower), curve(brow)
        below = np.maximum(below, above)
        gap = above - (brows + np.float32(_BROW))
        band = np.clip(_BAND_SHARE * gap, *_BAND)
        # Towards the corners little is drawn above: folds that run on stay as they are.
        band = band * (0.5 + 0.5 * np.sqrt(np.maximum(1 - x**2, 0)))
        return cls(centre, half_width, axes, x, above, below, (above - band).astype(np.float32), float(gap.mean()))

    @property
    def height(self) -> float:
        """Largest distance of the lids."""
        return float((self.lower - self.upper).max())

    @property
    def is_open(self) -> bool:
        """Whether there is anything to be shut."""
        return self.height >= _MIN_OPENING

    @property
    def meeting(self) -> FloatArray:
        """y at which the lids meet, (n,)."""
        return np.asarray(self.upper + (self.lower - self.upper) * np.float32(_MEETING), np.float32)

    def own(self, pixels: FloatArray) -> FloatArray:
        """Pixels of the image (..., 2) in the eye's coordinates."""
        return np.asarray((pixels - self.centre) @ self.axes / np.float32(self.half_width), np.float32)

    def to_pixels(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """The reverse of :meth:`own`, for x and y (...)."""
        own = np.stack([x, y], axis=-1) * np.float32(self.half_width)
        return np.asarray(own @ self.axes.T + self.centre, np.float32)

    def lines(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """``upper``, ``lower``, ``top`` and ``meeting`` at any x (...)."""
        rows = (self.upper, self.lower, self.top, self.meeting)
        upper, lower, top, meeting = (np.interp(x, self.x, row).astype(np.float32) for row in rows)
        return upper, lower, top, meeting


def eyes_of(face: Landmarks) -> tuple[Eye, Eye]:
    """The left and the right eye of the image."""
    return (
        Eye.of(face.left_upper_lid, face.left_lower_lid, face.left_brow),
        Eye.of(face.right_upper_lid, face.right_lower_lid, face.right_brow),
    )


def eye_bounds(eyes: tuple[Eye, ...]) -> FloatArray:
    """Left, top, right, bottom of everything that a blink changes, pixels."""
    corners = [
        eye.to_pixels(np.float32(x), np.float32(y))
        for eye in eyes
        for x in (-1.1, 1.1)
        for y in (eye.top.min() - 0.05, eye.lower.max() + 2 * LASHES)
    ]
    return np.concatenate([np.min(corners, axis=0), np.max(corners, axis=0)]).astype(np.float32)


def shut_eyes(image: ByteArray, face: Landmarks) -> ByteArray | None:
    """A copy of ``image`` (uint8 BGR) with both eyes shut; None when neither is open, or when they lie outside it."""
    eyes = eyes_of(face)
    reach = max(eye.half_width for eye in eyes)
    bounds = eye_bounds(eyes)
    low = np.floor(np.maximum(bounds[:2] - reach, 0)).astype(int)
    high = np.ceil(np.minimum(bounds[2:] + reach, image.shape[1::-1])).astype(int)
    if (high - low).min() < 4 or not any(eye.is_open for eye in eyes):
        return None
    crop = image[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    pixels = np.stack(np.meshgrid(*(np.arange(low[k], high[k], dtype=np.float32) for k in (0, 1))), axis=-1)
    shut = crop
    for eye in eyes:
        if eye.is_open:
            shut = _draw_lid(eye, crop, shut, pixels, low.astype(np.float32))
    result = image.copy()
    result[low[1] : high[1], low[0] : high[0]] = np.clip(shut + 0.5, 0, 255).astype(np.uint8)
    return as_bytes(result)


def _draw_lid(eye: Eye, crop: FloatArray, onto: FloatArray, pixels: FloatArray, corner: FloatArray) -> FloatArray:
    """``onto`` with a shut lid.

    Args:
        eye: The eye.
        crop: The image around both eyes, float32 BGR (h, w, 3).
        onto: The same, perhaps with the other eye shut already.
        pixels: Position in the image of every pixel of the crop, (h, w, 2).
        corner: Position in the image of the crop's first pixel, (2,).
    """
    own = eye.own(pixels)
    x, y = own[..., 0], own[..., 1]
    upper, _, top, meeting = eye.lines(x)
    above, below, lash = _skin_colours(eye, crop, corner)
    down = np.clip((y - top) / np.maximum(meeting - top, np.float32(0.05)), 0, 1)
    near, far = _at(above, eye, x), _at(below, eye, x)
    colour = near + (far - near) * (np.float32(0.35) * down[..., None])
    # A lid is a ball's surface: lighter in its middle, darker in the fold above and towards corners and lashes.
    bulge = 0.05 * np.exp(-(((down - 0.5) / 0.28) ** 2)) - 0.10 * smoothstep(down, 0.75, 1.0) - 0.06 * x**2
    fold = -0.08 * np.exp(-(((y - upper + 0.10) / 0.07) ** 2))
    colour = colour * (1 + bulge + fold)[..., None] + _grain(eye, crop, x, y, corner)
    within = (1 - smoothstep(np.abs(x), 0.86, 1.02)).astype(np.float32)
    edge = (y - meeting) * np.float32(eye.half_width)
    # Of the open lid's lashes nothing may be left: the fade ends above them.
    alpha = np.clip(0.5 - edge, 0, 1) * smoothstep((y - top) / np.maximum(upper - top, 0.05), 0.0, 0.75) * within
    shut = onto + (colour - onto) * alpha[..., None]
    line = np.exp(-(((y - meeting) / 0.055) ** 2))
    hairs = 0.5 * np.exp(-np.maximum(y - meeting, 0) / (0.5 * LASHES)) * (y > meeting)
    dark = np.maximum(line, hairs) * within * (1 - lash)
    return np.asarray(shut * (1 - dark[..., None]), dtype=np.float32)


def _at(row: FloatArray, eye: Eye, x: FloatArray) -> FloatArray:
    """Colours of the eye's columns (n, 3) at any x (h, w): (h, w, 3)."""
    return np.stack([np.interp(x, eye.x, row[:, k]) for k in range(3)], axis=-1).astype(np.float32)


def _skin_colours(eye: Eye, crop: FloatArray, corner: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Colour of the skin above and below an eye for each of its columns, BGR (n, 3), and the lashes' brightness as a
    share of the skin's."""
    reach = max(eye.height, 0.3)
    most = np.clip(0.7 * eye.brow_gap, 0.14, 0.5)
    between = np.linspace(0.09, 1.0, 10, dtype=np.float32) * np.float32(most)
    above, luma_above = _sample_rows(eye, crop, corner, eye.upper - between[:, None])
    beneath = np.linspace(0.20, 0.75, 10, dtype=np.float32) * np.float32(reach)
    below, luma_below = _sample_rows(eye, crop, corner, eye.lower + beneath[:, None])
    skin_above, skin_below = _row_colour(above, luma_above, 0.4), _row_colour(below, luma_below, 0.35)
    trust = _LEAST_TRUST + (1 - _LEAST_TRUST) * float(smoothstep(np.float32(eye.brow_gap), *_NEAR_BROW))
    # Of a shaded eye the cheek's colour, not its brightness.
    brightest = _row_colour(above, luma_above, 0.8)
    shade = float(np.clip(brightest.mean() / max(float(skin_below.mean()), 1.0), 0.45, 0.9))
    shaded = skin_below * np.float32(shade)
    edge = np.linspace(-0.10, 0.08, 7, dtype=np.float32)
    _, luma_edge = _sample_rows(eye, crop, corner, eye.upper + edge[:, None])
    darkest = float(np.percentile(luma_edge.min(axis=0)[8:-8], 60))
    # What is much brighter than the cheek, or of another colour, is no skin: a cap, hair, the background.
    away = np.abs(skin_above / _mean(skin_above) - skin_below / _mean(skin_below)).max(axis=-1, keepdims=True)
    brighter = _mean(skin_above) / np.maximum(_mean(skin_below), 1)
    is_skin = (1 - smoothstep(away, *_OTHER_COLOUR)) * (1 - smoothstep(brighter, *_TOO_BRIGHT))
    lid = shaded + (skin_above - shaded) * np.float32(trust) * is_skin
    contrast = 1 - darkest / max(float(lid.mean()), 1.0)
    return lid, shaded, 1 - float(np.clip(contrast, *_LASH_CONTRAST))


def _mean(colours: FloatArray) -> FloatArray:
    return np.asarray(np.maximum(colours.mean(axis=-1, keepdims=True), 1), np.float32)


def _sample_rows(eye: Eye, crop: FloatArray, corner: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Colours (m, n, 3) and their luma (m, n) at heights y (m, n) of the eye's columns."""
    x = np.broadcast_to(eye.x * np.float32(0.92), y.shape)
    colours = sample_bilinear(crop, eye.to_pixels(x, y.astype(np.float32)) - corner)
    return colours, np.asarray(colours @ np.array([0.114, 0.587, 0.299], np.float32), np.float32)


def _row_colour(colours: FloatArray, luma: FloatArray, share: float) -> FloatArray:
    """One colour for each column: the mean of what is brighter than ``share`` of it, smoothed along the lid: hairs,
    folds and the rims of glasses are darker than skin."""
    order = np.argsort(luma, axis=0, kind="stable")[int(share * len(luma)) :]
    picked = np.take_along_axis(colours, order[..., None], axis=0).mean(axis=0)
    padded = cv2.copyMakeBorder(picked[None], 0, 0, 12, 12, cv2.BORDER_REPLICATE)
    blurred = cv2.blur(cv2.medianBlur(np.ascontiguousarray(padded, np.float32), 5), (13, 1))
    return np.asarray(cv2.blur(blurred, (9, 1))[0, 12:-12], np.float32)


def _grain(eye: Eye, crop: FloatArray, x: FloatArray, y: FloatArray, corner: FloatArray) -> FloatArray:
    """The fine structure of the cheek below an eye, mirrored at its lower lid, (h, w, 3)."""
    sigma = max(0.10 * eye.half_width, 0.6)
    fine = crop - cv2.GaussianBlur(crop, (0, 0), sigma)
    _, lower, _, meeting = eye.lines(x)
    mirrored = lower + np.float32(0.28) + np.abs(meeting - y)
    sampled = sample_bilinear(np.ascontiguousarray(fine), eye.to_pixels(x, mirrored) - corner)
    return np.asarray(np.clip(sampled, -9, 9), np.float32)
