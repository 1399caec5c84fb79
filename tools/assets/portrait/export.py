"""Person → files of the drawn portrait: image, eyelid images and landmarks.

``NAME.json`` holds ``format``, ``size``, ``landmarks`` and ``lids`` (see ``musetalk_cli.engine.avatar``). Points are
image pixels, with pixel centres at integers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from musetalk_cli.engine.avatar.landmarks import Landmarks
from tools.assets.portrait import scene
from tools.assets.portrait.geometry import Array, Profile, catmull_rom
from tools.assets.portrait.parts.face import lid_curves, lip_curves, outline_points
from tools.assets.portrait.people import Person

LID_LEVELS = (0.25, 0.5, 0.75, 1.0)
FEATHER_PX = 10
OUTER_LIP_SHARES = (-1, -0.89, -0.69, -0.44, -0.18, 0, 0.18, 0.44, 0.69, 0.89, 1)
INNER_LIP_SHARES = (-0.93, -0.83, -0.65, -0.43, -0.21, 0, 0.21, 0.43, 0.65, 0.83, 0.93)
LID_SHARES = (0, 0.07, 0.19, 0.33, 0.49, 0.65, 0.81, 0.93, 1)
# Directions of the outline's points from the middle of the eyes, degrees clockwise from straight up, right half.
OVAL_DEG = (0, 16, 31, 45, 55, 63, 74, 87, 98, 111, 123, 134, 142, 150, 157, 163, 169, 174.5, 180)


def _lip_groups(person: Person) -> dict[str, Array]:
    curves = lip_curves(person.lips)
    outer = np.asarray(OUTER_LIP_SHARES, np.float32) * curves.half_width
    inner = np.asarray(INNER_LIP_SHARES, np.float32) * curves.half_width
    seam = np.stack([inner, curves.seam(inner)], 1)
    return {
        "outer_upper_lip": np.stack([outer, curves.upper(outer)], 1),
        "outer_lower_lip": np.stack([outer, curves.lower(outer)], 1),
        "inner_upper_lip": seam,
        "inner_lower_lip": seam,
    }


def _eye_groups(person: Person) -> dict[str, Array]:
    lids = lid_curves(person.eyes, 0.0)
    x = lids.inner_x + np.asarray(LID_SHARES, np.float32) * (lids.outer_x - lids.inner_x)
    mirror = np.array([-1, 1], np.float32)
    groups = {}
    for name, curve in (("upper", lids.upper), ("lower", lids.lower)):
        right = np.stack([x, curve(x)], 1)
        groups[f"right_{name}_lid"] = right
        groups[f"left_{name}_lid"] = (right * mirror)[::-1]
    brow = catmull_rom(person.brow.line, 5)
    lifted = brow - np.stack([np.zeros(5), Profile(person.brow.half_thickness)(np.linspace(0, 1, 5)) * 0.6], 1)
    groups["right_brow"] = lifted
    groups["left_brow"] = (lifted * mirror)[::-1]
    return groups


def _oval(person: Person) -> Array:
    points = outline_points(person, 2880)
    points = points[points[:, 1] >= person.hairline_y]
    brim = points[points[:, 1] < person.hairline_y + 2][:, 0]
    top = np.stack([np.linspace(brim.min(), brim.max(), 400), np.full(400, person.hairline_y)], 1)
    points = np.vstack([points, top])
    angle = np.degrees(np.arctan2(points[:, 0], -points[:, 1])) % 360
    degrees = np.concatenate([OVAL_DEG, 360 - np.asarray(OVAL_DEG[1:-1][::-1])])
    nearest = [int(np.argmin(np.abs((angle - d + 180) % 360 - 180))) for d in degrees]
    return points[nearest]


def landmarks(person: Person) -> Landmarks:
    """The landmarks of a portrait, in pixels, from the curves that it is drawn with."""
    nose = person.nose
    wing_x, wing_y = nose.wing_x - 8, nose.base_y - 2
    groups = {
        **_lip_groups(person),
        **_eye_groups(person),
        "nose": np.array(
            [[0, -4], [0, nose.tip_y], [0, nose.base_y + 2], [-wing_x, wing_y], [wing_x, wing_y]], np.float32
        ),
        "oval": _oval(person),
    }
    return Landmarks(**{name: person.pose.to_image(points.astype(np.float32)) for name, points in groups.items()})


def lid_box(marks: Landmarks) -> tuple[int, int, int, int]:
    """(x, y, width, height) in pixels around both eyes, with room for creases, lashes and the feathered border."""
    points = np.vstack([marks.left_upper_lid, marks.left_lower_lid, marks.right_upper_lid, marks.right_lower_lid])
    left, top = np.floor(points.min(0)).astype(int) - np.array([34, 38])
    right, bottom = np.ceil(points.max(0)).astype(int) + np.array([34, 36])
    return int(left), int(top), int(right - left), int(bottom - top)


def _feather(width: int, height: int) -> Array:
    x = np.minimum(np.arange(width), np.arange(width)[::-1]).astype(np.float32)
    y = np.minimum(np.arange(height), np.arange(height)[::-1]).astype(np.float32)
    ramp = np.clip((np.minimum(x[None, :], y[:, None]) - 1) / FEATHER_PX, 0, 1)
    return (ramp * ramp * (3 - 2 * ramp))[..., None]


def draw_lids(stage: scene.Scene, image: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """The image's ``box`` at every lid level, stacked, RGB uint8; on the box's border as the image."""
    x, y, w, h = box
    rest = image[y : y + h, x : x + w].astype(np.float32)
    mix = _feather(w, h)
    patches = [scene.finish(stage, level)[y : y + h, x : x + w] for level in LID_LEVELS]
    return np.vstack([np.round(rest + (p.astype(np.float32) - rest) * mix).astype(np.uint8) for p in patches])


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    temporary.replace(path)


def _png(rgb: np.ndarray) -> bytes:
    # As small as with all filters, and read in two thirds of the time: the two left out predict from three neighbours.
    ways = {
        cv2.IMWRITE_PNG_COMPRESSION: 9,
        cv2.IMWRITE_PNG_FILTER: cv2.IMWRITE_PNG_FAST_FILTERS,
        cv2.IMWRITE_PNG_STRATEGY: cv2.IMWRITE_PNG_STRATEGY_FILTERED,
    }
    flat = [number for way in ways.items() for number in way]
    return cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]), flat)[1].tobytes()


def _rounded(marks: Landmarks) -> dict[str, list[list[float]]]:
    return {name: [[round(x, 2), round(y, 2)] for x, y in points] for name, points in marks.to_mapping().items()}


def export(person: Person, folder: Path, scale: int) -> None:
    """Draws ``person`` and writes NAME.png, NAME-lids.png and NAME.json into ``folder``, each whole or not at all."""
    stage = scene.build(person, scale)
    image = scene.finish(stage)
    marks = landmarks(person)
    box = lid_box(marks)
    lids = draw_lids(stage, image, box)
    record = {
        "format": 1,
        "size": [image.shape[1], image.shape[0]],
        "landmarks": _rounded(marks),
        "lids": {"box": list(box), "levels": list(LID_LEVELS)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{person.name}.png", _png(image))
    _write(folder / f"{person.name}-lids.png", _png(lids))
    _write(folder / f"{person.name}.json", (json.dumps(record) + "\n").encode())
