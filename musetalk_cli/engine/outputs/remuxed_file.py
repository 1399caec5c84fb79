"""A file in another container than MP4: an ffmpeg child repacks the encoded stream, without encoding."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from musetalk_cli.engine.outputs.fragments import Fragment
from musetalk_cli.engine.outputs.sinks import FileSink, as_sink_error
from musetalk_cli.engine.runtime.ffmpeg import FfmpegProcess, describe_status
from musetalk_cli.engine.runtime.files import remove_abandoned, staged_name
from musetalk_cli.engine.runtime.stage import Aborted
from musetalk_cli.errors import SinkError
from musetalk_cli.option_names import option
from musetalk_cli.system import pipes

# ffmpeg's options for what holds H.264 and AAC, by the file's suffix. A MOV in fragments plays after any ending; its
# header waits for the first of them, as it says where times below zero begin.
FORMATS: dict[str, tuple[str, ...]] = {
    ".mov": ("-f", "mov", "-movflags", "frag_keyframe+delay_moov+default_base_moof"),
    ".mkv": ("-f", "matroska"),
}
# What stands before the first frames: an mdat box, a Cluster. Headers are far shorter than what is searched.
FIRST_FRAMES = {".mov": b"mdat", ".mkv": b"\x1f\x43\xb6\x75"}
SEARCHED_BYTES = 1 << 16
WAKE_S, POLL_S = 0.1, 0.02
# A child that ends no file within this time is stuck.
CLOSE_S = 10.0


class Remuxer(NamedTuple):
    """What repacks: the path of ffmpeg, and the frame rate that it writes into the file, where it cannot tell."""

    ffmpeg: str
    frame_rate: Fraction


class RemuxedFileSink(FileSink):
    """A FileSink whose bytes go through ffmpeg. ``close`` waits until that has ended the file.

    ffmpeg writes under a name of ours until something in it plays: what is killed before leaves no file that does not.
    """

    def __init__(self, destination: str, path: Path, remuxer: Remuxer, *, is_staged: bool = False) -> None:
        super().__init__(destination, path, is_staged=is_staged)
        self._remuxer = remuxer
        self._child: FfmpegProcess | None = None
        self._is_cancelled = False
        # Windows renames no file that another process has open.
        self._staged = None if sys.platform == "win32" else staged_name(path)

    def write(self, fragment: Fragment) -> None:
        if fragment.is_trailer:  # the index of an MP4
            return
        if self._child is None:
            self._child = self._start()
            self._send(self._init_segment)
        self._send(fragment.data)
        with as_sink_error(self.name):
            self._show()

    def cancel(self) -> None:
        self._is_cancelled = True
        if self._child is not None and not pipes.CAN_WAIT:  # nothing else frees a write that waits
            self._child.kill()

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        child, self._child = self._child, None
        if child is None:
            self._drop_unplayable()
            return
        try:
            child.stdin.close()
            self._wait(child)
            status = None if child.is_running else child.wait()
            problem = f"ffmpeg needs more than {CLOSE_S:g} s to end it" if status is None else None
            problem = self._explain(child, status) if status else problem
        finally:
            child.close()
            try:
                with as_sink_error(self.name):
                    self._show()
            finally:
                self._drop_unplayable()
        with as_sink_error(self.name):
            self._settle(is_final and problem is None and self._has_fragments)
        if problem and is_whole:
            if self._is_cancelled:
                raise Aborted(self.name)
            raise SinkError(
                f"cannot write {self.name}: {problem}", hint=f"choose another place with {option('-o')}, or an .mp4"
            )

    def _start(self) -> FfmpegProcess:
        with as_sink_error(self.name):
            remove_abandoned(self._path)
            if self._staged is None:
                os.close(self._create())
            else:  # nothing of the name is touched before something plays
                self._working = self._staged
                os.close(self._create_as(self._staged))
            written = self._staged or self._working
            child = FfmpegProcess(build_remux_args(self._remuxer, written, self._path.suffix), stdin=subprocess.PIPE)
            pipes.unblock(child.stdin)
            return child

    def _show(self) -> None:
        """Give the file its name as soon as it plays."""
        if self._has_fragments or not _plays(self._staged or self._working, self._path.suffix):
            return
        if self._staged is not None:
            self._take_name(self._staged)
            self._staged = None
        self._has_fragments = True

    def _take_name(self, staged: Path) -> None:
        """Give the staged file its name, or a free one beside an older file. Raises OSError."""
        for path in self._names():
            try:
                os.link(staged, path)
            except FileExistsError:
                if path == self._path:
                    raise
                continue
            except OSError:  # not on this file system: for a moment an empty file has the name
                os.close(self._create())
                staged.replace(self._working)
                return
            self._working = path
            staged.unlink()
            return
        raise OSError(errno.EEXIST, "too many unfinished files beside it")

    def _drop_unplayable(self) -> None:
        if self._staged is not None:
            self._staged.unlink(missing_ok=True)
            self._staged = None

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
                raise SinkError(
                    f"cannot write {self.name}: {problem}", hint=f"choose another place with {option('-o')}"
                ) from None

    def _wait(self, child: FfmpegProcess) -> None:
        deadline = time.monotonic() + CLOSE_S
        while child.is_running and time.monotonic() < deadline and not self._is_cancelled:
            time.sleep(POLL_S)

    def _explain(self, child: FfmpegProcess, status: int) -> str:
        return child.error or f"ffmpeg {describe_status(status)}"


def _plays(path: Path, suffix: str) -> bool:
    """Whether ffmpeg has written a frame already, in a container of that suffix."""
    try:
        with path.open("rb") as file:
            data = file.read(SEARCHED_BYTES)
    except OSError:
        return False
    return data.find(FIRST_FRAMES[suffix.lower()]) >= 0


def build_remux_args(remuxer: Remuxer, path: Path, suffix: str) -> list[str]:
    """ffmpeg's arguments: fragmented MP4 on stdin, repacked into the file, in the format that a suffix names."""
    quiet = ["-hide_banner", "-nostats", "-loglevel", "level+warning"]
    # Without the tags, which are MP4's own: brands, and the names of its handlers.
    source = ["-f", "mp4", "-i", "pipe:0", "-map", "0", "-map_metadata", "-1", "-c", "copy"]
    output = ["-r", str(remuxer.frame_rate), "-flush_packets", "1", *FORMATS[suffix.lower()], f"file:{path}"]
    return [remuxer.ffmpeg, *quiet, "-y", *source, *output]
