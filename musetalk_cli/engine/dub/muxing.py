"""ffmpeg's arguments for a dubbed file: frames from a pipe, audio copied or mixed from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from musetalk_cli.engine.dub.clip import AudioTrack, Clip
from musetalk_cli.engine.types.audio import AAC_CODER
from musetalk_cli.engine.types.formats import WHITELIST, build_companion

AUDIO_RATE_HZ = 48_000
# Audio that each container takes as it is.
COPIED = {
    ".mp4": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus"}),
    ".mov": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le"}),
    ".mkv": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "vorbis", "flac", "pcm_s16le", "pcm_s24le", "dts"}),
}
# Codecs whose first packet lies before the audio begins. ffmpeg's Matroska has no way to say so, and would begin the
# video later instead.
DELAYED = frozenset({"aac", "mp3"})
# ffmpeg's container by the suffix of the output.
CONTAINERS = {
    ".mp4": ("-movflags", "+faststart", "-f", "mp4"),
    ".m4v": ("-movflags", "+faststart", "-f", "mp4"),
    ".mov": ("-movflags", "+faststart", "-f", "mov"),
    ".mkv": ("-f", "matroska"),
}

# Tags of a file that would be untrue in another: an MP4's brands, and a timecode, for which ffmpeg wants a frame rate.
DROPPED_TAGS = ("major_brand", "minor_version", "compatible_brands", "timecode")

# Transfer characteristics that ffmpeg's filters call otherwise than its messages.
_FILTER_NAMES = {"gamma22": "bt470m", "gamma28": "bt470bg", "bt1361": "bt1361e"}


@dataclass(frozen=True)
class DubEncoding:
    """How the video is encoded: x264's preset and CRF, and kilobits a second of encoded audio."""

    preset: str
    crf: int
    audio_kbps: int


@dataclass(frozen=True)
class DubAudio:
    """What is heard: ``voices``, a file and its track each; without any, the clip's own audio. ``kept_db``: that of the
    clip is mixed below the voices, at this gain; None leaves it out."""

    voices: tuple[tuple[Path, AudioTrack], ...] = ()
    kept_db: float | None = None


def build_mux_args(
    ffmpeg: str,
    clip: Clip,
    audio: DubAudio,
    encoding: DubEncoding,
    first_s: float,
    end_s: float,
    output: Path,
    written: Path | None = None,
) -> list[str]:
    """Matroska frames on stdin → the file.

    Args:
        ffmpeg: path of the executable.
        clip: gives colours, pixel aspect, timescale and its own audio.
        audio: what is heard.
        encoding: how it is encoded.
        first_s: when the first frame is shown.
        end_s: when the last frame ends; audio goes no further.
        output: the file; its suffix names the container.
        written: the name under which it is written; None for its own.
    """
    quiet = ["-hide_banner", "-nostats", "-loglevel", "level+warning", "-y"]
    at_once = ["-probesize", "32", "-analyzeduration", "0", "-fpsprobesize", "0"]
    frames = [*at_once, "-itsoffset", f"{first_s:.6f}", "-f", "matroska", "-i", "pipe:0"]
    sources = [
        part for path in (*(path for path, _ in audio.voices), clip.path) for part in (*WHITELIST, "-i", f"file:{path}")
    ]
    suffix = ".mp4" if output.suffix.lower() == ".m4v" else output.suffix.lower()
    video = ["-map", "0:v:0", "-vf", _tags(clip), *_video(clip, encoding, suffix)]
    heard = _audio(clip, audio, encoding, suffix)
    return [
        ffmpeg,
        *quiet,
        *frames,
        *sources,
        *video,
        *heard,
        *_keep_tags(len(audio.voices) + 1),
        "-t",
        f"{end_s:.6f}",
        *CONTAINERS[suffix],
        f"file:{written or output}",
        *_companion(clip, audio),
    ]


def _keep_tags(own: int) -> list[str]:
    """The tags and chapters of input ``own``."""
    dropped = [part for name in DROPPED_TAGS for part in ("-metadata", f"{name}=")]
    return ["-map_metadata", str(own), "-map_chapters", str(own), *dropped]


def _companion(clip: Clip, audio: DubAudio) -> list[str]:
    is_heard = bool(clip.audio.codec) and (not audio.voices or audio.kept_db is not None)
    return build_companion(clip.index, len(audio.voices) + 1) if clip.is_loose and is_heard else []


def _tags(clip: Clip) -> str:
    """Filters that say what the pixels are, and change none."""
    colours = clip.colours
    names = {
        "field_mode": clip.fields,
        "range": colours.range,
        "colorspace": colours.matrix,
        "color_primaries": colours.primaries,
        "color_trc": _FILTER_NAMES.get(colours.transfer, colours.transfer),
    }
    given = ":".join(f"{name}={value}" for name, value in names.items() if value)
    return f"setparams={given},setsar={clip.aspect}" if given else f"setsar={clip.aspect}"


def _video(clip: Clip, encoding: DubEncoding, suffix: str) -> list[str]:
    colours = clip.colours
    named = {
        "-color_range": colours.range,
        "-colorspace": colours.matrix,
        "-color_primaries": colours.primaries,
        "-color_trc": colours.transfer,
    }
    tags = [part for name, value in named.items() if value for part in (name, value)]
    timescale = [] if suffix == ".mkv" else ["-video_track_timescale", str(clip.timescale)]
    # The last frame would last no time, and players would leave it out; all others end where the next begins.
    lasting = ["-bsf:v", "setts=pts=PTS:dts=DTS:duration=if(N\\,DTS-PREV_INDTS\\,0)"]
    fields = ["-flags", "+ilme+ildct"] if clip.fields else []
    quality = ["-c:v", "libx264", *fields, "-preset", encoding.preset, "-crf", str(encoding.crf)]
    return ["-fps_mode", "passthrough", *quality, *tags, *timescale, *lasting]


def _audio(clip: Clip, audio: DubAudio, encoding: DubEncoding, suffix: str) -> list[str]:
    own = len(audio.voices) + 1  # ffmpeg's number of the clip
    encoded = ["-c:a", "aac", "-aac_coder", AAC_CODER, "-b:a", f"{encoding.audio_kbps}k"]
    if suffix == ".mkv":
        encoded = ["-c:a", "flac", "-sample_fmt", "s16"]
    keeps = audio.kept_db is not None and bool(clip.audio.codec)
    if not audio.voices:
        codec = ["-c:a", "copy"] if _is_copied(clip.audio, suffix) else encoded
        return ["-map", f"{own}:{clip.audio.index}", *codec] if clip.audio.codec else ["-an"]
    tracks = [track for _, track in audio.voices]
    if len(tracks) == 1 and not keeps:
        codec = ["-c:a", "copy"] if _is_copied(tracks[0], suffix) else [*encoded, "-ar", str(AUDIO_RATE_HZ)]
        return ["-map", f"1:{tracks[0].index}", *codec]
    mixed = _mix(tracks, clip.audio, audio.kept_db if keeps else None)
    return ["-filter_complex", mixed, "-map", "[mix]", *encoded]


def _is_copied(track: AudioTrack, suffix: str) -> bool:
    is_late = suffix == ".mkv" and track.codec in DELAYED and not track.is_matroska
    return track.codec in COPIED[suffix] and not is_late


def _mix(voices: Sequence[AudioTrack], own: AudioTrack, kept_db: float | None) -> str:
    """A filter graph of all voices, and of the clip's own audio where it is kept."""
    parts = [f"[{number}:{track.index}]{_stereo(track)}[a{number}]" for number, track in enumerate(voices, 1)]
    if kept_db is not None:
        number = len(voices) + 1
        parts.append(f"[{number}:{own.index}]volume={kept_db:g}dB,{_stereo(own)}[a{number}]")
    inputs = "".join(f"[a{number}]" for number in range(1, len(parts) + 1))
    return ";".join([*parts, f"{inputs}amix=inputs={len(parts)}:duration=longest:normalize=0[mix]"])


def _stereo(track: AudioTrack) -> str:
    """As loud as it was: ffmpeg by itself makes of one channel two that are 3 dB softer."""
    spread = "pan=stereo|c0=c0|c1=c0," if track.is_mono else ""
    return f"aresample={AUDIO_RATE_HZ},{spread}aformat=channel_layouts=stereo"


def fits(output: Path) -> bool:
    """Whether a file of this name can be made."""
    return output.suffix.lower() in CONTAINERS
