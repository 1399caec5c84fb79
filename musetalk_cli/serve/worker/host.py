"""The process that holds avatars and model, and runs sessions: each in a process of its own, forked from this one, or,
where that cannot be, all of them in this one.

    python -m musetalk_cli.serve.worker.host

It ends when its stdin does. wire.py says what stands there and on stdout.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.configuration.origins import remember_origins
from musetalk_cli.errors import MuseTalkError
from musetalk_cli.option_names import naming_options
from musetalk_cli.serve.wire import WorkerSettings, WorkersReady
from musetalk_cli.system import heap

if TYPE_CHECKING:
    from musetalk_cli.serve.worker.offer import Offer

BACKLOG = 64
LAST_S = 10.0  # sessions whose server is gone have ended by then
FAILING_S = 0.2  # before a process is forked in place of one that ended without a session
MORE_LIKELY_KILLED = "300"  # when memory runs out, a session goes before the host or the server


def main() -> int:
    """Serve until stdin ends; the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's
    gc.disable()  # what is loaded stays, and pages that the collector does not touch stay shared
    heap.share()
    _start_log()
    try:
        settings = WorkerSettings.from_json(sys.stdin.buffer.readline())
        remember_origins(settings.config, settings.origins)
        _start_and_serve(settings)
    except MuseTalkError as error:
        _say(json.dumps({"error": str(error), "hint": error.hint}))
        return 1
    return 0


def _start_log() -> None:
    """Continue the log of the server that started us, which has told if it cannot be written."""
    if name := os.environ.get("MUSETALK_LOG"):
        from musetalk_cli.support.log_file import LogError, start_log

        with contextlib.suppress(LogError):
            start_log(name, sys.argv)


def _start_and_serve(settings: WorkerSettings) -> None:
    from musetalk_cli.serve.worker.session_worker import serve_connection

    with naming_options():  # who started the server reads what is wrong now, and its clients what is wrong later
        offer, ready = _open_offer(settings)
    path = Path(settings.socket)
    try:
        with _bind(path) as listener:
            host = SharedHost if ready.shares_process else ForkingHost
            # Where a process has one session, it gives back at rest what speaking took: a third of its memory.
            on_rest = (lambda: None) if ready.shares_process else heap.trim
            serve = partial(serve_connection, offer=offer, on_rest=on_rest)
            host(listener, serve, settings.num_spare).run(ready)
    finally:
        _remove(path)


def _open_offer(settings: WorkerSettings) -> tuple[Offer, WorkersReady]:
    """All that sessions share, open and warm, and what the server is told of it. Raises MuseTalkError."""
    from musetalk_cli.serve.worker.capacity import measure_forked, measure_here
    from musetalk_cli.serve.worker.offer import Offer

    notes: list[str] = []
    offer = Offer(settings.config, settings.avatars, lambda line, *_: notes.append(line), settings.found)
    is_shared = settings.shares_process
    if is_shared is None:
        is_shared = offer.model != "warp" or sys.platform != "linux"
    offer.warm_up()
    max_sessions = None
    if settings.measures:
        max_sessions = measure_here(offer) if is_shared else measure_forked(offer)
    ready = WorkersReady(
        offer.describe(),
        offer.model,
        float(offer.first.frame_rate),
        is_shared,
        max_sessions,
        tuple(dict.fromkeys(notes)),
    )
    return offer, ready


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _remove(path: Path) -> None:
    """The sockets, ours and those of hosts before us, and their folder: the server may not be there to do it."""
    for each in path.parent.glob("*.sock"):
        each.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class SharedHost:
    """Runs each session in two threads of this process."""

    def __init__(self, listener: socket.socket, serve: Callable[[socket.socket], None], num_spare: int) -> None:
        self._listener = listener
        self._serve = serve
        self._threads: list[threading.Thread] = []

    def run(self, ready: WorkersReady) -> None:
        """Take connections until stdin ends, and then wait for the sessions."""
        gc.enable()
        _say(ready.to_json())
        while sys.stdin.fileno() not in _wait_for(sys.stdin.fileno(), self._listener.fileno()):
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                connection.setblocking(True)
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
                self._threads[-1].start()
        self._listener.close()
        deadline = time.monotonic() + LAST_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


class ForkingHost:
    """Keeps processes forked from this one ready; each takes one connection, and ends with it.

    They share what has been loaded here. One that crashes or is killed ends its own session only, and what a session
    used is free when its process has ended.
    """

    def __init__(self, listener: socket.socket, serve: Callable[[socket.socket], None], num_spare: int) -> None:
        self._listener = listener
        self._serve = serve
        self._num_spare = num_spare
        self._spare: set[int] = set()
        self._busy: set[int] = set()
        self._alive, self._keeps_alive = os.pipe()  # ends when this process does, however that comes
        self._taken, self._takes = os.pipe()  # numbers of processes that have taken a connection
        self._ended, self._wakes = os.pipe()  # a byte when a child has ended

    def run(self, ready: WorkersReady) -> None:
        """Fork until stdin ends, and then wait for the sessions."""
        os.set_blocking(self._wakes, False)
        os.set_blocking(self._ended, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()
        heap.trim()
        self._refill()
        _say(ready.to_json())
        while True:
            ready_fds = _wait_for(sys.stdin.fileno(), self._taken, self._ended)
            if sys.stdin.fileno() in ready_fds:
                break
            self._note_taken(ready_fds)
            if self._reap():
                time.sleep(FAILING_S)
            self._refill()
        self._end()

    def _note_taken(self, ready_fds: set[int]) -> None:
        if self._taken in ready_fds:
            data = os.read(self._taken, 4096)
            pids = {int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)}
            self._busy |= pids & self._spare  # one whose end was seen first is none of them any more
            self._spare -= pids

    def _reap(self) -> bool:
        """Forget children that have ended; whether one had taken no connection."""
        is_failing = False
        with contextlib.suppress(BlockingIOError):
            os.read(self._ended, 4096)
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                is_failing = is_failing or pid in self._spare
                self._spare.discard(pid)
                self._busy.discard(pid)
        return is_failing

    def _refill(self) -> None:
        while len(self._spare) < self._num_spare:
            pid = os.fork()
            if pid == 0:
                self._be_worker()
            self._spare.add(pid)

    def _be_worker(self) -> None:
        """Wait for a connection and serve it, in the child; never returns."""
        code = 1
        try:
            self._leave_parent()
            connection = self._accept()
            if connection is not None:
                self._serve(connection)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _leave_parent(self) -> None:
        """Give back what is the host's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (self._keeps_alive, self._taken, self._ended, self._wakes):
            os.close(fd)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        heap.use_small_pages()
        gc.enable()
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(MORE_LIKELY_KILLED)

    def _accept(self) -> socket.socket | None:
        """The first connection that no other process takes, None when the host has ended."""
        while self._alive not in _wait_for(self._alive, self._listener.fileno()):
            with contextlib.suppress(BlockingIOError, ConnectionError):
                connection, _ = self._listener.accept()
                connection.setblocking(True)
                os.write(self._takes, os.getpid().to_bytes(4, "little"))
                self._listener.close()
                for fd in (self._alive, self._takes):
                    os.close(fd)
                return connection
        return None

    def _end(self) -> None:
        """Let those that wait end, and wait for the sessions, which end with their connections."""
        self._listener.close()
        os.close(self._keeps_alive)
        deadline = time.monotonic() + LAST_S
        while time.monotonic() < deadline and self._spare | self._busy:
            _wait_for(self._ended, timeout_s=0.1)
            self._reap()
        for pid in self._spare | self._busy:
            os.kill(pid, signal.SIGKILL)


def _wait_for(*fds: int, timeout_s: float | None = None) -> set[int]:
    """Those that can be read, or have ended."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return {fd for fd, _ in poll.poll(None if timeout_s is None else 1000 * timeout_s)}


if __name__ == "__main__":
    raise SystemExit(main())
