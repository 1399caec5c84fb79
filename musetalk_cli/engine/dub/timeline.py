"""Which frame of a clip is shown when, where the voice and the clip differ in length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Length = Literal["voice", "clip", "longest"]
Fill = Literal["hold", "loop", "ping-pong"]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class DubTimeline:
    """``sources`` int64 (m,): which frame of the clip each frame of the output shows; ``ticks`` int64 (m + 1,): when it
    begins, and when the last one ends, in the clip's timescale."""

    sources: Ints
    ticks: Ints

    def times_s(self, timescale: int) -> NDArray[np.float64]:
        """When each frame begins, seconds."""
        return np.asarray(self.ticks[:-1] / timescale, np.float64)

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """The output as runs of the clip: first frame, step (1, 0 or -1), number of frames."""
        steps = np.diff(self.sources)
        at = 0
        while at < len(self.sources):
            step = int(steps[at]) if at < len(steps) and abs(int(steps[at])) <= 1 else 1
            stop = at + 1
            while stop < len(self.sources) and steps[stop - 1] == step:
                stop += 1
            yield int(self.sources[at]), step, stop - at
            at = stop


def plan_timeline(
    ticks: Ints, last_ticks: int, voice_ticks: int | None, length: Length = "clip", fill: Fill = "hold"
) -> DubTimeline:
    """Plan the output.

    Args:
        ticks: int64 (n,), when each frame of the clip begins.
        last_ticks: how long its last frame is shown.
        voice_ticks: how long the voice lasts; None for that of the clip.
        length: which of the two the output is as long as; the clip's first frame is shown in any case.
        fill: what is shown behind the clip's end.
    """
    count, end = len(ticks), int(ticks[-1]) + last_ticks
    wanted = end if voice_ticks is None or length == "clip" else voice_ticks
    wanted = max(wanted, end if length == "longest" else int(ticks[0]) + last_ticks)
    if wanted <= end:
        shown = count if wanted == end else max(1, int(np.searchsorted(ticks, wanted)))
        return DubTimeline(
            np.arange(shown, dtype=np.int64), np.append(ticks[:shown], end if shown == count else wanted)
        )
    durations = np.append(np.diff(ticks), last_ticks)
    more = _more(count, fill)
    cycle = int(durations[more].sum())
    num_cycles = -(-(wanted - end) // max(1, cycle))
    sources = np.concatenate([np.arange(count), np.tile(more, num_cycles)])
    starts = ticks[0] + np.append(0, np.cumsum(durations[sources]))
    shown = int(np.searchsorted(starts, wanted))
    return DubTimeline(sources[:shown], np.append(starts[:shown], wanted))


def _more(count: int, fill: Fill) -> Ints:
    """The frames that are shown again and again behind the last."""
    if fill == "loop":
        return np.arange(count)
    if fill == "ping-pong" and count > 1:
        return np.concatenate([np.arange(count - 2, 0, -1), np.arange(count)])
    return np.array([count - 1])
