"""A file in another container than MP4: an ffmpeg child repacks the encoded stream, without encoding."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from musetalk_cli.engine.outputs.fragments import Fragment
from musetalk_cli.engine.outputs.sinks import FileSink, as_sink_error
from musetalk_cli.engine.runtime.ffmpeg import FfmpegProcess, describe_status
from musetalk_cli.engine.runtime.stage import Aborted
from musetalk_cli.errors import SinkError
from musetalk_cli.system import pipes

# ffmpeg's options for what holds H.264 and AAC, by the file's suffix. A MOV in fragments plays after any ending.
FORMATS: dict[str, tuple[str, ...]] = {
    ".mov": ("-f", "mov", "-movflags", "frag_keyframe+empty_moov+default_base_moof"),
    ".mkv": ("-f", "matroska"),
}
WAKE_S, POLL_S = 0.1, 0.02
# A child that ends no file within this time is stuck.
CLOSE_S = 5.0


@dataclass(frozen=True)
class Remuxer:
    """What repacks: the path of ffmpeg, and the frame rate that it writes into the file, where it cannot tell."""

    ffmpeg: str
    frame_rate: Fraction


class RemuxedFileSink(FileSink):
    """A FileSink whose bytes go through ffmpeg. ``close`` waits until that has ended the file."""

    def __init__(self, destination: str, path: Path, remuxer: Remuxer, *, is_staged: bool = False) -> None:
        super().__init__(destination, path, is_staged=is_staged)
        self._remuxer = remuxer
        self._child: FfmpegProcess | None = None
        self._is_cancelled = False

    def write(self, fragment: Fragment) -> None:
        if fragment.is_trailer:  # the index of an MP4
            return
        if self._child is None:
            self._child = self._start()
            self._send(self._init_segment)
        self._send(fragment.data)
        self._has_fragments = True

    def cancel(self) -> None:
        self._is_cancelled = True
        if self._child is not None and not pipes.CAN_WAIT:  # nothing else frees a write that waits
            self._child.kill()

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        try:
            child.stdin.close()
            self._wait(child)
            status = child.wait() if not child.is_running else None
            problem = self._explain(child, status) if status else None
        finally:
            child.close()
        with as_sink_error(self.name):
            self._settle(is_final and problem is None)
        if problem and is_whole:
            raise SinkError(f"cannot write {self.name}: {problem}", hint="choose another place with -o, or an .mp4")

    def _start(self) -> FfmpegProcess:
        with as_sink_error(self.name):
            os.close(self._create())
            child = FfmpegProcess(build_remux_args(self._remuxer, self._working), stdin=subprocess.PIPE)
            pipes.unblock(child.stdin)
            return child

    def _send(self, data: bytes) -> None:
        assert self._child is not None  # noqa: S101 - it has begun
        fd, view = self._child.stdin.fileno(), memoryview(data)
        while view:
            if self._is_cancelled:
                raise Aborted("sink")
            try:
                if pipes.wait_writable(fd, WAKE_S):
                    view = pipes.write_some(fd, view)
            except BlockingIOError:
                continue
            except BrokenPipeError:  # no reader that has gone, but a child that failed
                problem = self._explain(self._child, self._child.wait())
                raise SinkError(f"cannot write {self.name}: {problem}", hint="choose another place with -o") from None

    def _wait(self, child: FfmpegProcess) -> None:
        deadline = time.monotonic() + CLOSE_S
        while child.is_running and time.monotonic() < deadline and not self._is_cancelled:
            time.sleep(POLL_S)

    def _explain(self, child: FfmpegProcess, status: int) -> str:
        return child.error or f"ffmpeg {describe_status(status)}"


def build_remux_args(remuxer: Remuxer, path: Path) -> list[str]:
    """ffmpeg's arguments: fragmented MP4 on stdin, repacked into the file, whose suffix names its format."""
    quiet = ["-hide_banner", "-nostats", "-loglevel", "level+warning"]
    source = ["-f", "mp4", "-i", "pipe:0", "-map", "0", "-c", "copy", "-r", str(remuxer.frame_rate)]
    return [remuxer.ffmpeg, *quiet, "-y", *source, *FORMATS[path.suffix.lower()], f"file:{path}"]
