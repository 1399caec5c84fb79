"""Targets that go away while a stream runs, and come back."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from fixtures.programs import find_ffmpeg
from fixtures.servers import RtmpServer

AWAY_S = 10.0


class SrtReceiver:
    """An SRT listener that writes what it receives, a file for each start."""

    def __init__(self, folder: Path) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"srt://127.0.0.1:{free.getsockname()[1]}"
        self._folder = folder
        self._num_starts = 0
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._num_starts += 1
        received = self._folder / f"srt-{self._num_starts:03}.ts"
        source = [find_ffmpeg(), "-v", "error", "-nostdin", "-i", f"{self.address}?mode=listener"]
        self._child = subprocess.Popen([*source, "-c", "copy", str(received)], stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._child:
            self._child.kill()
            self._child.wait()
            self._child = None


def take_away_in_turn(
    targets: list[RtmpServer | SrtReceiver], every_s: float, is_over: threading.Event, note: Callable[[], None]
) -> None:
    """Kill one target after the other, one every ``every_s`` seconds, and start it again ten seconds later."""
    turn = 0
    while not is_over.wait(every_s - AWAY_S):
        target = targets[turn % len(targets)]
        target.kill()
        note()
        is_over.wait(AWAY_S)
        target.start()
        turn += 1
