"""Frames of short clips are read once, as long as there is room."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.drawn_video import talking_avatar
from musetalk_cli.engine.avatar import kept_frames
from musetalk_cli.engine.avatar.frames import ResizedFrames
from musetalk_cli.engine.avatar.kept_frames import MAX_KEPT_BYTES, KeptFrames, keep_short, unkept
from musetalk_cli.errors import AvatarError

Images = list[NDArray[np.uint8]]
NUM_BYTES = 8 * 16 * 24 * 3 // 2


class Counted:
    """Frames of noise that say how often they were read."""

    width, height, num_frames = 16, 24, 8

    def __init__(self) -> None:
        self.num_reads, self.is_closed = 0, False

    def read(self, indices: Sequence[int]) -> Images:
        if self.is_closed:
            raise AvatarError("closed")
        self.num_reads += len(indices)
        return [np.random.default_rng(index).integers(0, 256, (36, 16), np.uint8) for index in indices]

    def image(self, index: int = 0) -> NDArray[np.uint8]:
        return np.zeros((24, 16, 3), np.uint8)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def budget(monkeypatch: pytest.MonkeyPatch) -> Iterator[kept_frames._Budget]:
    mine = kept_frames._Budget(2 * NUM_BYTES)
    monkeypatch.setattr(kept_frames, "budget", mine)
    yield mine


def test_each_frame_is_read_once_and_cannot_be_written_into() -> None:
    source = Counted()
    frames, plain = KeptFrames(source), Counted()
    for indices in ([2, 2, 0], [0, 1, 2], [7, 0]):
        made = frames.read(indices)
        assert all(map(np.array_equal, made, plain.read(indices)))
        assert not any(image.flags.writeable for image in made)
    assert source.num_reads == 4
    with pytest.raises(IndexError, match="frame 8 of 8"):
        frames.read([1, 8])


def test_several_threads_get_the_same_frames() -> None:
    frames, plain = KeptFrames(Counted()), Counted()
    orders = [np.random.default_rng(seed).permutation(8).tolist() for seed in range(32)]
    with ThreadPoolExecutor(8) as pool:
        for order, made in zip(orders, pool.map(frames.read, orders), strict=True):
            assert all(map(np.array_equal, made, plain.read(order)))


def test_where_there_is_no_room_frames_are_read_each_time(budget: kept_frames._Budget) -> None:
    sources = [Counted() for _ in range(3)]
    kept = [KeptFrames(source) for source in sources]
    for frames in kept:
        frames.read([3])
        frames.read([3])
    assert [source.num_reads for source in sources] == [1, 1, 2] and budget.left == 0
    kept[0].close()
    kept[2].read([3])
    kept[2].read([3])
    assert sources[2].num_reads == 3 and budget.left == 0
    with pytest.raises(AvatarError):
        kept[0].read([3])


def test_what_is_closed_or_forgotten_gives_its_room_back(budget: kept_frames._Budget) -> None:
    frames = KeptFrames(Counted())
    kept = weakref.ref(frames.read([0])[0])
    assert kept() is not None
    frames.close()
    frames.close()
    assert budget.left == 2 * NUM_BYTES and kept() is None
    forgotten = KeptFrames(Counted())
    forgotten.read([0])
    del forgotten
    gc.collect()
    assert budget.left == 2 * NUM_BYTES


def test_what_is_closed_while_it_is_read_keeps_nothing(budget: kept_frames._Budget) -> None:
    source, plain = Counted(), Counted()
    frames = KeptFrames(source)
    frames.read([0])
    read = source.read

    def read_and_close(indices: Sequence[int]) -> Images:
        images = read(indices)
        frames.close()
        return images

    source.read = read_and_close  # type: ignore[method-assign]
    assert all(map(np.array_equal, frames.read([0, 1]), plain.read([0, 1])))
    for index in (0, 1):
        with pytest.raises(AvatarError):
            frames.read([index])
    assert budget.left == 2 * NUM_BYTES


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked")
def test_a_forked_process_shares_what_was_read_and_keeps_no_more(budget: kept_frames._Budget) -> None:
    source, plain = Counted(), Counted()
    frames, unread = KeptFrames(source), KeptFrames(Counted())
    frames.read([0, 1])
    child = os.fork()
    if not child:
        is_right = all(map(np.array_equal, frames.read([2, 1, 2]), plain.read([2, 1, 2])))
        is_right &= source.num_reads == 4 and frames.read([2])[0].flags.writeable
        unread.read([0])
        os._exit(0 if is_right and budget.left == NUM_BYTES else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_all_frames_are_read_before_they_are_shared(budget: kept_frames._Budget) -> None:
    source = Counted()
    frames = KeptFrames(source)
    frames.read_all()
    frames.read_all()
    assert source.num_reads == 8
    budget.left = 0
    late = Counted()
    KeptFrames(late).read_all()
    assert late.num_reads == 0


def test_long_clips_are_not_kept() -> None:
    long = Counted()
    long.num_frames = MAX_KEPT_BYTES // (16 * 24 * 3 // 2) + 1
    assert keep_short(long) is long
    assert isinstance(keep_short(Counted()), KeptFrames)


def test_of_a_resized_clip_the_resized_frames_are_kept(budget: kept_frames._Budget) -> None:
    budget.left = MAX_KEPT_BYTES
    avatar = talking_avatar(4)
    avatar = replace(avatar, frames=keep_short(avatar.frames))
    smaller = avatar.resized(200)
    first, second = (smaller.frames.read([1])[0] for _ in range(2))
    assert first is second
    assert MAX_KEPT_BYTES - budget.left == 4 * smaller.width * smaller.height * 3 // 2
    resized = ResizedFrames(unkept(avatar.frames), smaller.width, smaller.height)
    assert np.array_equal(first, resized.read([1])[0])
