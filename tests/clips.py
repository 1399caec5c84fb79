"""Pictures and videos of a face to prepare avatars from: the built-in portraits, moved about."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from musetalk_cli.engine.avatar.portrait import describe_portrait, load_portrait
from musetalk_cli.engine.colour import ByteArray, as_bytes


@lru_cache
def portrait_picture(height_px: int = 256, name: str = "nora") -> ByteArray:
    """A portrait as BGR, square. It is shared: nobody may write into it."""
    picture = as_bytes(cv2.resize(load_portrait(describe_portrait(name)).picture, (height_px, height_px)))
    picture.flags.writeable = False
    return picture


def moved_portrait(frame: int, height_px: int = 256, name: str = "nora") -> ByteArray:
    """The portrait shifted, turned and zoomed a little: another pose for every frame, the same for the same frame."""
    picture = portrait_picture(height_px, name)
    centre = height_px / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), 4 * np.sin(frame / 7), 0.9 + 0.05 * np.sin(frame / 11))
    matrix[:, 2] += height_px * 0.03 * np.array([np.sin(frame / 5), np.cos(frame / 6)])
    return as_bytes(cv2.warpAffine(picture, matrix, (height_px, height_px), borderMode=cv2.BORDER_REPLICATE))


def write_clip(ffmpeg: str, path: Path, pictures: Sequence[ByteArray], rate: str = "25", *options: str) -> Path:
    """Encode BGR pictures with ``options`` of ffmpeg (default: high-quality H.264 tagged BT.709)."""
    height, width = pictures[0].shape[:2]
    raw = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", rate, "-i", "pipe:0"]
    matrix = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
    tagged = ["-colorspace", "bt709", "-color_range", "tv", "-crf", "10", "-preset", "ultrafast"]
    chosen = list(options) or ["-vf", matrix, *tagged]
    command = [ffmpeg, "-v", "error", "-y", *raw, *chosen, str(path)]
    subprocess.run(command, input=b"".join(p.tobytes() for p in pictures), check=True, capture_output=True)
    return path


def write_long_clip(ffmpeg: str, path: Path, picture: ByteArray, num_frames: int) -> Path:
    """Encode one BGR picture so many times, without handing it over as often."""
    once = write_clip(ffmpeg, path.with_suffix(".mkv"), [picture])
    options = ["-frames:v", str(num_frames), "-r", "25", "-preset", "ultrafast"]
    command = [ffmpeg, "-v", "error", "-y", "-stream_loop", "-1", "-i", str(once), *options, str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path
