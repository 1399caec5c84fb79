"""Threads and what connects them: bounded channels, and one shared state that can stop everything."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from musetalk_cli.errors import MuseTalkError, StageError, as_machine_error

log = logging.getLogger(__name__)

T = TypeVar("T")


class Aborted(Exception):  # noqa: N818 - not an error: how a stage learns that it should end
    """Raised out of a channel when the run was aborted; only stages see it."""


class RunState:
    """Whether a run goes on: the first error, and who has to be woken when it aborts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on_abort: list[Callable[[], None]] = []
        self.is_aborted = False
        self.is_stopped = False  # the source was told to end early
        self.error: BaseException | None = None

    def on_abort(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` unblock whoever waits, once, when the run aborts. It must not raise or block."""
        with self._lock:
            self._on_abort.append(callback)

    def record(self, stage: str, error: BaseException) -> None:
        """Keep the first error; what is in flight still gets delivered."""
        log.info("the %s stage failed", stage, exc_info=error)
        with self._lock:
            if self.error is None:
                self.error = error if isinstance(error, MuseTalkError) else _wrap(stage, error)

    def fail(self, stage: str, error: BaseException) -> None:
        """Keep the first error and abort."""
        self.record(stage, error)
        self.abort()

    def abort(self) -> None:
        """Drop what is in flight and wake everybody who waits."""
        with self._lock:
            callbacks = [] if self.is_aborted else list(self._on_abort)
            self.is_aborted = True
        for callback in callbacks:
            callback()


def _wrap(stage: str, error: BaseException) -> MuseTalkError:
    wrapped = as_machine_error(error) or StageError(
        f"internal error in the {stage} stage: {type(error).__name__}: {error}"
    )
    wrapped.__cause__ = error
    return wrapped


class Channel(Generic[T]):
    """A bounded queue from one stage to the next, named for what it carries."""

    def __init__(self, name: str, depth: int, state: RunState) -> None:
        self.name = name
        self._depth = depth
        self._state = state
        self._items: deque[T] = deque()
        self._is_finished = self._is_cut = False
        self._changed = threading.Condition()
        state.on_abort(self._wake)

    def put(self, item: T) -> None:
        """Add an item, waiting while the channel is full. Raises Aborted, also when the channel has been cut."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._depth or self._is_cut or self._state.is_aborted)
            self._check()
            if self._is_cut:
                raise Aborted(self.name)
            self._items.append(item)
            self._changed.notify_all()

    def finish(self) -> None:
        """Nothing more will come; what is inside still goes out."""
        with self._changed:
            self._is_finished = True
            self._changed.notify_all()

    def cut(self) -> None:
        """Drop what is inside and what comes from now on: who takes finds the end."""
        with self._changed:
            self._items.clear()
            self._is_finished = self._is_cut = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Take items until the channel is finished and empty. Raises Aborted."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._is_finished or self._state.is_aborted)
                self._check()
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item

    def _check(self) -> None:
        if self._state.is_aborted:
            raise Aborted(self.name)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Stage:
    """One thread of the pipeline; an error in it aborts the run under the stage's name."""

    def __init__(self, name: str, work: Callable[[], None], state: RunState) -> None:
        self.name = name
        self._work = work
        self._state = state
        self._thread = threading.Thread(target=self._run, name=f"musetalk-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the thread's end; True when it has ended or was never started."""
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._work()
        except Aborted:
            pass
        except BaseException as error:  # whatever it is, it belongs on the main thread
            self._state.fail(self.name, error)
