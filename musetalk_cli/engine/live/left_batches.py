"""What of the output has left, for a mouth that closes from there."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from musetalk_cli.engine.types.messages import FloatArray, FrameBatch

NUM_REMEMBERED = 64  # more than a session's queue holds


class LeftBatches:
    """The newest batches that have left, without their images and audio. Not safe to use from several threads."""

    def __init__(self) -> None:
        self._batches: deque[FrameBatch] = deque(maxlen=NUM_REMEMBERED)

    def add(self, batch: FrameBatch) -> None:
        self._batches.append(replace(batch, images=(), audio=batch.audio[:0]))

    def features_at(self, frame: int) -> FloatArray | None:
        """The model's features of the output's ``frame``, one row; None where its mouth is shut. Batches that begin
        behind it are forgotten."""
        while self._batches and self._batches[-1].frames.start > frame:
            self._batches.pop()
        shown = self._batches[-1] if self._batches else None
        if shown is None or shown.cue.features is None or not len(shown.frames):
            return None
        row: FloatArray = shown.cue.features[min(frame, shown.frames.stop - 1) - shown.frames.start]
        return row
