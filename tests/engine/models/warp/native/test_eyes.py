"""Eyes drawn in C against the same by numpy."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.drawn_face import draw_face
from fixtures.native_kernel import native_kernel, numpy_alone
from musetalk_cli.engine.models.warp.face.sampling import UpsampledImage
from musetalk_cli.engine.models.warp.idle.eye_states import EyePatch, EyeStates
from musetalk_cli.engine.models.warp.idle.eyelids import eyes_of, shut_eyes
from musetalk_cli.engine.models.warp.native.eyes import LINES, EyeDrawer
from musetalk_cli.engine.types.colour import bgr_to_planes

# Left and right closure, gaze to the right and down.
STATES = [
    (1.0, 1.0, 0.0, 0.0),
    (0.5, 0.1, 0.0, 0.0),
    (0.3, 0.7, 0.8, 0.5),
    (0.96, 0.2, -1.0, -1.0),
    (0.0, 0.0, 1.0, -1.0),
    (0.9, 0.85, -0.6, 0.4),
    (0.04, 0.0, 0.0, 0.2),
]


def states(tilt_deg: float, *, is_drawn: bool) -> EyeStates:
    image, face = draw_face(tilt_deg)
    shut = shut_eyes(image, face)
    assert shut is not None
    planes = bgr_to_planes(image)
    return EyeStates(UpsampledImage.of(planes), bgr_to_planes(shut), eyes_of(face), is_drawn=is_drawn)


def drawn(tilt_deg: float, *, is_drawn: bool) -> list[EyePatch]:
    eyes = states(tilt_deg, is_drawn=is_drawn)
    patches = [eyes.at(*state) for state in STATES]
    return [patch for patch in patches if patch is not None]


@pytest.mark.parametrize("tilt_deg, is_drawn", [(0.0, False), (14.0, True)])
def test_eyes_are_those_of_numpy(tilt_deg: float, is_drawn: bool) -> None:
    with native_kernel():
        ours = drawn(tilt_deg, is_drawn=is_drawn)
    with numpy_alone():
        expected = drawn(tilt_deg, is_drawn=is_drawn)
    assert len(ours) == len(expected) == len(STATES)
    for one, other in zip(ours, expected, strict=True):
        for a, b in ((one.image.luma, other.image.luma), (one.image.chroma, other.image.chroma)):
            away = np.abs(a.astype(int) - b)
            assert away.max() <= 2
            assert away.mean() <= 0.02


def test_an_eye_stays_within_its_plane() -> None:
    lines = {name: np.full((6, 8), np.nan, np.float32) for name in LINES}
    opened, shut = (np.full((10, 12, 2), value, np.uint8) for value in (100, 200))
    down = np.array([0.0, np.inf], np.float32)
    with native_kernel():
        for corner, fits in (((4, 4), True), ((5, 4), False), ((4, 5), False), ((-1, 0), False)):
            drawer = EyeDrawer(lines, corner, half_width=3.0, edge=0.1, down=down)
            plane = opened.copy()
            if fits:
                assert drawer.draw(plane, opened, shut, 0.5, (np.nan, 1e30))
                assert (plane[:4] == 100).all()
            else:
                with pytest.raises(ValueError, match="leaves a plane"):
                    drawer.draw(plane, opened, shut, 0.5, (0.0, 0.0))
        with pytest.raises(ValueError, match="contiguous"):
            EyeDrawer(lines, (0, 0), half_width=3.0, edge=0.1, down=down).draw(plane, opened[1:], shut, 0.5, (0.0, 0.0))
