"""Which track of a file is its video, and how its frames are to be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from musetalk_cli.engine.avatar.inputs.file_kinds import explain_heif, refuse_known
from musetalk_cli.engine.avatar.inputs.hdr import ORDINARY, Colours, colours_of
from musetalk_cli.engine.avatar.inputs.images import MAX_PIXELS, read_head
from musetalk_cli.engine.avatar.inputs.tracks import Pixels, choose_video, describe_file, find_containers, find_duration
from musetalk_cli.engine.runtime.ffmpeg import describe_status, find_error
from musetalk_cli.engine.runtime.ffmpeg_choice import explain_failure
from musetalk_cli.engine.types.formats import find_playlist
from musetalk_cli.engine.types.signatures import looks_like_heif
from musetalk_cli.errors import AvatarError
from musetalk_cli.hints import as_file

# Untagged video of this height and above is BT.709 in practice, below it BT.601, which is also what ffmpeg assumes.
HD_HEIGHT_PX = 720
# Transport and program streams.
NO_INDEX = frozenset({"mpegts", "mpeg"})
WANTED = "an avatar is made from an image or a video of a face"

_BT601 = ("bt470bg", "smpte170m")
_PLAIN = ("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p")
_HAS_ALPHA = re.compile(r"yuva|rgba|bgra|argb|abgr|gbrap|ya8|ya16|pal8")
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_ENCRYPTED = re.compile(r"encrypt|activation_bytes|decryption key|\b(?:drm[is]|enc[av])\b", re.IGNORECASE)
_DOLBY_VISION_5 = re.compile(r"^\[info\] +DOVI configuration record.*profile: 5\b")
# What ffmpeg says itself, or of a track. All else repeats the file: its title, its comments.
_SAID = re.compile(r"\[[^\]]+ @ |\[(?:warning|error|fatal|panic)\]|\[info\] +Stream #")


@dataclass(frozen=True)
class VideoTrack:
    """A file's default video track; attached images are none.

    ``index``: ffmpeg's number of it. ``duration_s``: of the file, None where it does not say. ``decoder``: the one that
    must be named, since ffmpeg's own loses the transparency; else empty. ``may_interlace``: whether frames may hold two
    fields. ``is_untagged_hd``: nothing says which matrix its colours have, and it is too large for BT.601.
    ``plain_space``: of planes of 8 bits whose matrix or range is not the avatar's, what the filter ``colorspace`` calls
    both: ("smpte170m", "tv"), by its tags or its size; else None. ``is_bt709``: planes as avatars have them: 4:2:0, 8
    bits, limited range, BT.709's matrix. ``has_no_index``: a seek may end behind the wanted place.
    """

    index: int
    duration_s: float | None = None
    decoder: str = ""
    has_alpha: bool = False
    may_interlace: bool = False
    is_untagged_hd: bool = False
    plain_space: tuple[str, str] | None = None
    is_bt709: bool = False
    colours: Colours = ORDINARY
    has_no_index: bool = False


def probe(path: Path, ffmpeg: str) -> VideoTrack:
    """Find a file's video track. Raises what ``read_log`` does."""
    return read_track(read_log(path, ffmpeg))


def read_log(path: Path, ffmpeg: str) -> list[str]:
    """What ffmpeg prints of a file with a video track.

    Raises AvatarError when there is none, or its frames are too large; EncoderError when ffmpeg does not work.
    """
    refuse_known(path)
    log, status = describe_file(path, ffmpeg, "-max_pixels", str(MAX_PIXELS))
    if not any("Input #0" in line for line in log) and (broken := explain_failure(ffmpeg)):
        raise broken
    if status < 0:
        raise AvatarError(f"{path} cannot be read: ffmpeg {describe_status(status)}")
    _check_input(path, log)
    if any("Invalid image size" in line or "Image size" in line for line in _said_of(path, log)):
        raise AvatarError(f"{path} has frames of more than {MAX_PIXELS // 1_000_000} million pixels")
    if any(_DOLBY_VISION_5.search(line) for line in log):
        raise AvatarError(
            f"{path} is Dolby Vision of profile 5, whose colours only its own decoders know",
            hint="export it as HDR10, HLG or SDR",
        )
    return log


def _check_input(path: Path, log: list[str]) -> None:
    """Raise AvatarError, with what helps, for what is no video at all."""
    if any(_ENCRYPTED.search(line) for line in _said_of(path, log)):
        raise AvatarError(f"{path} is encrypted", hint="give a copy without copy protection (DRM)")
    # ffmpeg would draw a text file's letters.
    if not any("Input #0" in line and "Input #0, tty" not in line for line in log):
        if looks_like_heif(read_head(path)):
            raise explain_heif(path)
        if kind := find_playlist(log):
            raise AvatarError(f"{path} is not a video but a playlist ({kind}), which names other files", hint=WANTED)
        reason = find_error(log).removeprefix(f"file:{path}: ")
        why = f": {reason}" if reason else ""
        raise AvatarError(f"{path} is neither an image nor a video that ffmpeg reads{why}", hint=WANTED)
    if not choose_video(log):
        is_audio = any(": Audio:" in line for line in log)
        hint = f"it holds audio: musetalk render {as_file(path)} --avatar FACE; {WANTED}" if is_audio else WANTED
        raise AvatarError(f"{path} has no video track", hint=hint)


def _said_of(path: Path, log: list[str]) -> list[str]:
    """What ffmpeg says of a file, without the words that are the file's own, or its name."""
    return [line.replace(str(path), "") for line in log if _SAID.match(line)]


def read_track(log: list[str]) -> VideoTrack:
    """The default video track in what ffmpeg wrote about a file that has one. Raises ValueError when it has none."""
    track = choose_video(log)
    if track is None:
        raise ValueError("no video track")
    is_matted = any(re.search(r"alpha_mode\s*: 1", line, re.IGNORECASE) for line in track.metadata)
    found = VideoTrack(
        track.index,
        find_duration(log),
        decoder=_ALPHA_DECODERS.get(track.codec, "") if is_matted else "",
        has_alpha=is_matted,
        has_no_index=not NO_INDEX.isdisjoint(find_containers(log)),
    )
    return _with_pixels(found, track.pixels) if track.pixels else found


def _with_pixels(track: VideoTrack, pixels: Pixels) -> VideoTrack:
    tags, is_limited = pixels.tags, pixels.tags.range != "pc"
    is_untagged_hd = not tags.matrix and min(pixels.width, pixels.height) >= HD_HEIGHT_PX
    is_bt709 = tags.matrix == "bt709" or is_untagged_hd
    # Without a name, it is ffmpeg's default.
    matrix = "bt709" if is_bt709 else "smpte170m" if tags.matrix in ("", *_BT601) else ""
    needs_space = pixels.format in _PLAIN and matrix and not (is_bt709 and is_limited)
    return replace(
        track,
        has_alpha=track.has_alpha or bool(_HAS_ALPHA.match(pixels.format)),
        may_interlace=pixels.format.startswith("yuv") and not pixels.is_progressive,
        is_untagged_hd=is_untagged_hd,
        plain_space=(matrix, "tv" if is_limited else "pc") if needs_space else None,
        is_bt709=pixels.format == "yuv420p" and is_limited and is_bt709,
        colours=colours_of(tags.primaries, tags.transfer),
    )
