"""How much is measured: what the user asked for, and less where the model is slow."""

from __future__ import annotations

from dataclasses import dataclass

from musetalk_cli.benchmark.workload.figures import FrameSize
from musetalk_cli.errors import ConfigError

SIZES = (FrameSize(512, 512), FrameSize(1280, 720), FrameSize(1920, 1080))
SECONDS, ROUNDS = 4.0, 3
# One measurement should take no longer than this. Of a model that would take longer, fewer faces are made, once and at
# one size: at 5 s a face, all of it would take an hour.
LONGEST_S = 8.0
LEAST_FRAMES = 2  # one that waits for all that is loaded first, and one that does not


@dataclass(frozen=True)
class BenchRequest:
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
class BenchPlan:
    """``seconds`` of voice for each measurement, ``num_rounds`` of them at each of ``sizes``; ``note`` says why it is
    less than usual. ``is_brief``: not even a block can be made to warm up; ``is_least``: even the fewest faces take so
    long that what is known already is not measured again."""

    seconds: float
    num_rounds: int
    sizes: tuple[FrameSize, ...]
    note: str = ""
    is_brief: bool = False
    is_least: bool = False


def requested_sizes(size_px: int | None) -> tuple[FrameSize, ...]:
    """The usual three, or a square of this height."""
    return SIZES if size_px is None else (FrameSize(size_px, size_px),)


def choose_plan(request: BenchRequest, sizes: tuple[FrameSize, ...], face_s: float, fps: float) -> BenchPlan:
    """``face_s``: how long the model takes for a face, with all its workers."""
    if is_quick(face_s, fps):
        return BenchPlan(request.seconds or SECONDS, request.num_rounds or ROUNDS, sizes)
    seconds = request.seconds or max(LEAST_FRAMES, int(LONGEST_S / face_s)) / fps
    num_faces = count_frames(seconds, fps)
    note = f"a face takes {face_s:.2g} s here, so each figure is of {num_faces} face{'s' * (num_faces > 1)}"
    is_least = LEAST_FRAMES * face_s > LONGEST_S
    return BenchPlan(seconds, request.num_rounds or 1, sizes[:1], note, is_brief=True, is_least=is_least)


def check_plan(request: BenchRequest, plan: BenchPlan) -> None:
    """Raise ConfigError where so few faces would be made that the values of a sweep would not differ."""
    if plan.is_least and request.sweep in ("batch", "block") and request.seconds is None:
        raise ConfigError(
            f"--sweep {request.sweep}: {plan.note}, too few to tell the values apart",
            hint="give --seconds to measure all the same",
        )


def count_frames(seconds: float, fps: float) -> int:
    """That a voice of this length has."""
    return max(1, round(seconds * fps))


def is_quick(face_s: float, fps: float) -> bool:
    """Whether the usual number of faces can be made in time."""
    return face_s * fps * SECONDS <= LONGEST_S
