"""Says early in a stream that this machine does not make its faces in time."""

from __future__ import annotations

from musetalk_cli.engine.runtime.stats import Snapshot

# A second of left-out faces is no accident of the start, and a tenth of all is seen.
LEAST_S = 1.0
LEAST_SHARE = 0.1
# Between two looks at a run there are tenths of a second, unless the process was stopped, as by Ctrl-Z, or the computer
# slept.
LEAST_STOP_S = 2.0


class SlowMachine:
    """Tells once, as soon as faces are left out for lack of time at a share that does not go away by itself."""

    def __init__(self) -> None:
        self._is_told = False
        self._looked_at_s: float | None = None
        self._stopped_s = 0.0

    def describe(self, snapshot: Snapshot) -> str | None:
        """The line to show, the first time that there is one. To be called several times a second."""
        stopped_s = self._count_stops(snapshot.elapsed_s)
        if self._is_told or snapshot.live is None or not snapshot.num_frames:
            return None
        counts = snapshot.live.counts
        num_left_out = counts.num_held + counts.num_idle + counts.num_skipped
        share = num_left_out / snapshot.num_frames  # of what has left: what is left out is known earlier
        left_out_s = share * snapshot.media_s - stopped_s
        if left_out_s < max(LEAST_S, LEAST_SHARE * snapshot.media_s):
            return None
        self._is_told = True
        return (
            f"this machine is too slow for this stream: {num_left_out} frames without time for a face so far; choose a"
            " smaller --size or a lower --fps, or end other programs; musetalk bench measures what it holds"
        )

    def _count_stops(self, elapsed_s: float) -> float:
        """Seconds of the run so far in which the process was stopped."""
        since_s = 0.0 if self._looked_at_s is None else elapsed_s - self._looked_at_s
        self._looked_at_s = elapsed_s
        if since_s >= LEAST_STOP_S:
            self._stopped_s += since_s
        return self._stopped_s
