"""Renders a batch on the workers of a cluster, with the report, the display and the endings of one machine."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from musetalk_cli import __version__
from musetalk_cli.app.batch.item import BatchItem, ItemResult, failed
from musetalk_cli.app.batch.names import STDIN
from musetalk_cli.app.batch.plan import remove_unfinished
from musetalk_cli.app.cluster.jobs import MAX_LOST, Hand, Job, Jobs
from musetalk_cli.app.cluster.ray_cluster import Cluster, WorkerLostError
from musetalk_cli.app.cluster.shared_files import FolderMarker, with_absolute_paths
from musetalk_cli.app.cluster.sizing import WorkerSize, worker_environment
from musetalk_cli.errors import ClusterError, MuseTalkError

if TYPE_CHECKING:
    from musetalk_cli.engine.runtime.stats import Snapshot
    from musetalk_cli.engine.types.messages import Tell

WAKE_S = 0.05  # how soon a signal is obeyed
COUNT_S = 2.0  # how often machines are counted: a new one gets workers
ASK_S = 1.0  # how often workers are asked for their figures
PATIENCE_S = 15.0  # until somebody waits for room and is told so
END_S = 0.8  # for workers to say that nothing is left of what was cut
MAX_QUEUED = 64  # items that are read ahead
MAX_FAILED_STARTS = 3

log = logging.getLogger(__name__)


class ClusterRun:
    """Renders items on workers. As BatchRun: ``start``, ``wait`` until True; ``error`` is what ended it early."""

    def __init__(
        self,
        items: Iterable[BatchItem],
        cluster: Cluster,
        size: WorkerSize,
        folder: str,
        tell: Tell,
        on_done: Callable[[ItemResult], None],
    ) -> None:
        """Nothing runs yet.

        Args:
            items: what is rendered; taking the next one may wait.
            cluster: where workers run; closed with the run.
            size: of each worker.
            folder: the videos' folder, which every machine must have; a stored one need not be.
            tell: takes lines for the user.
            on_done: takes the result of each item that came to an end by itself, on one thread.
        """
        self.error: BaseException | None = None
        self._items, self._cluster, self._size = items, cluster, size
        self._tell, self._on_done = tell, on_done
        self._told = set[str]()
        self._jobs = Jobs(size.num_jobs + 1)
        self._calls: dict[Any, tuple[Hand, Callable[[Any], None]]] = {}
        self._queue = queue.Queue[BatchItem](MAX_QUEUED)
        self._marker = FolderMarker(folder)
        self._num_failed_starts = 0
        self._counted_at = self._asked_at = -ASK_S - COUNT_S
        self._is_fed = self._is_stopping = self._is_aborted = False
        self._cut_at: float | None = None
        self._feeder = threading.Thread(target=self._feed, name="musetalk-batch", daemon=True)
        self._dealer = threading.Thread(target=self._deal, name="musetalk-cluster", daemon=True)

    def start(self) -> None:
        self._feeder.start()
        self._dealer.start()

    def wait(self, timeout_s: float) -> bool:
        """True once every item has ended, or the run was interrupted and nothing is written any more."""
        self._dealer.join(timeout_s)
        return not self._dealer.is_alive()

    def stop(self) -> None:
        """Begin no other item."""
        self._is_stopping = True

    def cut(self) -> None:
        """End what runs; files that are not whole go."""
        self._cut_at = self._cut_at or time.monotonic()
        self._is_stopping = True

    def abort(self) -> None:
        """Drop what runs."""
        self._is_stopping = self._is_aborted = True

    @property
    def is_complete(self) -> bool:
        """Whether all items came to an end, uninterrupted."""
        return not self._dealer.is_alive() and not self._is_stopping and self.error is None

    @property
    def is_delivered(self) -> bool:
        """Whether no worker writes any more."""
        return not self._dealer.is_alive()

    def running(self) -> list[tuple[BatchItem, Snapshot]]:
        """What is rendered now, as workers said last."""
        jobs = [(job, hand.running) for hand in list(self._jobs.hands) for job in list(hand.jobs.values())]
        return [(job.item, found[job.sent.output]) for job, found in jobs if job.sent.output in found]

    def close(self) -> None:
        """Leave the cluster."""
        self._marker.remove()
        self._cluster.close()

    def _feed(self) -> None:
        try:
            for item in self._items:
                while not self._is_stopping:
                    with contextlib.suppress(queue.Full):
                        self._queue.put(item, timeout=WAKE_S)
                        break
                if self._is_stopping:
                    return
        except BaseException as error:  # of whoever gives the items
            self.error = error
        finally:
            self._is_fed = True

    def _deal(self) -> None:
        began_at = time.monotonic()
        try:
            while not self._is_over():
                self._hire(began_at)
                self._read_queue()
                self._give()
                self._ask()
                self._take()
            self._end()
        except BaseException as error:
            self.error = error
        finally:
            self._is_stopping |= self.error is not None
            self._marker.remove()

    def _is_over(self) -> bool:
        if self._is_stopping:
            return self._cut_at is not None or self._is_aborted or not self._jobs.num_running
        return self._is_fed and self._queue.empty() and not self._jobs.num_waiting and not self._jobs.num_running

    def _hire(self, began_at: float) -> None:
        """Ask for workers as long as machines have room for more than there are."""
        now = time.monotonic()
        if now < self._counted_at + COUNT_S or self._is_stopping:
            return
        self._counted_at = now
        for _ in range(self._size.count(self._cluster.nodes()) - len(self._jobs.hands)):
            size = self._size
            worker = self._cluster.start_worker(size.num_jobs, size.num_cpus, size.num_gpus, worker_environment())
            hand = Hand(worker)
            self._jobs.hands.append(hand)
            self._call(hand, "describe", partial(self._welcome, hand), self._marker.make())
        if now > began_at + PATIENCE_S and not any(hand.is_ready for hand in self._jobs.hands):
            gpu = " and a GPU" if self._size.num_gpus else ""
            self._tell_once(f"waiting for the cluster to have {self._size.num_cpus} cores{gpu} free")

    def _welcome(self, hand: Hand, info: Any) -> None:
        hand.name, hand.is_ready = info.machine, True
        self._num_failed_starts = 0
        if info.version != __version__:
            hint = "install the same version on every machine"
            raise ClusterError(f"{info.machine} has musetalk {info.version}, and this is {__version__}", hint=hint)
        if not info.finds_file:
            hint = "give one that all machines share, or an address such as s3://bucket/videos"
            raise ClusterError(f"{info.machine} does not have the folder {self._marker.folder}", hint=hint)
        if all(each.is_ready for each in self._jobs.hands):
            self._marker.remove()

    def _read_queue(self) -> None:
        """Take items as there are workers for them."""
        most = (self._size.num_jobs + 1) * max(1, len(self._jobs.hands))
        while self._jobs.num_waiting < most and not self._is_stopping:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if item.voice == STDIN and not item.problem:
                item = replace(item, problem="standard input cannot be sent to a cluster")
            if item.problem:
                self._on_done(failed(item, MuseTalkError(item.problem), 0.0))
            else:
                self._jobs.add(Job(item, with_absolute_paths(item)))

    def _give(self) -> None:
        for hand, job in () if self._is_stopping else self._jobs.give():
            call = self._call(hand, "render", partial(self._finish, job), job.sent)
            hand.jobs[call] = job

    def _finish(self, job: Job, result: ItemResult | None) -> None:
        if result is not None:
            self._on_done(replace(result, item=job.item))

    def _ask(self) -> None:
        """Ask workers for what a display shows; one that has not answered is not asked again."""
        now = time.monotonic()
        if now < self._asked_at + ASK_S:
            return
        self._asked_at = now
        for hand in self._jobs.hands:
            if hand.is_ready and not hand.is_asked:
                hand.is_asked = True
                self._call(hand, "state", partial(self._note_state, hand))

    def _note_state(self, hand: Hand, state: Any) -> None:
        hand.is_asked, hand.running = False, state.running
        for text in state.notices:
            self._tell_once(text)

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._tell(text)

    def _call(self, hand: Hand, method: str, then: Callable[[Any], None], *args: object) -> Any:
        call = self._cluster.call(hand.worker, method, *args)
        self._calls[call] = (hand, then)
        return call

    def _take(self) -> None:
        """Wait for a call to end, and obey what it returned."""
        lost: dict[Hand, str] = {}
        for call in self._cluster.wait(list(self._calls), WAKE_S):
            hand, then = self._calls.pop(call)
            try:
                answer = self._cluster.result(call)
            except WorkerLostError as error:
                lost[hand] = str(error)
                continue
            hand.jobs.pop(call, None)
            then(answer)
        for hand, reason in lost.items():
            if hand in self._jobs.hands:
                self._lose(hand, reason)

    def _lose(self, hand: Hand, reason: str) -> None:
        """A worker has ended: what it had is rendered by others."""
        log.info("a worker is lost: %s", reason)
        self._cluster.kill(hand.worker)
        self._calls = {call: each for call, each in self._calls.items() if each[0] is not hand}
        num_jobs = len(hand.jobs)
        given_up = self._jobs.lose(hand)
        if hand.is_ready:
            self._tell(f"a worker on {hand.name} is lost; {num_jobs} of its files are rendered again")
        else:
            self._num_failed_starts += 1
            if self._num_failed_starts >= MAX_FAILED_STARTS:
                hint = "musetalk must be installed on every machine, with the same Python as here"
                raise ClusterError(f"workers do not start: {reason}", hint=hint)
        remove_unfinished(job.item for job in hand.jobs.values())
        for job in given_up:
            error = MuseTalkError(f"{MAX_LOST} workers ended while they rendered it", hint="is their memory enough?")
            self._on_done(failed(job.item, error, 0.0))

    def _end(self) -> None:
        """Have workers remove what is not whole, as long as they answer; abort does not wait for them."""
        hands = [hand for hand in self._jobs.hands if hand.is_ready]
        calls = [] if self._is_aborted else [self._cluster.call(hand.worker, "end") for hand in hands]
        deadline = (self._cut_at or time.monotonic()) + END_S
        while calls and not self._is_aborted and time.monotonic() < deadline:
            ended = self._cluster.wait(calls, WAKE_S)
            calls = [call for call in calls if call not in ended]
        for hand in self._jobs.hands:
            self._cluster.kill(hand.worker)
        remove_unfinished(job.item for hand in self._jobs.hands for job in hand.jobs.values())
