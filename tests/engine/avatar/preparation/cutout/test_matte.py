"""A coarse mask becomes an alpha that follows edges, and colours lose what was behind them."""

from __future__ import annotations

import cv2
import numpy as np

from musetalk_cli.engine.avatar.preparation.cutout.matte import clean_colours, refine
from musetalk_cli.engine.types.colour import ByteArray, as_bytes

SIDE = 200
PERSON, BEHIND = (60, 90, 180), (200, 160, 40)


def disc_with_a_hair() -> tuple[ByteArray, ByteArray]:
    """An image and its true alpha: a disc with soft edges, and a line two pixels wide that stands off it."""
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(alpha, (100, 110), 60, 255, -1, cv2.LINE_AA)
    cv2.line(alpha, (100, 60), (120, 38), 255, 2, cv2.LINE_AA)
    share = alpha[:, :, None] / 255
    image = as_bytes(np.rint(share * PERSON + (1 - share) * BEHIND))
    return image, alpha


def coarse(alpha: ByteArray) -> np.ndarray:
    """What a net of few pixels makes of it: blurred, without the hair's shape."""
    small = cv2.resize(cv2.GaussianBlur(alpha, (0, 0), 5), (32, 32), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / 255


def test_alpha_follows_edges_and_hair() -> None:
    image, truth = disc_with_a_hair()
    mask = coarse(truth)
    before = cv2.resize(mask, (SIDE, SIDE)) * 255
    alpha = refine(image, mask)
    error, error_before = (np.abs(each - truth.astype(np.float32)).mean() for each in (alpha, before))
    assert error < 0.6 * error_before
    assert alpha[110, 100] == 255
    assert alpha[5, 5] == 0
    # The hair's middle, and what is beside it.
    assert int(alpha[44, 114]) - int(alpha[44, 100]) > 60


def test_colours_at_edges_are_the_persons() -> None:
    image, alpha = disc_with_a_hair()
    clean = clean_colours(image, alpha)
    edge = (alpha > 60) & (alpha < 200)
    away, away_before = (np.abs(each[edge].astype(int) - PERSON).mean() for each in (clean, image))
    assert away < 0.25 * away_before
    assert np.array_equal(clean[alpha == 255], image[alpha == 255])
    assert np.abs(clean[10, 10].astype(int) - PERSON).max() < 20  # carried on


def test_an_image_of_nobody_is_no_error() -> None:
    image = np.full((20, 30, 3), 90, np.uint8)
    alpha = refine(image, np.zeros((256, 256), np.float32))
    assert alpha.shape == (20, 30)
    assert not alpha.any()
    assert clean_colours(image, alpha).shape == image.shape
