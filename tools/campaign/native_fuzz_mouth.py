"""The mouth's stages for ``native_fuzz``: grids, boxes and points of any size, with values of any kind."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from fixtures.native_points import (
    NUM_LANDMARKS,
    NUM_POINTS,
    FrameAxes,
    MouthPoints,
    measure_mouth,
)
from fixtures.native_splines import NativeSplines, SplineNodes, fade_at_outline
from musetalk_cli.engine.models.warp.native.face import NativeFace
from musetalk_cli.engine.models.warp.native.interior import (
    InteriorColours,
    InteriorPose,
    InteriorTint,
    NativeInterior,
    pose_of,
)
from musetalk_cli.engine.models.warp.native.mouth import Contours, LipPixels, NativeSkin
from musetalk_cli.engine.models.warp.native.pixels.sampling import MAX_CELL_PX
from musetalk_cli.engine.models.warp.native.video.video import MouthBounds, MouthMove, NativeVideo, VideoMouths
from musetalk_cli.engine.native import library
from musetalk_cli.engine.types.colour import Planes
from musetalk_cli.engine.types.messages import Region

WILD = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e9, -1e9, 2.0**31, -(2.0**31), 1e-38, 0.0], np.float32)
WIDEST_PX = 1300

Random = np.random.Generator


def kernel() -> ctypes.CDLL:
    found = library.load()
    assert found is not None, "there is no native kernel"
    return found


def values(rng: Random, *shape: int, scale: float = 10.0) -> NDArray[np.float32]:
    """Ordinary values, or with some that no arithmetic survives."""
    drawn = rng.normal(0, scale, shape).astype(np.float32)
    if rng.random() < 0.5:
        chosen = rng.random(shape) < rng.choice([0.01, 0.3, 1.0])
        drawn[chosen] = rng.choice(WILD, int(chosen.sum()))
    return drawn


def side(rng: Random, least: int, most: int) -> int:
    return int(rng.integers(least, most if rng.random() < 0.9 else WIDEST_PX))


def fuzz_skin(rng: Random) -> None:
    """Grids of 2 by 2 nodes and more, lips' boxes within and beyond them."""
    rows, columns, cell_px = side(rng, 2, 40), side(rng, 2, 40), int(2 * rng.integers(1, 20))
    is_open, num_points = bool(rng.random() < 0.5), int(rng.integers(1, 97))
    lips = Contours(values(rng, num_points), values(rng, num_points), *values(rng, 5).tolist())
    skin = NativeSkin(kernel(), lips, (values(rng, 2, 3), float(values(rng, 1)[0])), cell_px, is_open)
    whole = values(rng, rows + 3, columns + 4, 2)
    targets, num_components = whole[1 : 1 + rows, 2 : 2 + columns], int(rng.integers(1, 9))
    fields = values(rng, num_components, 2, rows, columns, 2)
    mapped = skin.backward_map(fields, values(rng, num_components), targets, values(rng, 2))
    skin.layer_distances(mapped, float(values(rng, 1)[0]))
    mapped, distances = values(rng, 2, rows, columns, 2), values(rng, rows, columns, 6 if is_open else 4)
    skin.blend_layers(mapped, distances, targets)
    top, left = (int(rng.integers(0, extent)) for extent in (rows, columns))
    size = (2 * side(rng, 1, 30), 2 * side(rng, 1, 30))
    rims = (float(values(rng, 1)[0]), float(values(rng, 1)[0])) if is_open else None
    with np.errstate(all="ignore"):
        near = skin.lip_pixels(mapped, distances, (slice(top, rows), slice(left, columns)), size, rims)
    skin.shade_lips(box_of(rng, *size), near, float(values(rng, 1)[0]))


def fuzz_interior(rng: Random) -> None:
    """Boxes of any size between lips of any shape, with textures of any size and any tint."""
    teeth = [rng.integers(0, 256, (side(rng, 1, 60), side(rng, 1, 90), 4), dtype=np.uint8)] * 2
    colours, num_levels = InteriorColours(*values(rng, 3, 3)), int(rng.integers(1, 26))
    tint = InteriorTint(values(rng, num_levels), values(rng, num_levels, 2), 0.5, values(rng, 2), 100.0)
    interior = NativeInterior(kernel(), (teeth[0], teeth[1]), 60.0, colours, tint if rng.random() < 0.5 else None)
    height, width = 2 * side(rng, 1, 40), 2 * side(rng, 1, 60)
    planes = [values(rng, height, width, scale=2.0) for _ in range(3)]
    unit_px = float(np.abs(values(rng, 1)[0]))
    near = LipPixels(*planes, planes[0], np.zeros((height, width, 2), np.float32), None, unit_px)
    wanted = values(rng, 4).tolist()
    gap = (wanted[0], wanted[1], wanted[2], wanted[3]) if rng.random() < 0.5 else None
    coverage = interior.coverage(near, gap, float(rng.uniform(1, 20)))
    pose = values(rng, 5).tolist()
    interior.draw(
        box_of(rng, height, width),
        near,
        coverage if rng.random() < 0.5 else rng.random((height, width), np.float32),
        pose_of(
            InteriorPose(
                values(rng, 2, 3, scale=0.1), (pose[0], pose[1]), *pose[2:], float(rng.uniform(-1, 1)), *values(rng, 2)
            )
        ),
    )


def fuzz_splines(rng: Random) -> None:
    """Any number of points, some of them in one place, and any number of nodes."""
    num_shared, num_own, rows, columns = (int(rng.integers(*ends)) for ends in ((3, 70), (0, 40), (1, 40), (1, 60)))
    x, y, cell_px = values(rng, 3).tolist()
    at = SplineNodes(
        *(
            (x, y),
            cell_px,
            values(rng, 2, 3),
            (-3.0, 3.0, -3.0, 3.0),
            (0.1, 0.3),
            rng.integers(0, 256, (rows, columns), dtype=np.uint8),
        ),
    )
    count, num_components = num_shared + num_own, int(rng.integers(1, 9))
    motion = values(rng, 2, count, 2 * num_components)
    points = measure_anything(rng)._replace(positions=values(rng, 2, count, 2, scale=1.0), motion=motion)
    splines = NativeSplines(points, values(rng, 2 * num_components, 4), at, num_shared)
    splines.displace(values(rng, num_components))


def fuzz_points(rng: Random) -> None:
    """Landmarks anywhere."""
    assert measure_anything(rng).positions.shape[1] == NUM_POINTS


def fuzz_video(rng: Random) -> None:
    """Frames of any landmarks, with a mouth anywhere on a grid of any size."""
    cell_px = int(2 * rng.integers(1, 12 if rng.random() < 0.8 else MAX_CELL_PX // 2 + 1))
    region = [2 * side(rng, 2, 60) for _ in range(2)]  # height, width
    grid = [-(-extent // cell_px) + 2 for extent in region]
    left, top = (2 * int(rng.integers(0, 20)) for _ in range(2))
    moved, lips_px = box_within(rng, grid, 2), [2 * number for number in box_within(rng, [e // 2 for e in region], 1)]
    lips = [int(rng.integers(0, extent)) for extent in moved[2:]]
    places = np.array([[top, left, *region, *moved, *lips, *moved[2:], *lips_px]], np.int32)
    marks = values(rng, 2, 1, NUM_LANDMARKS, 2, scale=60.0)
    mouths = VideoMouths(marks[0], marks[1], values(rng, 1, 7), places)
    bounds = MouthBounds(0.05, (0.75, 0.03, 0.08), (-1.5, 1.5, -1.1, 2.0), (0.1, 0.3), values(rng, 16, 4))
    teeth = rng.integers(0, 256, (20, 40, 4), dtype=np.uint8)
    interior = NativeInterior(kernel(), (teeth, teeth), 60.0, InteriorColours(*values(rng, 3, 3)), None)
    video = NativeVideo(kernel(), mouths, bounds, cell_px, interior, float(rng.uniform(1, 20)))
    frame = video.prepare(0, rng.integers(0, 2, moved[2:], dtype=np.uint8))
    size = (region[0] + top, region[1] + left)
    shown = rng.integers(0, 256, (size[0] * 3 // 2, size[1]), dtype=np.uint8)
    nodes = values(rng, *grid, 2, scale=100.0)
    within = Region(left, top, region[1], region[0])
    face = NativeFace(kernel(), nodes, cell_px, Region(0, 0, region[1], region[0]))
    moves = [float(number) for number in rng.uniform(-1, 1, 7)]
    planes = video.draw(face, frame, MouthMove(values(rng, 8).tolist(), *moves), shown, within)
    assert planes.luma.shape == tuple(region)


def box_within(rng: Random, extents: list[int], least: int) -> list[int]:
    """Top, left, height, width."""
    sizes = [int(rng.integers(least, extent + 1)) for extent in extents]
    return [*(int(rng.integers(0, extent - size + 1)) for extent, size in zip(extents, sizes, strict=True)), *sizes]


def measure_anything(rng: Random) -> MouthPoints:
    x, y, across, down, unit_px, left, top = values(rng, 7).tolist()
    axes = FrameAxes((x, y), (across, down), unit_px, (left, top))
    return measure_mouth(kernel(), *values(rng, 2, NUM_LANDMARKS, 2), axes)


def fuzz_outline(rng: Random) -> None:
    """Masks of any size."""
    mask = rng.integers(0, 256, (side(rng, 1, 80), side(rng, 1, 80)), dtype=np.uint8)
    per_unit, yaw = values(rng, 2, scale=40.0).tolist()
    assert fade_at_outline(kernel(), mask, per_unit, yaw).shape == mask.shape


def box_of(rng: Random, height: int, width: int) -> Planes:
    """A box of larger planes."""
    luma = rng.integers(0, 256, (height + 4, width + 6), dtype=np.uint8)
    chroma = rng.integers(0, 256, (height // 2 + 2, width // 2 + 3, 2), dtype=np.uint8)
    return Planes(luma[2 : 2 + height, 4 : 4 + width], chroma[1 : 1 + height // 2, 2 : 2 + width // 2])


STAGES = (fuzz_skin, fuzz_interior, fuzz_splines, fuzz_points, fuzz_outline, fuzz_video)
