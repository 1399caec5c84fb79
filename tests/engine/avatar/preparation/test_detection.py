"""From the detector's numbers to boxes, without the detector."""

from __future__ import annotations

import numpy as np
import pytest

from musetalk_cli.engine.avatar.preparation.detection import (
    INPUT_PX,
    NET_REACH,
    SMALLEST_FACE,
    FaceBox,
    Tile,
    anchors,
    decode,
    is_cut_by_tile,
    merge,
    needed_scale,
    tiles,
)

POINTS = np.float32([[40, 40], [60, 40], [50, 52], [50, 64], [30, 45], [70, 45]])


def face_box(left: float, top: float, size: float, score: float = 0.9) -> FaceBox:
    points = (POINTS - 50) / 60 * size + np.float32([left + size / 2, top + size / 2])
    return FaceBox(score, (left, top, size, size), points)


def test_anchors_are_the_cells_centres_finer_grid_first() -> None:
    assert anchors().shape == (896, 2)
    assert anchors()[0] == pytest.approx((0.5 / 16, 0.5 / 16))
    assert anchors()[3] == pytest.approx((1.5 / 16, 0.5 / 16))  # two per cell, along the row
    assert anchors()[512] == pytest.approx((0.5 / 8, 0.5 / 8))
    assert anchors()[-1] == pytest.approx((7.5 / 8, 7.5 / 8))


def test_a_face_is_decoded_to_pixels_of_the_image() -> None:
    scores, offsets = np.full(896, -9, np.float32), np.zeros((896, 16), np.float32)
    row = 2 * (3 * 16 + 5)  # the first anchor of column 5, row 3
    scores[row] = np.log(0.8 / 0.2)
    offsets[row, :4] = 4, -4, 32, 16
    offsets[row, 4:6] = -12, 2
    (box,) = decode(scores, offsets, Tile(100, 200, 256), 0.5)
    centre = np.array([5.5 * 8 + 4, 3.5 * 8 - 4])  # in pixels of the input, two of which are four of the image's
    assert box.score == pytest.approx(0.8)
    assert box.box == pytest.approx((*(centre - (16, 8)) * 2 + (100 - 0.5, 200 - 0.5), 64, 32))
    assert box.key_points[0] == pytest.approx(np.array([5.5 * 8 - 12, 3.5 * 8 + 2]) * 2 + (99.5, 199.5))


def test_nothing_is_decoded_below_the_least_score() -> None:
    assert decode(np.full(896, -0.1, np.float32), np.zeros((896, 16), np.float32), Tile(0, 0, 128), 0.5) == []


def test_overlapping_boxes_become_their_mean_weighted_by_score() -> None:
    (merged,) = merge([face_box(100, 100, 60, 0.9), face_box(109, 100, 60, 0.45)])
    assert merged.box == pytest.approx((103, 100, 60, 60))
    assert merged.score == 0.9


def test_a_part_of_a_face_is_not_a_second_one_and_the_largest_comes_first() -> None:
    faces = [face_box(300, 10, 40), face_box(100, 100, 90, 0.95), face_box(105, 140, 45, 0.8)]
    assert [box.box[2] for box in merge(faces)] == pytest.approx([90, 40])


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1080, 1920), (640, 480), (512, 512), (3840, 2160)])
def test_every_face_is_whole_in_a_tile_in_which_the_net_can_see_it(width: int, height: int) -> None:
    scale = needed_scale(width)
    small_width, small_height = round(width * scale), round(height * scale)
    levels = list(tiles(small_width, small_height))
    rng = np.random.default_rng(1)
    for share in (SMALLEST_FACE * 1.01, 0.07, 0.1, 0.15, 0.25, 0.5):
        size = share * small_width
        for _ in range(50):
            left, top = rng.uniform(0, [small_width - size, small_height - size])
            face = face_box(left, top, size)
            seen = [
                tile
                for level in levels
                for tile in level
                if not is_cut_by_tile(face, tile, small_width, small_height)
                and tile.left <= left + size <= tile.left + tile.side
                and tile.top <= top + size <= tile.top + tile.side
            ]
            assert any(size / tile.side > NET_REACH * 0.97 for tile in seen)


def test_the_whole_image_comes_first_and_small_images_have_no_tiles_below_the_nets_size() -> None:
    assert next(iter(tiles(640, 480))) == [Tile(0, -80, 640)]
    assert [level[0].side for level in tiles(INPUT_PX, 100)] == [INPUT_PX]


def test_a_face_at_the_images_own_edge_is_not_cut_by_its_tile() -> None:
    tile = Tile(0, 100, 200)
    assert not is_cut_by_tile(face_box(-20, 150, 80), tile, 1000, 1000)
    assert is_cut_by_tile(face_box(150, 150, 80), tile, 1000, 1000)
    assert is_cut_by_tile(face_box(50, 80, 80), tile, 1000, 1000)
    assert not is_cut_by_tile(face_box(150, 150, 80), tile, 200, 1000)


def test_scaling_and_moving_keep_pixel_centres() -> None:
    face = face_box(9.5, 19.5, 40)  # its edge is that between pixels 9 and 10
    assert face.scaled(2).box == pytest.approx((19.5, 39.5, 80, 80))
    assert face.scaled(2).scaled(0.5).key_points == pytest.approx(face.key_points, abs=1e-4)
    quarter = np.array([[0.0, -2, 500], [2, 0, 10]])
    moved = face.moved(quarter)
    assert moved.box[2:] == pytest.approx((80, 80))
    x, y = np.add(moved.box[:2], 40)
    assert (x, y) == pytest.approx(quarter[:, :2] @ (29.5, 39.5) + quarter[:, 2])
    assert moved.key_points == pytest.approx(face.key_points @ quarter[:, :2].T + quarter[:, 2], abs=1e-3)
