"""Destinations that speak another protocol: an ffmpeg child for each repacks the encoded stream, without encoding."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from fractions import Fraction

from musetalk_cli.engine.outputs.destinations import Destination
from musetalk_cli.engine.outputs.flv import FlvPacker
from musetalk_cli.engine.outputs.fragments import Fragment
from musetalk_cli.engine.outputs.hls import SegmentCheck
from musetalk_cli.engine.outputs.targets import Target
from musetalk_cli.engine.runtime.ffmpeg import FfmpegProcess, describe_status
from musetalk_cli.engine.types.addresses import hide_address
from musetalk_cli.errors import EncoderError, SinkError, system_words
from musetalk_cli.system import pipes

# A child that takes nothing for this long is stuck on its network.
FREEZE_S = 5.0
CONNECT_S = 10.0
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 0.5, 10.0
WAKE_S = 0.1
# It reads until it has met both streams, which is at once, but no further than this.
PROBE_BYTES = 1_000_000


def build_remux_args(ffmpeg: str, destination: Destination, options: Sequence[str] = ()) -> list[str]:
    """ffmpeg's arguments: FLV on stdin, repacked for the destination, with ``options`` beside those it always has."""
    # Not nobuffer too: it throws away what was read while probing, a group of frames.
    at_once = ["-probesize", str(PROBE_BYTES), "-fpsprobesize", "0"]
    quiet = ["-hide_banner", "-nostats", "-loglevel", "level+info"]
    copy = ["-map", "0", "-c", "copy", "-flush_packets", "1"]
    return [
        ffmpeg,
        *quiet,
        "-f",
        "flv",
        *at_once,
        "-i",
        "pipe:0",
        *copy,
        *destination.options,
        *options,
        destination.url,
    ]


class RemuxTarget(Target):
    """A network address or an HLS folder behind an ffmpeg child of its own.

    A child that ends or is stuck is replaced, after a back-off, and the stream goes on there with the next keyframe.
    """

    def __init__(
        self, destination: Destination, ffmpeg: str, frame_rate: Fraction, tell: Callable[[str], None]
    ) -> None:
        super().__init__(destination.name, tell)
        self._frame_rate = frame_rate
        self._destination = destination
        self._ffmpeg = ffmpeg
        self._child: FfmpegProcess | None = None
        self._has_lived = False
        self._has_created = False  # the folder
        self._num_early_bytes = 0
        self._check = SegmentCheck(destination.hls) if destination.hls else None

    @property
    def where(self) -> str | None:
        return self.name if self._has_lived else None

    @property
    def is_hopeless(self) -> bool:
        return self._state == "gone" or (self.has_failed and not self._has_lived)

    def _drop(self) -> None:
        super()._drop()
        if (child := self._child) is not None:
            child.kill()

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        super().close(is_whole=is_whole, is_final=is_final)
        if self.is_cut_off and self._destination.hls is not None:
            with contextlib.suppress(OSError):
                self._destination.hls.end()
        if is_whole and is_final and not self._has_lived and self.error is None and not self.is_cut_off:
            self.error = self._describe("it was never reached")

    def discard(self) -> None:
        folder = self._destination.hls
        if folder is None or not self._has_lived:
            return
        with contextlib.suppress(OSError):
            folder.remove() if self._has_created else folder.clear()
            self._has_lived = False

    def _deliver(self) -> None:
        back_off_s = FIRST_BACK_OFF_S
        while (first := self.queue.take()) is not None:
            if not first.is_keyframe:
                continue
            started = time.monotonic()
            problem = self._serve(first)
            if problem is None or self.queue.is_cancelled:
                return
            if self.queue.is_closing:
                self.error = self._describe(problem)
                self._tell(f"{self.name}: its end is missing: {problem}")
                self._drop_remains()
                return
            if time.monotonic() - started > LONGEST_BACK_OFF_S:
                back_off_s = FIRST_BACK_OFF_S
            self._fail(problem, back_off_s)
            self.queue.pause(back_off_s)
            back_off_s = min(2 * back_off_s, LONGEST_BACK_OFF_S)
            self.queue.skip_to_newest()

    def _drop_remains(self) -> None:
        if (folder := self._destination.hls) is not None:
            with contextlib.suppress(OSError):
                folder.drop_remains()
                self._has_lived = folder.playlist.exists()

    def _fail(self, problem: str, back_off_s: float) -> None:
        is_news = not self.has_failed or self._state == "live"
        self.error = self._describe(problem)
        self.has_failed = True
        self._state = "retrying"
        if is_news and self._has_lived:  # of one that was never reached, whoever decides whether to go on tells
            self._tell(f"{self.name}: {problem}; trying again from now on, at first after {back_off_s} s")

    def _describe(self, problem: str) -> SinkError:
        hint = "check the folder" if self._destination.hls else "check the address, and that a server is running there"
        return SinkError(f"cannot stream to {self.name}: {problem}", hint=hint)

    def _serve(self, first: Fragment) -> str | None:
        """Feed children until the stream ends well (None) or one of them does not (its error)."""
        problem, following = self._serve_one(first)
        while problem is None and following is not None:
            self._has_lived = True
            problem, following = self._serve_one(following)
        return problem

    def _serve_one(self, first: Fragment) -> tuple[str | None, Fragment | None]:
        """Feed one child: its error if it ended badly, and the next one's first fragment if it can count no further."""
        try:
            options = self._prepare()
            child = FfmpegProcess(build_remux_args(self._ffmpeg, self._destination, options), stdin=subprocess.PIPE)
        except (EncoderError, SinkError) as error:
            return str(error), None
        except OSError as error:
            return f"{error.filename}: {system_words(error)}", None
        self._child, self._num_early_bytes = child, 0
        try:
            pipes.unblock(child.stdin)
            problem, following = self._feed(child, first)
            child.stdin.close()
            problem = problem or self._wait_for_end(child)
            if problem is None and not self.has_failed:  # a short stream ends before that was seen
                self._note_connection(child, 0)
            return problem, following
        except OSError as error:  # the system refuses what a pipe needs
            return system_words(error), None
        finally:
            self._child = None
            child.close()

    def _prepare(self) -> tuple[str, ...]:
        """Make a folder ready for a child; options that it needs. Raises OSError, or SinkError on a disk still full."""
        folder = self._destination.hls
        if folder is None:
            return ()
        self._has_created = folder.create() or self._has_created
        if not self._has_lived:
            folder.clear()
            return ()
        options = folder.tidy()
        if not folder.has_space():
            raise SinkError("no space left")
        return options

    def _feed(self, child: FfmpegProcess, first: Fragment) -> tuple[str | None, Fragment | None]:
        packer = FlvPacker(self._init_segment, self._frame_rate)
        fragment: Fragment | None = first
        data = packer.begin() + packer.pack(first)
        started = time.monotonic()
        while fragment is not None:
            if problem := self._send(child, data):
                return problem, None
            if self._state != "live" and time.monotonic() - started > CONNECT_S:
                return f"no answer within {CONNECT_S:.0f} s", None
            if fragment.is_keyframe and (damage := self._find_damage()):
                return damage, None
            fragment = self.queue.take()
            if fragment and fragment.is_keyframe and packer.is_full:
                return None, fragment
            data = packer.pack(fragment) if fragment else b""
        return None, None

    def _send(self, child: FfmpegProcess, data: bytes) -> str | None:
        try:
            write = self._write if pipes.CAN_WAIT else self._write_watched
            if not write(child, data):
                return f"it takes nothing any more (for {FREEZE_S:.0f} s)"
        except BrokenPipeError:
            return self._explain(child)
        self._note_connection(child, len(data))
        return None

    def _find_damage(self, *, is_end: bool = False) -> str | None:
        return self._check.find_damage(is_end=is_end) if self._check else None

    def _note_connection(self, child: FfmpegProcess, num_bytes: int) -> None:
        """Bytes count once the child has opened its output, which it says on stderr; then, those before, too."""
        if self._state == "live":
            self._note(num_bytes)
            return
        self._num_early_bytes += num_bytes
        if any("Output #0" in line for line in child.log):
            if self._has_lived:
                self._num_restarts += 1
                self._tell(f"{self.name}: goes on")
            self._has_lived = True
            self.error = None
            self._note(self._num_early_bytes)

    def _write(self, child: FfmpegProcess, data: bytes) -> bool:
        """Write it all, without blocking for good; False when the child takes nothing for too long."""
        fd, view, moved_at = child.stdin.fileno(), memoryview(data), time.monotonic()
        while view:
            if pipes.wait_writable(fd, WAKE_S):
                try:
                    view = pipes.write_some(fd, view)
                    moved_at = self._moved_at = time.monotonic()
                except BlockingIOError:
                    continue
            elif time.monotonic() - moved_at > FREEZE_S or self.queue.is_cancelled:
                return False
        return True

    def _write_watched(self, child: FfmpegProcess, data: bytes) -> bool:
        """The same where a write cannot be told to wait no longer: killing the child ends it."""
        is_frozen = threading.Event()

        def free() -> None:
            is_frozen.set()
            child.kill()

        watchdog = threading.Timer(FREEZE_S, free)
        watchdog.start()
        try:
            pipes.write_all(child.stdin.fileno(), data)
        except BrokenPipeError:
            if not is_frozen.is_set():
                raise
        finally:
            watchdog.cancel()
            watchdog.join()
        self._moved_at = time.monotonic()
        return not is_frozen.is_set()

    def _wait_for_end(self, child: FfmpegProcess) -> str | None:
        """Let the child finish what it holds, for a while; its error if it could not."""
        deadline = time.monotonic() + FREEZE_S
        while child.is_running and time.monotonic() < deadline and not self.queue.is_cancelled:
            time.sleep(0.02)
        if child.is_running and not self.queue.is_cancelled:
            return f"it was not ended within {FREEZE_S:.0f} s"
        if child.is_running:
            return self._find_damage()
        return self._explain(child) if child.wait() else self._find_damage(is_end=True)

    def _explain(self, child: FfmpegProcess) -> str:
        status = child.wait()
        error = child.error or f"ffmpeg {describe_status(status)}"
        shown = re.sub(r"\?tcp_nodelay=\d", "", hide_address(error, self._destination.url))  # ffmpeg's own
        return shown.removeprefix(f"{self.name}: ")
