"""Video frames from anything ffmpeg reads, one by one: upright, at the avatar's rate and size, as BT.709 planes."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from musetalk_cli.engine.avatar.inputs.clip import ClipSettings
from musetalk_cli.engine.avatar.inputs.hdr import write_cube
from musetalk_cli.engine.avatar.inputs.images import MAX_HEIGHT_PX, MAX_PIXELS, MAX_WIDTH_PX
from musetalk_cli.engine.avatar.inputs.probe import VideoTrack, probe
from musetalk_cli.engine.avatar.inputs.tracks import QUIET
from musetalk_cli.engine.avatar.inputs.y4m import read_frame, read_header, size_in
from musetalk_cli.engine.runtime.ffmpeg import FfmpegProcess
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.engine.types.formats import WHITELIST
from musetalk_cli.errors import AvatarError
from musetalk_cli.option_names import option
from musetalk_cli.system.pipes import widen

# To BT.709 of limited range, exact to a rounding; ffmpeg's scaler takes six times as long and darkens by a level.
TO_BT709 = "colorspace=ispace={}:iprimaries=bt709:itrc=bt709:irange={}:all=bt709:range=tv:format=yuv420p"

# So much before the first wanted frame a file without an index is decoded: its keyframes are rarely further apart.
LEAD_S = 15.0


class VideoFile:
    """A video's frames as planar I420, uint8 (height · 3/2, width), BT.709, limited range; iterate once, then close.

    ``width`` and ``height`` are of the frames, even; ``num_frames`` is how many are expected, None where the file
    does not say its length. Raises AvatarError when there is no image in it; one that breaks off ends early, and
    then ``decode_error`` says why.
    """

    width: int
    height: int
    decode_error: str = ""

    def __init__(self, path: Path, ffmpeg: str, clip: ClipSettings) -> None:
        track = probe(path, ffmpeg)
        self._path, self._clip = path, clip
        self.num_frames = _expected_frames(track, clip)
        self._files = ExitStack()
        args = build_frames_args(ffmpeg, path, clip, track, self._write_cube(track))
        self._process = FfmpegProcess(args, stdin=subprocess.DEVNULL)
        try:
            widen(self._process.stdout)
            self.width, self.height = self._read_size()
            self._first = self._read_frame()
            if self._first is None:
                raise self._explain_no_frames()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[ByteArray]:
        # ffmpeg and the pipe hold frames that were decoded ahead; a thread that reads them costs more than it brings.
        image, self._first = self._first, None
        while image is not None:
            yield image
            image = self._read_frame()
        self.decode_error = self._process.error

    def close(self) -> None:
        self._process.close()
        self._files.close()

    def _write_cube(self, track: VideoTrack) -> Path | None:
        """The table that maps the track's colours to ordinary ones, in a folder of its own until ``close``."""
        if track.colours.are_ordinary:
            return None
        folder = self._files.enter_context(tempfile.TemporaryDirectory(prefix="musetalk-"))
        path = Path(folder) / "colours.cube"
        write_cube(path, track.colours)
        return path

    def _read_size(self) -> tuple[int, int]:
        header = read_header(self._process.stdout)
        if not header.endswith(b"\n"):
            self._process.wait()
            raise self._explain_no_frames()
        size = size_in(header)
        if size is None:
            raise AvatarError(f"{self._path}: ffmpeg decoded no frames")
        return size

    def _read_frame(self) -> ByteArray | None:
        image = read_frame(self._process.stdout, self.width, self.height)
        if image is None:
            self._process.wait()
        return image

    def _explain_no_frames(self) -> AvatarError:
        if self._clip.start_s and not self._process.error:
            return AvatarError(
                f"{self._path} has no frame after {self._clip.start_s:g} s", hint=f"give a smaller {option('--start')}"
            )
        reason = self._process.error or "it holds no frame"
        return AvatarError(f"{self._path} cannot be decoded: {reason}", hint="does it play elsewhere?")


def build_frames_args(
    ffmpeg: str, path: Path, clip: ClipSettings, track: VideoTrack, cube: Path | None = None
) -> list[str]:
    """ffmpeg's arguments that turn a file's video track into Y4M at the wanted rate and size.

    Args:
        ffmpeg: path of the executable.
        path: the file.
        clip: which part of it, how large.
        track: which track, and what its frames are.
        cube: a file that ``hdr.write_cube`` made for the track's colours; None where these are ordinary.
    """
    seek_s = clip.start_s - _lead_s(clip, track)
    start = ["-ss", f"{seek_s:.6f}"] if seek_s else []
    decoder = ["-c:v", track.decoder] if track.decoder else []
    source = ["-max_pixels", str(MAX_PIXELS), *start, *decoder, *WHITELIST]
    source += ["-i", f"file:{path}"]
    # The length bounds what broken timestamps would make of it, too.
    chosen = ["-t", f"{clip.length_s:.6f}", "-map", f"0:{track.index}"]
    return [ffmpeg, *QUIET, *source, *chosen, "-vf", _filters(clip, track, cube), "-f", "yuv4mpegpipe", "pipe:1"]


def _filters(clip: ClipSettings, track: VideoTrack, cube: Path | None) -> str:
    height_px = min(clip.height_px or MAX_HEIGHT_PX, MAX_HEIGHT_PX)
    # Square pixels, no larger than wanted; an odd row or column is cut off rather than everything resampled by a hair.
    factor = f"min(1,min({height_px}/ih,{MAX_WIDTH_PX}/(iw*sar)))"
    size = f"w='2*max(1,round(iw*sar*{factor}/2))':h='2*max(1,round(ih*{factor}/2))'"
    matrix = ":in_color_matrix=bt709" if track.is_untagged_hd else ""
    resize = f"scale={size}:flags=bicubic+accurate_rnd"
    scale = resize + matrix
    bt709 = "out_color_matrix=bt709:out_range=tv"
    lead_s = _lead_s(clip, track)
    parts = [f"trim=start={lead_s:.6f},setpts=PTS-{lead_s:.6f}/TB"] if lead_s else []
    parts += ["bwdif=mode=send_frame:deint=interlaced"] if track.may_interlace else []
    parts += [f"fps={clip.frame_rate}", "crop='max(2,2*trunc(iw/2))':'max(2,2*trunc(ih/2))':0:0"]
    if track.has_alpha:
        red, green, blue = clip.background
        behind = f"lutrgb=r={red}:g={green}:b={blue}:a=255"
        parts += [scale, f"format=rgba,split[image][copy];[copy]{behind}[behind];[behind][image]overlay=format=rgb"]
    if cube:
        untagged = "setparams=colorspace=gbr:color_primaries=bt709:color_trc=bt709"
        table = f"lut3d=file={quote_in_filter(cube)}:interp=tetrahedral"
        parts += [] if track.has_alpha else [scale]
        parts += ["format=gbrp16le", table, untagged]
    if track.has_alpha or cube:
        parts.append(f"scale=flags=bicubic+accurate_rnd:{bt709}")
    elif track.plain_space or track.is_bt709:
        # Without a matrix, the scaler lets frames pass that have their size already; with one, it copies them.
        parts += [*([TO_BT709.format(*track.plain_space)] if track.plain_space else []), resize]
    else:
        parts.append(f"{scale}:{bt709}")
    return ",".join([*parts, "setsar=1", "format=yuv420p"])


def _lead_s(clip: ClipSettings, track: VideoTrack) -> float:
    return min(clip.start_s, LEAD_S) if track.has_no_index else 0.0


def quote_in_filter(path: Path) -> str:
    """A file's name inside a filter's description, where : separates options and a backslash escapes, twice."""
    text = str(path).replace("\\", "/")
    for character in "\\':":
        text = text.replace(character, f"\\{character}")
    return "'" + text.replace("'", "'\\''") + "'"


def _expected_frames(track: VideoTrack, clip: ClipSettings) -> int | None:
    if track.duration_s is None:
        return None
    rest_s = max(0.0, track.duration_s - clip.start_s)
    return max(1, round(min(rest_s, clip.length_s) * clip.frame_rate))
