"""How much is measured: what the user wishes, and less where the model is slow."""

from __future__ import annotations

from dataclasses import dataclass

from musetalk_cli.benchmark.figures import FrameSize

SIZES = (FrameSize(512, 512), FrameSize(1280, 720), FrameSize(1920, 1080))
SECONDS, ROUNDS = 4.0, 3
# A model that takes longer for a face is measured with a few faces only: at 5 s each, all of it would take an hour.
SLOW_FACE_S = 0.5
SLOW_FRAMES, SLOW_ROUNDS = 3, 1


@dataclass(frozen=True)
class Wish:
    """What the command line asks for; None is left to us. Without ``sweep``, ``num_sessions`` and ``has_comparison``,
    it is the whole measurement, else those."""

    seconds: float | None = None
    num_rounds: int | None = None
    sweep: str | None = None
    num_sessions: int | None = None
    has_comparison: bool = False

    @property
    def is_whole(self) -> bool:
        return self.sweep is None and self.num_sessions is None and not self.has_comparison


@dataclass(frozen=True)
class Effort:
    """``seconds`` of voice for each measurement, ``num_rounds`` of them at each of ``sizes``; ``note`` says why it is
    less than usual. ``is_brief``: not even a block can be made to warm up."""

    seconds: float
    num_rounds: int
    sizes: tuple[FrameSize, ...]
    note: str = ""
    is_brief: bool = False


def wished_sizes(size_px: int | None) -> tuple[FrameSize, ...]:
    """The usual three, or a square of this height."""
    return SIZES if size_px is None else (FrameSize(size_px, size_px),)


def choose_effort(wish: Wish, sizes: tuple[FrameSize, ...], face_s: float, fps: float) -> Effort:
    """``face_s``: how long the model takes for a face."""
    is_slow = face_s > SLOW_FACE_S
    seconds = SLOW_FRAMES / fps if is_slow else SECONDS
    return Effort(
        wish.seconds or seconds,
        wish.num_rounds or (SLOW_ROUNDS if is_slow else ROUNDS),
        sizes[:1] if is_slow else sizes,
        f"a face takes {face_s:.1f} s here, so few were made, and at one size" if is_slow else "",
        is_slow,
    )
