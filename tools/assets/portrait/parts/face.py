"""Person and face coordinates (h, w) → height of the face towards the viewer.

The relief is a smooth dome inside the outline, plus brow, sockets, lids, nose, cheeks, lips and chin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.assets.portrait.geometry import Array, Profile, bump, catmull_rom, smoothstep
from tools.assets.portrait.people import Eyes, Lips, Person

POLE_Y = 20.0


@dataclass(frozen=True)
class LipCurves:
    """Lip outlines as y(x) in face units, for x between the corners."""

    half_width: float
    upper: Profile
    seam: Profile
    lower: Profile


def lip_curves(lips: Lips) -> LipCurves:
    def whole(pairs: tuple[tuple[float, float], ...]) -> Profile:
        left = [(-x, y + lips.y) for x, y in reversed(pairs) if x > 0]
        return Profile(left + [(x, y + lips.y) for x, y in pairs])

    return LipCurves(lips.half_width, whole(lips.upper), whole(lips.seam), whole(lips.lower))


@dataclass(frozen=True)
class LidCurves:
    """Lid edges of the image's right eye as y(x) at some closure; the left eye mirrors them."""

    inner_x: float
    outer_x: float
    upper: Profile
    lower: Profile
    crease: Profile


def lid_curves(eyes: Eyes, closure: float) -> LidCurves:
    """Lid edges at ``closure`` 0 open … 1 closed: the upper lid comes down, the lower one rises a little."""
    x = np.linspace(eyes.upper[0][0], eyes.upper[-1][0], 60)
    upper, lower = Profile(eyes.upper)(x), Profile(eyes.lower)(x)
    shut = lower - 0.16 * (lower - upper)
    upper_now = upper + closure * (shut - upper)
    lower_now = lower + closure * (shut - lower)
    crease_x, crease_y = np.asarray(eyes.crease).T
    sag = closure * 3.5 * np.exp(-(((crease_x - eyes.centre_x) / 34) ** 2))
    return LidCurves(
        float(x[0]),
        float(x[-1]),
        Profile(np.stack([x, upper_now], 1)),
        Profile(np.stack([x, lower_now], 1)),
        Profile(np.stack([crease_x, crease_y + sag], 1)),
    )


def outline_points(person: Person, num: int = 720) -> Array:
    """The closed outline of the face, clockwise on the image from the top, face units (num, 2)."""
    half = np.asarray(person.outline, dtype=np.float32)
    left = half[1:-1][::-1] * np.array([-1, 1], dtype=np.float32)
    return catmull_rom(np.vstack([half, left]), num, closed=True)


def outline_fraction(person: Person, x: Array, y: Array) -> tuple[Array, Array]:
    """(distance from the pole as a share of the outline's, outline's distance in that direction)."""
    points = outline_points(person)
    angle = np.arctan2(points[:, 0], POLE_Y - points[:, 1])
    radius = np.hypot(points[:, 0], points[:, 1] - POLE_Y)
    order = np.argsort(angle)
    table_a, table_r = angle[order], radius[order]
    table_a = np.concatenate([table_a - 2 * np.pi, table_a, table_a + 2 * np.pi])
    limit = np.interp(np.arctan2(x, POLE_Y - y), table_a, np.tile(table_r, 3)).astype(np.float32)
    return np.hypot(x, y - np.float32(POLE_Y)) / limit, limit


def _dome(person: Person, x: Array, y: Array) -> Array:
    t, _ = outline_fraction(person, x, y)
    down = (y - POLE_Y) / (np.hypot(x, y - POLE_Y) + 1e-3)
    power = 2.5 + 7.0 * np.clip(down, 0, 1) ** 3 + 0.8 * np.clip(-down, 0, 1) ** 2
    return person.depth * np.clip(1 - np.clip(t, 0, 0.9995) ** power, 0, 1) ** 0.66


def _nose(person: Person, x: Array, ax: Array, y: Array) -> Array:
    nose = person.nose
    ridge, width = Profile(nose.ridge)(y), Profile(nose.width)(y)
    z = ridge * np.exp(-(np.abs(x / width) ** 2.15) * 0.62)
    z += 6.0 * bump(x, y, 0, nose.tip_y, 12, 11)
    z += nose.wing_height * np.exp(-(bump_radius(ax, y, nose.wing_x, nose.wing_y, 14.5, 13.5, 18) ** 2.6))
    crease = bump_radius(ax, y, nose.wing_x, nose.wing_y - 1, 16.5, 15.5, 18)
    around = smoothstep(24, 38, ax) * smoothstep(nose.wing_y - 16, nose.wing_y + 2, y)
    around *= smoothstep(nose.base_y + 6, nose.base_y - 8, y)
    z -= 2.4 * np.exp(-(((crease - 1) / 0.2) ** 2)) * around
    z -= 5.0 * bump(ax, y, 15, nose.base_y - 5.5, 7, 3.2, -20)
    return z


def bump_radius(x: Array, y: Array, cx: float, cy: float, rx: float, ry: float, turn_deg: float = 0.0) -> Array:
    """Elliptical distance from a centre: 1 on the ellipse.

    Args:
        x: Coordinates at which it is evaluated, any shape.
        y: Likewise.
        cx: Centre.
        cy: Centre.
        rx: Radius along the first axis.
        ry: Radius along the second axis.
        turn_deg: Rotation of the axes, clockwise in the image.
    """
    c, s = np.float32(np.cos(np.radians(turn_deg))), np.float32(np.sin(np.radians(turn_deg)))
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    return np.hypot((c * dx + s * dy) / rx, (c * dy - s * dx) / ry)


def _eye_region(person: Person, ax: Array, y: Array, closure: float) -> Array:
    eyes = person.eyes
    z = person.brow_ridge * bump(ax, y, 68, -52, 44, 13, 4)
    z -= 17 * bump(ax, y, 62, -14, 40, 24)
    z -= 12 * bump(ax, y, 33, -12, 11, 17, 12)
    z += 13 * bump(ax, y, eyes.centre_x, -1, 29, 20)
    z += 3.0 * bump(ax, y, 112, -30, 24, 12, 24)
    z -= 2.6 * bump(ax, y, 62, 26, 26, 5.5, 16)
    z += 2.0 * bump(ax, y, 84, 21, 26, 6, 4)
    lids = lid_curves(eyes, closure)
    fold = y - lids.crease(ax)
    along = smoothstep(40, 58, ax) * smoothstep(138, 116, ax)
    z -= (2.6 - 1.2 * closure) * along * np.exp(-0.5 * (fold / 2.3) ** 2)
    z += 2.2 * along * np.exp(-0.5 * ((fold + 6) / 5.0) ** 2)
    above = y - lids.upper(ax)
    inside = smoothstep(lids.inner_x - 2, lids.inner_x + 8, ax) * smoothstep(lids.outer_x + 3, lids.outer_x - 8, ax)
    z += 1.6 * inside * np.exp(-0.5 * ((above + 2.5) / 2.6) ** 2)
    below = y - lids.lower(ax)
    z += 1.5 * inside * np.exp(-0.5 * ((below - 3.0) / 2.4) ** 2)
    z -= 0.9 * inside * np.exp(-0.5 * ((below - 9.0) / 2.6) ** 2)
    return z


def _lower_face(person: Person, x: Array, ax: Array, y: Array) -> Array:
    mouth, base = person.lips.y, person.nose.base_y
    corner = person.lips.half_width
    z = 15 * bump(x, y, 0, mouth - 2, 66, 50)
    z -= 3.2 * bump(x, y, 0, (base + mouth) / 2 - 8, 5.5, 15)
    z += 2.4 * bump(ax, y, 11, (base + mouth) / 2 - 7, 4.5, 14, -4)
    z -= 6.5 * bump(x, y, 0, mouth + 41, 34, 11)
    chin_y, chin_width, chin_height = person.chin
    z += chin_height * bump(x, y, 0, chin_y, chin_width, 24)
    z -= 5.5 * bump(ax, y, corner + 7, mouth - 1, 8, 13, -8)
    z += 3.0 * bump(ax, y, corner + 20, mouth + 4, 12, 24)
    z += person.cheek * bump(ax, y, 100, 66, 44, 32, -14)
    z -= 5 * bump(ax, y, 122, 140, 30, 38)
    z += person.jaw_line * bump(ax, y, 120, 200, 16, 40, 30)
    return z - 2.2 * _smile_fold(ax, y, base, mouth, corner)


def _smile_fold(ax: Array, y: Array, base: float, mouth: float, corner: float) -> Array:
    beside = ((mouth - 26, corner + 2), (mouth, corner + 15), (mouth + 26, corner + 18))
    line = Profile(((base - 26, 44), (base - 4, 56), *beside))
    fade = smoothstep(base - 26, base, y) * smoothstep(mouth + 22, mouth - 22, y)
    across = ax - line(y)
    return fade * (np.exp(-0.5 * (across / 6) ** 2) - 0.6 * np.exp(-0.5 * ((across - 16) / 12) ** 2))


def lip_shares(curves: LipCurves, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """(upper, lower, within): share of the way border → seam in the upper lip, seam → border in the lower; 0/1 mask."""
    xc = np.clip(x, -curves.half_width, curves.half_width)
    top, mid, low = curves.upper(xc), curves.seam(xc), curves.lower(xc)
    upper = (y - top) / np.maximum(mid - top, 0.6)
    lower = (y - mid) / np.maximum(low - mid, 0.6)
    return upper, lower, (np.abs(x) < curves.half_width).astype(np.float32)


def _lips(person: Person, x: Array, y: Array) -> Array:
    curves = lip_curves(person.lips)
    upper, lower, within = lip_shares(curves, x, y)
    xc = np.clip(x, -curves.half_width, curves.half_width)
    thick_u, thick_l = curves.seam(xc) - curves.upper(xc), curves.lower(xc) - curves.seam(xc)
    taper = np.sqrt(np.clip(1 - (x / curves.half_width) ** 2, 0, 1))
    u, v = np.clip(upper, 0, 1), np.clip(lower, 0, 1)
    full = person.lips.fullness
    rise_u = np.sin(np.pi * np.clip(u, 0, 1) ** 1.25 * 0.86) * (0.30 * thick_u + 1.0)
    rise_l = np.sin(np.pi * (0.14 + 0.86 * v) ** 0.85) * (0.40 * thick_l + 1.0)
    z = full * within * taper * np.where(lower < 0, rise_u, rise_l)
    z += 1.6 * bump(x, y, 0, person.lips.y - 5, 9, 6)
    seam = y - curves.seam(xc)
    fade = smoothstep(curves.half_width + 2, curves.half_width - 8, np.abs(x))
    z -= (3.6 * taper + 1.0) * np.exp(-0.5 * (seam / 1.5) ** 2) * fade
    border = y - curves.upper(xc)
    return z + 1.0 * taper * np.exp(-0.5 * ((border + 1.5) / 1.6) ** 2)


def relief(person: Person, x: Array, y: Array, closure: float) -> Array:
    """Height of the face towards the viewer, face units, for design coordinates ``x``, ``y``."""
    ax = np.abs(x)
    z = _dome(person, x, y) + _nose(person, x, ax, y) + _eye_region(person, ax, y, closure)
    return (z + _lower_face(person, x, ax, y) + _lips(person, x, y)).astype(np.float32)
