"""How much is measured: what the user wishes, and less where the model is slow."""

from __future__ import annotations

from dataclasses import dataclass

from musetalk_cli.benchmark.figures import FrameSize

SIZES = (FrameSize(512, 512), FrameSize(1280, 720), FrameSize(1920, 1080))
SECONDS, ROUNDS = 4.0, 3
# One measurement should take no longer than this. Of a model that would take longer, fewer faces are made, once and at
# one size: at 5 s a face, all of it would take an hour.
LONGEST_S = 8.0
LEAST_FRAMES = 3  # the first batch, and one that does not wait for anything to be loaded


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
    """``face_s``: how long the model takes for a face, with all its workers."""
    if is_quick(face_s, fps):
        return Effort(wish.seconds or SECONDS, wish.num_rounds or ROUNDS, sizes)
    note = f"a face takes {face_s:.2g} s here, so few were made, and at one size"
    seconds = max(LEAST_FRAMES, int(LONGEST_S / face_s)) / fps
    return Effort(wish.seconds or seconds, wish.num_rounds or 1, sizes[:1], note, is_brief=True)


def is_quick(face_s: float, fps: float) -> bool:
    """Whether the usual number of faces can be made in time."""
    return face_s * fps * SECONDS <= LONGEST_S
