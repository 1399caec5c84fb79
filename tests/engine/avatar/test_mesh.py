"""The mesh's points end up in the groups they belong to."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from fixtures.meshes import portrait_mesh
from musetalk_cli.engine.avatar.landmarks import NUM_POINTS
from musetalk_cli.engine.avatar.mesh import CHIN, GROUPS, JAW, ibug68_of, landmarks_of
from musetalk_cli.engine.avatar.portrait import describe_portrait


@pytest.mark.parametrize("name", ["nora", "theo"])
def test_landmarks_come_back_from_a_mesh(name: str) -> None:
    drawn = describe_portrait(name).landmarks
    read = landmarks_of(portrait_mesh(name))
    for field in fields(drawn):
        assert getattr(read, field.name) == pytest.approx(getattr(drawn, field.name))


def test_groups_have_the_landmarks_numbers_and_share_their_corners() -> None:
    assert {name: len(indices) for name, indices in GROUPS.items()} == NUM_POINTS
    for upper, lower in (("outer_upper_lip", "outer_lower_lip"), ("left_upper_lid", "left_lower_lid")):
        assert (GROUPS[upper][0], GROUPS[upper][-1]) == (GROUPS[lower][0], GROUPS[lower][-1])
    assert GROUPS["oval"][18] == CHIN


def test_the_68_points_are_where_their_scheme_has_them() -> None:
    mesh = portrait_mesh()
    points = ibug68_of(mesh)
    assert points.shape == (68, 2)
    assert points[8] == pytest.approx(mesh[CHIN, :2])
    assert points[0] == pytest.approx(mesh[JAW[0], :2])
    assert points[16] == pytest.approx(mesh[JAW[-1], :2])
    steps = np.linalg.norm(np.diff(points[:17], axis=0), axis=1)
    assert steps[:8].std() < 0.03 * steps[:8].mean()
    assert (points[48], points[54]) == (pytest.approx(mesh[61, :2]), pytest.approx(mesh[291, :2]))
    assert (np.diff(points[[36, 39, 42, 45], 0]) > 0).all()  # eye corners, from the image's left
    assert (np.diff(points[17:27, 0]) > 0).all()


def test_muse_talks_box_has_the_face_in_it() -> None:
    """Its upper edge lies as far above the ridge's third point as the chin below."""
    mesh = portrait_mesh()
    mesh[[195, 5], :2] = mesh[[1], :2] * 0.6 + mesh[[168], :2] * 0.4  # the drawn landmarks do not have these
    points = ibug68_of(mesh)
    chin = points[:, 1].max()
    top = 2 * points[29, 1] - chin
    assert points[27, 1] < points[29, 1] < points[33, 1]
    assert top < mesh[33, 1]
    assert chin == pytest.approx(mesh[CHIN, 1])
