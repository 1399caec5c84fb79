"""Destinations that speak another protocol: an ffmpeg child for each repacks the encoded stream, without encoding."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from urllib.parse import urlsplit

from musetalk_cli.engine.ffmpeg_process import FfmpegProcess, describe_status
from musetalk_cli.engine.fragments import Piece
from musetalk_cli.engine.targets import Target
from musetalk_cli.errors import EncoderError, SinkError

PLAYLIST = "index.m3u8"
# A child that takes nothing for this long is stuck on its network.
FREEZE_S = 5.0
CONNECT_S = 10.0
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 0.5, 10.0
WAKE_S = 0.1
HLS_SEGMENT_S, HLS_NUM_SEGMENTS = 2, 6
TIMEOUT_US = 5_000_000
UDP_PACKET_BYTES = 1316  # seven transport packets, what fits into an Ethernet frame


@dataclass(frozen=True)
class Destination:
    """Where a remuxer sends to: ``name`` is what may be shown of it, without stream keys and passphrases."""

    name: str
    url: str
    options: tuple[str, ...]
    is_folder: bool = False


def parse_destination(text: str, *, overwrite: bool) -> Destination | None:
    """What ``-o`` names, or None for what is written as an MP4 (a file, a pipe, standard output).

    Raises SinkError for an address that lacks something, an unknown scheme, or a folder that holds another stream.
    """
    scheme = text.split("://", 1)[0].lower() if "://" in text else ""
    if scheme in ("rtmp", "rtmps"):
        _check_host(text)
        options = ("-f", "flv", "-flvflags", "no_duration_filesize", "-rw_timeout", str(TIMEOUT_US))
        return Destination(_hide_key(text), text, options)
    if scheme in ("udp", "srt"):
        _check_host(text)
        _check_port(text)
        url = f"{text}{'&' if '?' in text else '?'}pkt_size={UDP_PACKET_BYTES}" if "pkt_size=" not in text else text
        transport = ("-f", "mpegts", "-muxdelay", "0", "-muxpreload", "0", "-mpegts_flags", "+resend_headers")
        return Destination(text.split("?")[0], url, transport)
    if scheme:
        raise SinkError(
            f"cannot stream to '{scheme}://'", hint="known are rtmp, rtmps, udp, srt, a file, a folder for HLS, and -"
        )
    is_folder = text.endswith("/") or (text not in ("", "-") and Path(text).is_dir())
    return _hls_destination(text, overwrite) if is_folder or text.lower().endswith(".m3u8") else None


def _hls_destination(text: str, overwrite: bool) -> Destination:
    playlist = Path(text) if text.lower().endswith(".m3u8") else Path(text) / PLAYLIST
    folder = playlist.parent
    if playlist.exists() and not overwrite:
        raise SinkError(f"{playlist} exists already", hint="give another folder with -o, or --overwrite")
    if not folder.is_dir() and not folder.parent.is_dir():
        raise SinkError(f"there is no folder {folder.parent}", hint="create it first, or choose another")
    if folder.exists() and (not folder.is_dir() or not os.access(folder, os.W_OK)):
        raise SinkError(f"cannot write into {folder}", hint="choose another folder with -o")
    if "%" in str(folder.resolve()) + playlist.stem:
        raise SinkError(f"cannot write HLS to {text}: ffmpeg takes its % for a number", hint="choose a name without %")
    # Absolute and with its scheme: a name that begins with a dash is no option, and one with a colon no protocol.
    base = f"file:{folder.resolve()}"
    lengths = ("-hls_time", str(HLS_SEGMENT_S), "-hls_list_size", str(HLS_NUM_SEGMENTS))
    flags = ("-hls_flags", "delete_segments+append_list+independent_segments+temp_file")
    files = ("-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", f"{playlist.stem}.init.mp4")
    # Absolute, but without its scheme: ffmpeg would not find it again when it is to be deleted.
    names = ("-hls_segment_filename", f"{folder.resolve()}/{playlist.stem}.%05d.m4s")
    options = ("-f", "hls", *lengths, *flags, *files, *names)
    return Destination(str(playlist), f"{base}/{playlist.name}", options, is_folder=True)


def _make_room(playlist: Path) -> None:
    """The folder of an HLS stream, without an older one of that name, to which ffmpeg would append. Raises OSError."""
    playlist.parent.mkdir(exist_ok=True)
    if playlist.exists():
        for old in (playlist, *playlist.parent.glob(f"{escape(playlist.stem)}.[0-9]*.m4s")):
            old.unlink(missing_ok=True)


def _check_host(text: str) -> None:
    try:
        has_host = bool(urlsplit(text).hostname)
    except ValueError:
        has_host = False
    if not has_host and not re.match(r"(udp|srt)://:\d", text):
        raise SinkError(f"{_hide_key(text)} names no host", hint="such as rtmp://host/live/key or udp://host:5000")


def _check_port(text: str) -> None:
    try:
        port = urlsplit(text).port
    except ValueError:
        port = None
    if not port:
        raise SinkError(f"{text.split('?')[0]} lacks a port", hint="such as udp://239.0.0.1:5000")


def _hide_key(text: str) -> str:
    """An RTMP address without its last part, which is a password in all but name."""
    address = text.split("?")[0]
    parts = address.split("/")
    return "/".join([*parts[:-1], "…"]) if len(parts) > 4 else address


def build_remux_args(ffmpeg: str, destination: Destination) -> list[str]:
    """ffmpeg's arguments: a fragmented MP4 on stdin, repacked for the destination."""
    # Not nobuffer too: it throws away what was read to look at the stream, a whole group of pictures.
    at_once = ["-probesize", "32", "-analyzeduration", "0"]
    quiet = ["-hide_banner", "-nostats", "-loglevel", "level+info"]
    copy = ["-map", "0", "-c", "copy", "-flush_packets", "1"]
    return [ffmpeg, *quiet, "-f", "mp4", *at_once, "-i", "pipe:0", *copy, *destination.options, destination.url]


class RemuxTarget(Target):
    """A network address or an HLS folder behind an ffmpeg child of its own.

    A child that ends or is stuck is replaced, after a back-off, and the stream goes on there with the next keyframe.
    """

    def __init__(self, destination: Destination, ffmpeg: str, tell: Callable[[str], None]) -> None:
        super().__init__(destination.name, tell)
        self._destination = destination
        self._ffmpeg = ffmpeg
        self._child: FfmpegProcess | None = None
        self._has_lived = False

    @property
    def where(self) -> str | None:
        return self.name if self._has_lived else None

    @property
    def is_hopeless(self) -> bool:
        return self._state == "gone" or (self.has_failed and not self._has_lived)

    def cancel(self) -> None:
        super().cancel()
        if (child := self._child) is not None:
            child.kill()

    def _deliver(self) -> None:
        back_off_s = FIRST_BACK_OFF_S
        while (first := self.ring.take()) is not None:
            if not first.is_keyframe:
                continue
            started = time.monotonic()
            problem = self._serve(first)
            if problem is None or self.ring.is_cancelled:
                return
            if self.ring.is_closing:
                self.error = self._describe(problem)
                self._tell(f"{self.name}: its end is missing: {problem}")
                return
            if time.monotonic() - started > LONGEST_BACK_OFF_S:
                back_off_s = FIRST_BACK_OFF_S
            self._fail(problem, back_off_s)
            self.ring.pause(back_off_s)
            back_off_s = min(2 * back_off_s, LONGEST_BACK_OFF_S)
            self.ring.skip_to_newest()

    def _fail(self, problem: str, back_off_s: float) -> None:
        is_news = not self.has_failed or self._state == "live"
        self.error = self._describe(problem)
        self.has_failed = True
        self._state = "retrying"
        if is_news:
            self._tell(f"{self.name}: {problem}; trying again from now on, at first after {back_off_s} s")

    def _describe(self, problem: str) -> SinkError:
        hint = "check the folder" if self._destination.is_folder else "check the address, and that it listens"
        return SinkError(f"cannot stream to {self.name}: {problem}", hint=hint)

    def _serve(self, first: Piece) -> str | None:
        """Feed one child until the stream ends well (None) or the child does not (what it said)."""
        try:
            if self._destination.is_folder and not self._has_lived:
                _make_room(Path(self._destination.url.removeprefix("file:")))
            child = FfmpegProcess(build_remux_args(self._ffmpeg, self._destination), stdin=subprocess.PIPE)
        except (EncoderError, OSError) as error:
            return str(error)
        self._child = child
        try:
            os.set_blocking(child.stdin.fileno(), False)
            problem = self._feed(child, first)
            child.stdin.close()
            return problem or self._wait_for_end(child)
        finally:
            self._child = None
            child.close()

    def _feed(self, child: FfmpegProcess, first: Piece) -> str | None:
        piece: Piece | None = first
        data = self._header + first.data
        started = time.monotonic()
        while piece is not None:
            try:
                if not self._write(child.stdin.fileno(), data):
                    return f"it takes nothing any more (for {FREEZE_S:.0f} s)"
            except BrokenPipeError:
                return self._explain(child)
            self._note_connection(child, len(data))
            if self._state != "live" and time.monotonic() - started > CONNECT_S:
                return f"no answer within {CONNECT_S:.0f} s"
            piece = self.ring.take()
            data = piece.data if piece else b""
        return None

    def _note_connection(self, child: FfmpegProcess, num_bytes: int) -> None:
        """Bytes count once the child has opened its output, which it says on stderr."""
        if self._state == "live":
            self._note(num_bytes)
        elif any("Output #0" in line for line in child.log):
            if self._has_lived:
                self._num_restarts += 1
                self._tell(f"{self.name}: goes on")
            self._has_lived = True
            self.error = None
            self._note(num_bytes)

    def _write(self, fd: int, data: bytes) -> bool:
        """Write it all, without blocking for good; False when the child takes nothing for too long."""
        view, moved_at = memoryview(data), time.monotonic()
        while view:
            if select.select([], [fd], [], WAKE_S)[1]:
                try:
                    view = view[os.write(fd, view) :]
                    moved_at = self._moved_at = time.monotonic()
                except BlockingIOError:
                    continue
            elif time.monotonic() - moved_at > FREEZE_S or self.ring.is_cancelled:
                return False
        return True

    def _wait_for_end(self, child: FfmpegProcess) -> str | None:
        """Let the child finish what it holds, for a while; what it said if it could not."""
        deadline = time.monotonic() + FREEZE_S
        while child.is_running and time.monotonic() < deadline and not self.ring.is_cancelled:
            time.sleep(0.02)
        return self._explain(child) if not child.is_running and child.wait() else None

    def _explain(self, child: FfmpegProcess) -> str:
        status = child.wait()
        errors = [line for line in child.log if "[error]" in line or "[fatal]" in line]
        said = errors[0].split("] ")[-1] if errors else f"ffmpeg {describe_status(status)}"
        return said.replace(self._destination.url, self.name).removeprefix(f"{self.name}: ")
