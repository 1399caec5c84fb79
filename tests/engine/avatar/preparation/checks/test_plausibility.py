"""What is wrong with a face is found in its points."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.meshes import placed, portrait_mesh, turned
from musetalk_cli.engine.avatar.preparation.checks.plausibility import (
    LARGEST_YAW_DEG,
    RejectReason,
    eyes_px,
    reject_reason_of,
    yaw_deg,
)
from musetalk_cli.engine.avatar.visibility import Area


def judge(points: np.ndarray, presence: float = 1.0, size: tuple[int, int] = (1024, 1024)) -> RejectReason:
    return reject_reason_of(points, presence, Area.whole(*size))


@pytest.mark.parametrize("name", ["nora", "theo"])
def test_a_portrait_is_fine(name: str) -> None:
    assert judge(portrait_mesh(name)) is RejectReason.NONE


def test_a_face_that_the_net_doubts_is_unsure() -> None:
    assert judge(portrait_mesh(), presence=0.4) is RejectReason.IMPLAUSIBLE


@pytest.mark.parametrize("yaw", [-60, -30, 0, 20, 35, 55])
def test_yaw_is_measured_and_too_much_of_it_is_refused(yaw: float) -> None:
    points = turned(portrait_mesh(), yaw)
    assert yaw_deg(points) == pytest.approx(yaw, abs=1)
    expected = RejectReason.PROFILE if abs(yaw) > LARGEST_YAW_DEG else RejectReason.NONE
    assert judge(points) is expected


def test_a_face_that_leans_is_fine() -> None:
    points = portrait_mesh()
    middle = points[:, :2].mean(axis=0)
    points[:, :2] = (points[:, :2] - middle) @ np.float32([[0, 1], [-1, 0]]) + middle
    assert judge(points) is RejectReason.NONE
    assert yaw_deg(points) == pytest.approx(0, abs=1)


def test_a_small_face_is_too_small() -> None:
    points = placed(100, 100, 15)
    assert eyes_px(points) < 12
    assert judge(points) is RejectReason.TOO_SMALL


@pytest.mark.parametrize(("x", "y"), [(40, 300), (600, 300), (300, 560)])
def test_a_face_that_reaches_over_the_edge_is_cut_off(x: float, y: float) -> None:
    assert judge(placed(x, y, 200), size=(640, 640)) is RejectReason.CUT_OFF


def test_a_forehead_outside_the_image_does_no_harm() -> None:
    points = placed(300, 100, 200)
    assert points[10, 1] < 0
    assert judge(points, size=(640, 640)) is RejectReason.NONE


def test_a_scrambled_face_is_unsure() -> None:
    points = portrait_mesh()
    upside_down = points * np.float32([1, -1, 1]) + np.float32([0, 1024, 0])
    assert judge(points * np.float32([1, 3, 1]), size=(1024, 4096)) is RejectReason.IMPLAUSIBLE
    assert judge(upside_down) is RejectReason.IMPLAUSIBLE
    assert judge(np.full_like(points, 5)) is RejectReason.IMPLAUSIBLE
    assert judge(points * np.float32([1, np.nan, 1])) is RejectReason.IMPLAUSIBLE
