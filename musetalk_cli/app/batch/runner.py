"""Runs items of a batch: one is opened ahead while others are computed, and a failure ends no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.app.batch.item import BatchItem, ItemResult, failed
from musetalk_cli.app.batch.memory import give_back
from musetalk_cli.app.batch.open_avatars import OpenAvatars, open_pipeline
from musetalk_cli.app.running.interruption import CLOSE_S
from musetalk_cli.app.settings.tools import find_ffmpeg
from musetalk_cli.errors import MuseTalkError, SinkError, system_words
from musetalk_cli.system import heap

if TYPE_CHECKING:
    from musetalk_cli.engine.outputs.sinks import Sink
    from musetalk_cli.engine.pipeline import Pipeline
    from musetalk_cli.engine.runtime.stats import Snapshot
    from musetalk_cli.engine.types.messages import Tell

# One file alone leaves cores idle while it is opened and ended; with more than three, the interpreter is what they wait
# for.
MAX_DEFAULT_JOBS = 3
# How soon a thread that waits for a pipeline finds out that the run is over.
WAKE_S = 0.05


def default_jobs(num_cores: int) -> int:
    """How many files are rendered at the same time where nobody says it."""
    return max(1, min(MAX_DEFAULT_JOBS, num_cores))


class BatchRun:
    """Renders items, ``num_jobs`` at once. ``start``, ``wait`` until True; then ``error`` is what ended it early.

    The items are taken one by one, as they are needed, on a thread of the run. ``cut`` and ``abort`` are those of every
    pipeline that runs, and no item begins after them.
    """

    def __init__(
        self,
        items: Iterable[BatchItem],
        num_jobs: int,
        avatars: OpenAvatars,
        tell: Tell,
        on_done: Callable[[ItemResult], None],
        *,
        overwrite: bool,
    ) -> None:
        """Nothing runs yet.

        Args:
            items: what is rendered; taking the next one may wait.
            num_jobs: how many are computed at the same time.
            avatars: opens each avatar once.
            tell: takes lines for the user.
            on_done: takes the result of each item that came to an end by itself, on any thread, one at a time.
            overwrite: whether older files are replaced.
        """
        self.error: BaseException | None = None
        self._items = items
        self._avatars = avatars
        self._tell = tell
        self._on_done = on_done
        self._overwrite = overwrite
        self._slots = threading.Semaphore(num_jobs)
        # Beside those that are computed, as many may wait for their encoders.
        self._places = threading.Semaphore(2 * num_jobs)
        self._lock = threading.Lock()
        self._reporting = threading.Lock()
        self._running: dict[Pipeline, BatchItem] = {}
        self._threads = set[threading.Thread]()
        self._is_ended = False
        self._is_stopping = False
        self._opener = threading.Thread(target=self._open_all, name="musetalk-batch", daemon=True)

    def start(self) -> None:
        self._opener.start()
        heap.begin_collecting()

    def wait(self, timeout_s: float) -> bool:
        """True once every item has ended, or the run was interrupted and what ran has ended."""
        deadline = time.monotonic() + timeout_s
        while (thread := self._alive()) is not None and time.monotonic() < deadline:
            thread.join(max(0.0, deadline - time.monotonic()))
        return self._alive() is None

    def stop(self) -> None:
        """Begin no other item; those that run come to their end."""
        self._is_stopping = True

    def cut(self) -> None:
        """End what runs behind what its encoder has; files that are not whole go."""
        self._is_stopping = True
        for pipeline in self._pipelines():
            pipeline.cut()

    def abort(self) -> None:
        """Drop what runs."""
        self._is_stopping = True
        for pipeline in self._pipelines():
            pipeline.abort()

    @property
    def is_complete(self) -> bool:
        """Whether all items came to an end, uninterrupted."""
        return self._is_ended and not self._is_stopping and self._alive() is None

    @property
    def is_delivered(self) -> bool:
        """Whether nothing runs any more that writes."""
        return all(pipeline.is_delivered for pipeline in self._pipelines())

    def running(self) -> list[tuple[BatchItem, Snapshot]]:
        """What is rendered now, the first begun first."""
        with self._lock:
            running = list(self._running.items())
        return [(item, pipeline.snapshot()) for pipeline, item in running]

    def close(self) -> None:
        """Close the avatars that nothing uses any more."""
        self._avatars.close()

    def _pipelines(self) -> list[Pipeline]:
        with self._lock:
            return list(self._running)

    def _alive(self) -> threading.Thread | None:
        with self._lock:
            return next((thread for thread in (self._opener, *self._threads) if thread.is_alive()), None)

    def _open_all(self) -> None:
        try:
            for item in self._items:
                if self._is_stopping:
                    return
                self._open(item)
        except BaseException as error:  # of whoever gives the items
            self.error = error
        finally:
            self._is_ended = True

    def _open(self, item: BatchItem) -> None:
        """Open an item and, as soon as there is room, begin it on a thread of its own."""
        if not self._take(self._places):
            return
        give_back()
        cleanup = ExitStack()
        started_at = time.perf_counter()
        try:
            if item.problem:
                raise MuseTalkError(item.problem)
            sink = open_item_sink(item, overwrite=self._overwrite, tell=self._tell)
            pipeline = cleanup.enter_context(open_pipeline(item.config, item.voice, sink, self._avatars, self._tell))
        except Exception as error:
            self._places.release()
            self._report(failed(item, error, time.perf_counter() - started_at))
            return
        if not self._take(self._slots):
            cleanup.close()
            return
        with self._lock:
            if self._is_stopping:
                cleanup.close()
                return
            self._running[pipeline] = item
            thread = threading.Thread(
                target=self._run, args=(item, pipeline, sink, cleanup), name="musetalk-batch-item", daemon=True
            )
            self._threads.add(thread)
            thread.start()

    def _take(self, room: threading.Semaphore) -> bool:
        """Wait for room; False when the run is stopping."""
        while not room.acquire(timeout=WAKE_S):
            if self._is_stopping:
                return False
        return not self._is_stopping

    def _run(self, item: BatchItem, pipeline: Pipeline, sink: Sink, cleanup: ExitStack) -> None:
        has_slot = True
        started_at = time.perf_counter()
        result = None
        try:
            pipeline.begin_now()
            pipeline.start()
            while not pipeline.wait(0 if has_slot else WAKE_S):
                # The next item begins while this one's encoder ends.
                if has_slot and pipeline.wait_computed(WAKE_S):
                    self._slots.release()
                    has_slot = False
            pipeline.close(CLOSE_S if self._is_stopping else None)
            result = self._result(item, pipeline, sink, time.perf_counter() - started_at)
        except Exception as error:
            result = failed(item, error, time.perf_counter() - started_at)
        finally:
            with self._lock:
                del self._running[pipeline]
            try:
                cleanup.close()
            finally:
                if has_slot:
                    self._slots.release()
                self._places.release()
                if result:
                    self._report(result)
                with self._lock:
                    self._threads.discard(threading.current_thread())

    def _result(self, item: BatchItem, pipeline: Pipeline, sink: Sink, elapsed_s: float) -> ItemResult | None:
        if pipeline.error:
            # What a cut does to a source is no error of the voice.
            return None if self._is_stopping else failed(item, pipeline.error, elapsed_s)
        if not pipeline.is_complete:
            return None
        snapshot = pipeline.snapshot()
        return ItemResult(
            item,
            snapshot.num_frames,
            snapshot.media_s,
            elapsed_s,
            Path(item.output).stat().st_size if sink.where else 0,
        )

    def _report(self, result: ItemResult) -> None:
        with self._reporting:
            self._on_done(result)


def open_item_sink(item: BatchItem, *, overwrite: bool, tell: Tell) -> Sink:
    """The file of an item, in a folder that is made where it is missing. Raises SinkError."""
    from musetalk_cli.app.avatars.choice import is_transparent
    from musetalk_cli.engine.outputs.destinations import open_file_sink
    from musetalk_cli.engine.outputs.remuxed_file import Remuxer

    config = item.config
    try:
        Path(item.output).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = system_words(error)
        raise SinkError(f"cannot make the folder {Path(item.output).parent}: {reason}") from None
    ffmpeg = find_ffmpeg(config, tell, is_local=True)
    remuxer = Remuxer(ffmpeg, config.video.frame_rate)
    has_alpha = is_transparent(config)
    return open_file_sink([item.output], overwrite=overwrite, remuxer=remuxer, is_staged=True, has_alpha=has_alpha)
