"""What ``-o`` names: a file, a pipe or standard output, an address on the network, or a folder for HLS."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from musetalk_cli.engine.outputs.remuxed_file import FORMATS, RemuxedFileSink, Remuxer
from musetalk_cli.engine.outputs.sink_group import SinkGroup
from musetalk_cli.engine.outputs.sinks import FileSink, PipeSink, Sink, StdoutSink
from musetalk_cli.engine.outputs.whole_file import (
    ALPHA_SUFFIXES,
    SUFFIXES,
    WholeFileSink,
    WrittenBy,
    open_image_sequence,
)
from musetalk_cli.engine.types.addresses import show_address
from musetalk_cli.errors import SinkError, system_words
from musetalk_cli.hints import as_file, one_of, quote, suggest
from musetalk_cli.option_names import option
from musetalk_cli.system.names import find_name_problem

if TYPE_CHECKING:
    from musetalk_cli.engine.outputs.hls import HlsFolder

STDOUT = "-"
MP4_SUFFIXES = (".mp4", ".m4v")
FILE_SUFFIXES = (*MP4_SUFFIXES, *FORMATS, ".webm")  # of a video in one file
TIMEOUT_US = 5_000_000
SCHEMES = ("rtmp", "rtmps", "udp", "srt")
UDP_PACKET_BYTES = 1316  # seven transport packets, what fits into an Ethernet frame


class Destination(NamedTuple):
    """Where a remuxer sends to: ``name`` is what may be shown of it, without stream keys and passphrases."""

    name: str
    url: str
    options: tuple[str, ...]
    hls: HlsFolder | None = None


def parse_destination(text: str, *, overwrite: bool) -> Destination | None:
    """What ``-o`` names, or None for what is written as an MP4 (a file, a pipe, standard output).

    Raises SinkError for an address that lacks something, an unknown scheme, or a folder that holds another stream.
    """
    scheme = text.split("://", 1)[0].lower() if "://" in text else ""
    if scheme in ("rtmp", "rtmps"):
        _check_host(text)
        options = ("-f", "flv", "-flvflags", "no_duration_filesize", "-rw_timeout", str(TIMEOUT_US))
        return Destination(show_address(text), text, options)
    if scheme in ("udp", "srt"):
        _check_host(text)
        _check_port(text)
        url = f"{text}{'&' if '?' in text else '?'}pkt_size={UDP_PACKET_BYTES}" if "pkt_size=" not in text else text
        transport = ("-f", "mpegts", "-muxdelay", "0", "-muxpreload", "0", "-mpegts_flags", "+resend_headers")
        return Destination(show_address(text), url, transport)
    if scheme:
        supported = f"supported are {', '.join(SCHEMES)}, a file, a folder for HLS, and -"
        raise SinkError(f"cannot stream to '{scheme}://'", hint=suggest(scheme, SCHEMES, supported))
    from musetalk_cli.engine.outputs.hls import find_hls_folder  # what makes files has none

    folder = find_hls_folder(text, overwrite=overwrite)
    return Destination(str(folder.playlist), folder.url, folder.options, folder) if folder else None


def open_file_sink(
    destinations: Sequence[str],
    *,
    overwrite: bool,
    remuxer: Remuxer,
    is_staged: bool = False,
    input_: str | None = None,
    has_alpha: bool = False,
) -> Sink:
    """The sink of a whole file, or of several, from what ``-o`` names. Nothing is created before it begins.

    Args:
        destinations: their names, or - for standard output.
        overwrite: whether older files may be replaced.
        remuxer: makes files in other containers than MP4.
        is_staged: a file has its name only when it is whole.
        input_: the audio's path or address, for hints.
        has_alpha: whether the avatar is transparent, which a MOV then keeps.

    Raises:
        SinkError: also for what is made for live streams.
    """
    for destination in destinations:
        if "://" in destination or destination.endswith("/") or destination.lower().endswith(".m3u8"):
            given = "INPUT" if input_ is None or show_address(input_) != input_ else as_file(input_)
            hint = f"musetalk stream --input {given} -o {as_file(show_address(destination))} streams it"
            raise SinkError(f"cannot write {show_address(destination)}: render makes files", hint=hint)
    if len(set(destinations)) < len(destinations):
        raise SinkError("one output is named twice", hint="name each file once")
    sinks = [
        open_sink(destination, overwrite=overwrite, remuxer=remuxer, is_staged=is_staged, has_alpha=has_alpha)
        for destination in destinations
    ]
    alone = next((sink.name for sink in sinks if isinstance(sink, WrittenBy)), None)
    if alone is not None and len(sinks) > 1:
        raise SinkError(f"{alone} is encoded in another way than the other outputs", hint="render it by itself")
    return sinks[0] if len(sinks) == 1 else SinkGroup(sinks)


def open_sink(
    destination: str, *, overwrite: bool, remuxer: Remuxer, is_staged: bool = False, has_alpha: bool | None = None
) -> Sink:
    """Check a file or pipe and make its sink. Nothing is created before the sink begins.

    Args:
        destination: its name, or - for standard output.
        overwrite: whether an older file may be replaced.
        remuxer: makes files in other containers than MP4.
        is_staged: a file has its name only when it is whole.
        has_alpha: whether the avatar is transparent; None where frames are only repacked, as in a live stream.

    Raises:
        SinkError: it cannot be written there, or not in that format.
    """
    if not destination:
        raise SinkError("the output has no name", hint=f"name a file with {option('-o')}, or - for standard output")
    if destination in (STDOUT, "/dev/stdout"):
        return StdoutSink()
    try:
        return _open_path(destination, Path(destination).resolve(), overwrite, remuxer, is_staged, has_alpha)
    # A name too long, a loop of links, a folder without permission.
    except (OSError, RuntimeError, ValueError) as error:
        raise SinkError(f"cannot write {destination}: {system_words(error)}") from None


def _open_path(
    destination: str, path: Path, overwrite: bool, remuxer: Remuxer, is_staged: bool, has_alpha: bool | None
) -> Sink:
    if problem := find_name_problem(path.name):
        raise SinkError(f"cannot write {destination}: {problem}", hint="choose another name")
    if path.is_dir():
        raise SinkError(f"{destination} is a folder", hint="name a file in it, such as talk.mp4")
    if path.exists() and not path.is_file():
        return PipeSink(destination)
    suffix = path.suffix.lower()
    is_whole_file = has_alpha is not None and suffix in (*SUFFIXES, *(ALPHA_SUFFIXES if has_alpha else ()))
    if suffix not in (*MP4_SUFFIXES, *FORMATS) and not is_whole_file:
        raise _explain_suffix(destination)
    if path.exists() and not overwrite:
        raise SinkError(
            f"{destination} exists already", hint=f"give another name with {option('-o')}, or {option('--overwrite')}"
        )
    if not path.parent.is_dir():
        # Where a link that leads nowhere leads.
        parent = path.parent if Path(destination).is_symlink() else Path(destination).parent
        raise SinkError(f"there is no folder {quote(parent)}", hint="create it first, or choose another")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SinkError(f"no permission to write {destination}", hint=f"choose another place with {option('-o')}")
    if suffix == ".png":
        return open_image_sequence(destination, path, overwrite=overwrite)
    if is_whole_file:
        return WholeFileSink(destination, path, is_staged=is_staged)
    if suffix in FORMATS:
        return RemuxedFileSink(destination, path, remuxer, is_staged=is_staged)
    return FileSink(destination, path, is_staged=is_staged)


def _explain_suffix(destination: str) -> SinkError:
    name = Path(destination.rstrip("."))
    if name.name.startswith("."):
        name = name.with_name("talk")
    named = [f"{option('-o')} {as_file(name.with_suffix(suffix))}" for suffix in (".mp4", ".mov", ".mkv")]
    hint = f"{one_of(named)} makes a file"
    if not name.suffix:
        hint += f"; in musetalk stream, -o {as_file(name)}/ makes a folder for HLS"
        return SinkError(f"cannot write {destination}: its name does not say the format", hint=hint)
    if name.suffix.lower() == ".webm":
        hint = (
            f"{named[0]} makes an MP4; ffmpeg -i {as_file(name.with_suffix('.mp4'))} {as_file(destination)} converts it"
        )
        return SinkError(f"cannot write {destination}: WebM holds no H.264", hint=hint)
    return SinkError(f"cannot write {destination}: musetalk does not make {name.suffix} files", hint=hint)


def _check_host(text: str) -> None:
    try:
        has_host = bool(urlsplit(text).hostname)
    except ValueError:
        has_host = False
    if not has_host and not re.match(r"(udp|srt)://:\d", text):
        raise SinkError(f"{show_address(text)} names no host", hint="such as rtmp://host/live/key or udp://host:5000")


def _check_port(text: str) -> None:
    try:
        port = urlsplit(text).port
    except ValueError:
        port = None
    if not port:
        raise SinkError(f"{show_address(text)} lacks a port", hint="such as udp://239.0.0.1:5000")
