"""Commands for a stream that runs, one per line: ``clear``, ``mute``, ``stop``."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.errors import ConfigError, SessionError, system_words

if TYPE_CHECKING:
    from musetalk_cli.engine.pipeline import Pipeline
    from musetalk_cli.engine.types.messages import Tell

MAX_LINE_BYTES = 1000
MAX_PEERS = 8  # further ones wait until one has gone
MAX_SHOWN = 40  # characters of a line that is not understood


@dataclass
class Peer:
    """Somebody who sends commands; ``connection`` takes the replies, where there is one."""

    fd: int
    connection: socket.socket | None = None
    rest: bytes = b""
    is_skipping: bool = False  # until the end of a line that is too long


class Control:
    """Reads commands in a thread of its own, from ``start`` to ``close``.

    Args:
        where: the number of an open descriptor, the path of a FIFO, or a path at which a Unix socket (mode 0600) is
            made now and removed at the end.

    Raises:
        ConfigError: nothing can be read there.
    """

    def __init__(self, where: str) -> None:
        if sys.platform == "win32":  # it has no FIFO in a folder, and passes no open descriptor
            raise ConfigError("--control does not work on Windows", hint="the keys c and m do what clear and mute do")
        self._listener: socket.socket | None = None
        self._path: str | None = None
        self._peers: dict[int, Peer] = {}
        if where.isdecimal():
            self._add_descriptor(int(where))
        elif _is_fifo(where):
            # With a writer of our own, it does not end when others close it.
            self._peers = {fd: Peer(fd) for fd in [os.open(where, os.O_RDWR | os.O_NONBLOCK)]}
        else:
            self._listener, self._path = _open_socket(where), where
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="musetalk-control", daemon=True)

    def start(self, pipeline: Pipeline, tell: Tell) -> None:
        self._pipeline, self._tell = pipeline, tell
        self._thread.start()

    def close(self) -> None:
        if self._wake_write < 0:
            return
        os.write(self._wake_write, b".")
        if self._thread.ident is not None:
            self._thread.join()
        for peer in list(self._peers.values()):
            self._drop(peer)
        if self._listener:
            self._listener.close()
        if self._path:
            with contextlib.suppress(OSError):
                Path(self._path).unlink()
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._wake_write = -1

    def _add_descriptor(self, number: int) -> None:
        import fcntl

        try:
            mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
        except (OSError, OverflowError):
            mode = os.O_WRONLY
        if mode == os.O_WRONLY or number <= 2:  # those are the voice, the video and the messages
            hint = "open one from 3 on: musetalk stream … --control 3 3< FIFO"
            raise ConfigError(f"--control: {number} is no descriptor that commands can be read from", hint=hint)
        is_socket = stat.S_ISSOCK(os.fstat(number).st_mode)
        self._peers[number] = Peer(number, socket.socket(fileno=number) if is_socket else None)

    def _run(self) -> None:
        while True:
            waiting = [self._wake_read, *self._peers]
            if self._listener and len(self._peers) < MAX_PEERS:
                waiting.append(self._listener.fileno())
            ready = _wait_for(waiting)
            if self._wake_read in ready:
                return
            for fd in ready:
                if fd in self._peers:
                    self._read(self._peers[fd])
                elif self._listener:
                    self._accept(self._listener)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connection.setblocking(False)
            self._peers[connection.fileno()] = Peer(connection.fileno(), connection)

    def _read(self, peer: Peer) -> None:
        try:
            data = os.read(peer.fd, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, rest = (peer.rest + data).split(b"\n")
        for line in lines if data else [*lines, rest]:
            if not peer.is_skipping and line.strip():
                self._reply(peer, self._obey(line))
            peer.is_skipping = False
        peer.rest = rest
        if len(rest) > MAX_LINE_BYTES:
            if not peer.is_skipping:
                self._reply(peer, self._refuse("a line is too long"))
            peer.rest, peer.is_skipping = b"", True
        if not data:
            self._drop(peer)

    def _obey(self, line: bytes) -> str:
        command = line.decode("utf-8", "replace").strip()
        if len(line) > MAX_LINE_BYTES:
            return self._refuse("a line is too long")
        if command == "clear":
            try:
                return f"ok clear {interrupt(self._pipeline, self._tell):.2f}"
            except SessionError as error:
                return self._refuse(str(error))
        if command == "mute":
            is_muted = self._pipeline.toggle_mute()
            self._tell("muted" if is_muted else "unmuted")
            return f"ok mute {'on' if is_muted else 'off'}"
        if command == "stop":
            self._tell("stopping: finishing what is under way")
            self._pipeline.stop()
            return "ok stop"
        return self._refuse(f"unknown command {command[:MAX_SHOWN]!r}")

    def _refuse(self, reason: str) -> str:
        self._tell(f"control: {reason}")
        return f"error {reason}"

    def _reply(self, peer: Peer, text: str) -> None:
        """To a socket, if it takes it now; who does not read replies gets none."""
        if peer.connection:
            with contextlib.suppress(OSError):
                peer.connection.send(f"{text}\n".encode(), socket.MSG_DONTWAIT)

    def _drop(self, peer: Peer) -> None:
        del self._peers[peer.fd]
        if peer.connection:
            peer.connection.close()
        else:
            with contextlib.suppress(OSError):
                os.close(peer.fd)


def _wait_for(fds: Sequence[int]) -> list[int]:
    """Those that can be read, or have ended. ``select`` takes none from 1024 on, as a program with many may pass."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll()]


def interrupt(pipeline: Pipeline, tell: Tell) -> float:
    """Interrupt the voice and tell of it. Returns the seconds of it that have left. Raises SessionError."""
    spoken = pipeline.clear()
    position_s = pipeline.time_s(max((each.num_frames for each in spoken), default=0))
    tell(f"interrupted after {position_s:.1f} s")
    return position_s


def _is_fifo(where: str) -> bool:
    try:
        return stat.S_ISFIFO(Path(where).stat().st_mode)
    except (OSError, ValueError):
        return False


def _open_socket(where: str) -> socket.socket:
    _remove_dead(where)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    mask = os.umask(0o177)
    try:
        listener.bind(where)
        listener.listen(MAX_PEERS)
    except (OSError, ValueError) as error:
        listener.close()
        hint = "give an open descriptor, a FIFO, or a path of at most 100 bytes that is free"
        raise ConfigError(f"--control {where}: {system_words(error)}", hint=hint) from None
    finally:
        os.umask(mask)
    return listener


def _remove_dead(where: str) -> None:
    """Remove a socket that a run which was killed has left behind."""
    with contextlib.suppress(OSError, ValueError):
        if not Path(where).is_socket():
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(where)
            except ConnectionRefusedError:
                Path(where).unlink()
