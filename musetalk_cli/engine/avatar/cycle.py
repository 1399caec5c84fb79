"""Which avatar frame serves which output frame: forward, then back, without end."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction


def cycle_index(step: int, num_frames: int) -> int:
    """The avatar frame at a step of the cycle 0, 1 … n-1, n-2 … 1, 0, 1 …: neither turn shows its frame twice.

    ``step`` counts from the stream's start and never restarts, so a block goes on where the one before it ended.
    """
    period = max(1, 2 * num_frames - 2)
    place = step % period
    return place if place < num_frames else period - place


def double_turn_index(step: int, num_frames: int) -> int:
    """The same as MuseTalk's official script has it: 0, 1 … n-1, n-1 … 1, 0, 0, 1 …: both turns show a frame twice."""
    place = step % (2 * num_frames)
    return min(place, 2 * num_frames - 1 - place)


def avatar_frame(
    frame: int,
    frame_rate: Fraction,
    avatar_rate: Fraction | None,
    num_frames: int,
    index_of: Callable[[int, int], int] = cycle_index,
) -> int:
    """The avatar frame shown at an output frame: of two equally near, the later one.

    The arithmetic is exact, so no drift builds up however long the stream is.

    Args:
        frame: number in the output.
        frame_rate: frames per second of the output.
        avatar_rate: frames per second of the avatar, None for a still.
        num_frames: how many the avatar has.
        index_of: the cycle: from a step and ``num_frames`` to a frame.
    """
    if avatar_rate is None:
        return 0
    step = frame * avatar_rate / frame_rate + Fraction(1, 2)
    return index_of(step.numerator // step.denominator, num_frames)
