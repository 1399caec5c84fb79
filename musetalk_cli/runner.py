"""Drives one pipeline from the main thread: signals, display, statistics, and how it ended."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from musetalk_cli.dashboard import Dashboard
from musetalk_cli.engine.pipeline import Pipeline
from musetalk_cli.engine.timing import Snapshot
from musetalk_cli.errors import SinkError

TICK_S = 0.1
STATS_INTERVAL_S = 1.0


class Interruption:
    """Counts Ctrl-C and SIGTERM: the first stops the run, the second aborts it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.count = 0
        self._pipeline = pipeline

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Handle the signals inside, and give them back afterwards."""
        before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.count += 1

    def obey(self) -> None:
        """Called from the loop, not from the handler: locks must not be taken inside a signal handler."""
        if self.count == 1:
            self._pipeline.stop()
        elif self.count > 1:
            self._pipeline.abort()


class StatsFile:
    """One JSON line a second, and a last one marked ``"event": "end"``."""

    def __init__(self, path: Path) -> None:
        try:
            self._file: TextIO = path.open("w", encoding="utf-8")
        except OSError as error:
            raise SinkError(f"cannot write the statistics {path}: {error.strerror}") from error
        self._next_at = time.perf_counter() + STATS_INTERVAL_S

    def note(self, snapshot: Snapshot, *, is_last: bool = False) -> None:
        now = time.perf_counter()
        if is_last or now >= self._next_at:
            self._next_at = now + STATS_INTERVAL_S
            self._file.write(json.dumps({"event": "end" if is_last else "tick", **snapshot.as_record()}) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def run_pipeline(pipeline: Pipeline, dashboard: Dashboard, stats: StatsFile | None) -> tuple[Snapshot, bool]:
    """Run to the end. Returns the last figures and whether the user interrupted it.

    Raises the pipeline's first error, after everything has been released.
    """
    interruption = Interruption(pipeline)
    try:
        with interruption.watching():
            pipeline.start()
            is_told = False
            while not pipeline.wait(TICK_S):
                interruption.obey()
                if interruption.count and not is_told:
                    is_told = True
                    dashboard.tell("stopping: finishing what is under way (Ctrl-C again drops it)")
                _show(pipeline.snapshot(), dashboard, stats)
    finally:
        pipeline.close()
        dashboard.close()
        if stats:
            with suppress(OSError):
                stats.note(pipeline.snapshot(), is_last=True)
            stats.close()
    if pipeline.error:
        raise pipeline.error
    return pipeline.snapshot(), interruption.count > 0


def _show(snapshot: Snapshot, dashboard: Dashboard, stats: StatsFile | None) -> None:
    dashboard.show(snapshot)
    if stats:
        stats.note(snapshot)
