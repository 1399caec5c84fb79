from __future__ import annotations

import numpy as np

from musetalk_cli.engine.live.left_batches import NUM_REMEMBERED, LeftBatches
from musetalk_cli.engine.types.messages import Cue, FrameBatch

NUM_FRAMES = 4


def batch(first: int, *, is_idle: bool = False) -> FrameBatch:
    """Frames whose one feature is their number."""
    frames = range(first, first + NUM_FRAMES)
    features = None if is_idle else np.array(frames, np.float32)[:, None]
    images = (np.zeros((6, 4), np.uint8),) * NUM_FRAMES
    return FrameBatch(images, np.zeros((7680, 1), np.int16), frames, Cue(features=features))


def left(*batches: FrameBatch) -> LeftBatches:
    remembered = LeftBatches()
    for each in batches:
        remembered.add(each)
    return remembered


def test_a_frame_has_the_features_that_it_was_made_of() -> None:
    remembered = left(batch(0), batch(4), batch(8))
    assert [remembered.features_at(frame).tolist() for frame in (11, 8, 7, 0)] == [[11], [8], [7], [0]]  # type: ignore[union-attr]
    assert remembered.features_at(11).tolist() == [3], "what was dropped behind frame 0 is forgotten"  # type: ignore[union-attr]


def test_a_mouth_that_is_shut_has_none() -> None:
    assert left().features_at(0) is None
    assert left(batch(4)).features_at(3) is None
    assert left(batch(0), batch(4, is_idle=True)).features_at(5) is None


def test_images_are_not_kept_nor_are_old_batches() -> None:
    remembered = left(*(batch(NUM_FRAMES * index) for index in range(NUM_REMEMBERED + 1)))
    assert [(each.images, len(each.audio)) for each in remembered._batches] == [((), 0)] * NUM_REMEMBERED
    assert remembered.features_at(NUM_FRAMES - 1) is None
