"""Says early in a stream that this machine does not make its faces in time."""

from __future__ import annotations

from musetalk_cli.engine.runtime.stats import Snapshot

# A second of left-out faces is no accident of the start, and a tenth of all is seen.
LEAST_S = 1.0
LEAST_SHARE = 0.1


class SlowMachine:
    """Tells once, as soon as faces are left out for lack of time at a share that does not go away by itself."""

    def __init__(self) -> None:
        self._is_told = False

    def describe(self, snapshot: Snapshot) -> str | None:
        """The line to show, the first time that there is one."""
        if self._is_told or snapshot.live is None or not snapshot.num_frames:
            return None
        counts = snapshot.live.counts
        num_left_out = counts.num_held + counts.num_idle + counts.num_skipped
        share = num_left_out / snapshot.num_frames  # of what has left: what is left out is known earlier
        if share < LEAST_SHARE or share * snapshot.media_s < LEAST_S:
            return None
        self._is_told = True
        return (
            f"this machine is too slow for this stream: {num_left_out} frames without time for a face so far; choose a"
            " smaller --size or a lower --fps, or end other programs; musetalk bench measures what it holds"
        )
