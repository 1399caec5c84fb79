"""HDR and wide-gamut colours → those of an ordinary screen, for images and videos alike.

Sources: SMPTE ST 2084 (PQ), ITU-R BT.2100 (HLG and its OOTF), BT.2408 (diffuse white at 203 cd/m²), BT.1886, IEC
61966-2-1 (sRGB); the code points are those of ITU-T H.273.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

WHITE_NITS = 203.0  # what becomes the white of an ordinary screen
HLG_PEAK_NITS = 1000.0
# Light up to this share of white stays as it is; what is brighter shares the rest, so that it keeps some drawing.
KNEE = 0.95
CUBE_SIZE = 49
PQ, HLG = "smpte2084", "arib-std-b67"
BT2020, P3 = "bt2020", "smpte432"
# Of linear light, to BT.709's primaries; each row sums to one, so greys stay grey.
TO_BT709 = {
    BT2020: ((1.66049, -0.58764, -0.07285), (-0.12455, 1.13290, -0.00835), (-0.01815, -0.10058, 1.11873)),
    P3: ((1.22494, -0.22494, 0.0), (-0.04206, 1.04206, 0.0), (-0.01964, -0.07864, 1.09828)),
}
_PRIMARIES = {9: BT2020, 12: P3}
_TRANSFERS = {16: PQ, 18: HLG}


class Colours(NamedTuple):
    """What pixels mean, in ffmpeg's words: ``primaries`` and ``transfer``; empty where they are ordinary."""

    primaries: str = ""
    transfer: str = ""

    @property
    def are_ordinary(self) -> bool:
        return self == Colours()


ORDINARY = Colours()


def colours_of(primaries: str, transfer: str) -> Colours:
    """From the names that ffmpeg prints."""
    wide = primaries if primaries in TO_BT709 else P3 if primaries == "smpte431" else ""
    return Colours(wide, transfer if transfer in (PQ, HLG) else "")


def colours_of_codes(primaries: int, transfer: int) -> Colours:
    """From code points, as they are in an AVIF's ``nclx`` box and a PNG's ``cICP`` chunk."""
    return Colours(_PRIMARIES.get(primaries, ""), _TRANSFERS.get(transfer, ""))


def map_colours(rgb: FloatArray, colours: Colours, *, is_image: bool) -> FloatArray:
    """R'G'B' in 0 … 1, of shape (…, 3), as an ordinary screen shows it: sRGB for an image, BT.1886 for a video."""
    decode = {PQ: _from_pq, HLG: _from_hlg}.get(colours.transfer, _from_srgb if is_image else _from_bt1886)
    light = decode(rgb)
    if colours.transfer:
        light = _roll_off(light)
    if colours.primaries:
        light = light @ np.array(TO_BT709[colours.primaries]).T
    light = np.clip(light, 0, 1)
    return _to_srgb(light) if is_image else np.asarray(light ** (1 / 2.4), np.float64)


def write_cube(path: Path, colours: Colours) -> None:
    """Write ``map_colours`` of a video as a table that ffmpeg's filter ``lut3d`` reads; red changes fastest."""
    steps = np.linspace(0, 1, CUBE_SIZE)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij")[::-1], axis=-1)
    rows = map_colours(grid.reshape(-1, 3), colours, is_image=False)
    lines = [f"LUT_3D_SIZE {CUBE_SIZE}", *(f"{red:.5f} {green:.5f} {blue:.5f}" for red, green, blue in rows.tolist())]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _from_pq(rgb: FloatArray) -> FloatArray:
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 107 / 128, 2413 / 128, 2392 / 128
    power = np.maximum(rgb, 0) ** (1 / m2)
    nits = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return np.asarray(nits / WHITE_NITS, np.float64)


def _from_hlg(rgb: FloatArray) -> FloatArray:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(rgb <= 0.5, rgb**2 / 3, (np.exp((rgb - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    nits = HLG_PEAK_NITS * np.maximum(luminance, 1e-9)[..., None] ** 0.2 * scene
    return np.asarray(nits / WHITE_NITS, np.float64)


def _from_srgb(rgb: FloatArray) -> FloatArray:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _to_srgb(light: FloatArray) -> FloatArray:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _from_bt1886(rgb: FloatArray) -> FloatArray:
    return np.asarray(np.maximum(rgb, 0) ** 2.4, np.float64)


def _roll_off(light: FloatArray) -> FloatArray:
    """Compress what is brighter than KNEE, all three channels by the same factor, so that hues stay."""
    brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-9)
    compressed = 1 - (1 - KNEE) * np.exp(-(brightest - KNEE) / (1 - KNEE))
    return np.where(brightest > KNEE, light * (compressed / brightest), light)
