"""What ffmpeg says of a video file: which track is the video, and how its frames are to be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from musetalk_cli.engine.avatar.inputs.file_kinds import explain_heif, refuse_known
from musetalk_cli.engine.avatar.inputs.hdr import ORDINARY, Colours, colours_of
from musetalk_cli.engine.avatar.inputs.images import MAX_PIXELS, read_head
from musetalk_cli.engine.runtime.ffmpeg import describe_status, find_error, run_ffmpeg
from musetalk_cli.engine.runtime.ffmpeg_choice import explain_failure
from musetalk_cli.engine.types.formats import WHITELIST, find_playlist
from musetalk_cli.engine.types.signatures import looks_like_heif
from musetalk_cli.errors import AvatarError
from musetalk_cli.hints import as_file

# Untagged video of this height and above is BT.709 in practice, below it BT.601, which is also what ffmpeg assumes.
HD_HEIGHT_PX = 720
QUIET = ["-hide_banner", "-nostats", "-nostdin", "-loglevel", "level+info"]
WANTED = "an avatar is made from an image or a video of a face"

_STREAM = re.compile(r"Stream #0:(\d+).*: Video: (\w+)(.*)")
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_SIZE = re.compile(r", (\d+)x(\d+)")
# "yuv420p10le(tv, bt2020nc/bt2020/smpte2084, top first)", of which each part may be missing.
_PIXELS = re.compile(r", (\w+)(?:\(([^()]*(?:\([^()]*\))?[^()]*)\))?(?:, \d+x\d+)")
_MATRIX = re.compile(r"bt709|bt470|smpte|bt2020|fcc|ycgco|gbr|rgb")
_BT601 = ("bt470bg", "smpte170m")
_PLAIN = ("yuv420p", "yuv422p", "yuv444p")
_HAS_ALPHA = re.compile(r"yuva|rgba|bgra|argb|abgr|gbrap|ya8|ya16|pal8")
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_ENCRYPTED = re.compile(r"encrypt|activation_bytes|decryption key|\b(?:drm[is]|enc[av])\b", re.IGNORECASE)
_DOLBY_VISION_5 = re.compile(r"DOVI configuration record.*profile: 5\b")


@dataclass(frozen=True)
class VideoTrack:
    """A file's default video track; attached images are none.

    ``index``: ffmpeg's number of it. ``duration_s``: of the file, None where it does not say. ``decoder``: the one that
    must be named, since ffmpeg's own loses the transparency; else empty. ``may_interlace``: whether frames may hold two
    fields. ``is_untagged_hd``: nothing says which matrix its colours have, and it is too large for BT.601.
    ``is_plain_bt601``: 8 bits, of limited range, and of BT.601's matrix, by its tags or its size. ``is_bt709``: planes
    as the avatar's, 4:2:0, 8 bits, of limited range and BT.709's matrix.
    """

    index: int
    duration_s: float | None = None
    decoder: str = ""
    has_alpha: bool = False
    may_interlace: bool = False
    is_untagged_hd: bool = False
    is_plain_bt601: bool = False
    is_bt709: bool = False
    colours: Colours = ORDINARY


def probe(path: Path, ffmpeg: str) -> VideoTrack:
    """Find a file's video track.

    Raises AvatarError when there is none, or its frames are too large; EncoderError when ffmpeg does not work.
    """
    refuse_known(path)
    argv = [ffmpeg, *QUIET, "-max_pixels", str(MAX_PIXELS), *WHITELIST, "-i", f"file:{path}"]
    done = run_ffmpeg(argv)
    log = done.stderr.decode("utf-8", "replace").splitlines()
    if not any("Input #0" in line for line in log) and (broken := explain_failure(ffmpeg)):
        raise broken
    if done.returncode < 0:
        raise AvatarError(f"{path} cannot be read: ffmpeg {describe_status(done.returncode)}")
    _check_input(path, log)
    if any("Invalid image size" in line or "Image size" in line for line in log):
        raise AvatarError(f"{path} has frames of more than {MAX_PIXELS // 1_000_000} million pixels")
    if any(_DOLBY_VISION_5.search(line) for line in log):
        raise AvatarError(
            f"{path} is Dolby Vision of profile 5, whose colours only its own decoders know",
            hint="export it as HDR10, HLG or SDR",
        )
    return read_track(log)


def _check_input(path: Path, log: list[str]) -> None:
    """Raise AvatarError, with what helps, for what is no video at all."""
    is_encrypted = any(_ENCRYPTED.search(line) for line in log)
    if is_encrypted:
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
    if not _video_lines(log):
        is_audio = any(": Audio:" in line for line in log)
        hint = f"it holds audio: musetalk render {as_file(path)} --avatar FACE; {WANTED}" if is_audio else WANTED
        raise AvatarError(f"{path} has no video track", hint=hint)


def _video_lines(log: list[str]) -> list[tuple[int, re.Match[str]]]:
    """The lines about video tracks, with their numbers, and the default one first."""
    found = [
        (number, match)
        for number, line in enumerate(log)
        if (match := _STREAM.search(line)) and "(attached pic)" not in line
    ]
    return sorted(found, key=lambda each: "(default)" not in each[1][3])


def read_track(log: list[str]) -> VideoTrack:
    """The default video track in what ffmpeg wrote about a file that has one."""
    number, match = _video_lines(log)[0]
    codec, about = match[2], match[3]
    metadata = []
    for line in log[number + 1 :]:
        if "Stream #" in line:
            break
        metadata.append(line)
    is_matted = any(re.search(r"alpha_mode\s*: 1", line, re.IGNORECASE) for line in metadata)
    pixels = _PIXELS.search(about)
    pixel_format, details = (pixels[1], pixels[2] or "") if pixels else ("", "")
    return VideoTrack(
        index=int(match[1]),
        duration_s=_find_duration(log),
        decoder=_ALPHA_DECODERS.get(codec, "") if is_matted else "",
        has_alpha=is_matted or bool(_HAS_ALPHA.match(pixel_format)),
        may_interlace=pixel_format.startswith("yuv") and "progressive" not in details,
        is_untagged_hd=_is_untagged_hd(about, details),
        is_plain_bt601=pixel_format in _PLAIN and not _is_untagged_hd(about, details) and _is_bt601(details),
        is_bt709=pixel_format == "yuv420p" and _is_limited(details) and _is_bt709(about, details),
        colours=_read_colours(details),
    )


def _read_colours(details: str) -> Colours:
    """From ``tv, bt2020nc/bt2020/smpte2084``; one name alone stands for all three."""
    for part in details.split(", "):
        names = part.split("/")
        if len(names) == 3:
            return colours_of(names[1], names[2])
    return ORDINARY


def _matrix_of(details: str) -> str:
    """From ``tv, smpte170m/bt470bg/bt709``, of which the matrix is the first; empty where none is named."""
    names = (part.split("/")[0] for part in details.split(", "))
    return next((name for name in names if _MATRIX.match(name)), "")


def _is_bt601(details: str) -> bool:
    """Without a name, it is ffmpeg's default."""
    return _is_limited(details) and _matrix_of(details) in ("", *_BT601)


def _is_bt709(about: str, details: str) -> bool:
    return _matrix_of(details) == "bt709" or _is_untagged_hd(about, details)


def _is_limited(details: str) -> bool:
    return "pc" not in details.split(", ")


def _is_untagged_hd(about: str, details: str) -> bool:
    size = _SIZE.search(about)
    return size is not None and not _matrix_of(details) and min(int(size[1]), int(size[2])) >= HD_HEIGHT_PX


def _find_duration(log: list[str]) -> float | None:
    found = next((found for found in map(_DURATION.search, log) if found), None)
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
