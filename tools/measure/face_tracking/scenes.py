"""Synthetic images and videos with ground truth: a drawn portrait's head composited onto a background."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fixtures.programs import find_ffmpeg
from musetalk_cli.engine.avatar.portrait import describe_portrait, load_portrait
from musetalk_cli.engine.types.colour import ByteArray

PORTRAIT_PX, FACE_PX = 1024, 390  # size of the portraits, and width of their faces as detected
FPS = 25


@cache
def portrait(name: str) -> ByteArray:
    return load_portrait(describe_portrait(name)).image


def scenery(width: int, height: int, seed: int = 0) -> ByteArray:
    rng = np.random.default_rng(seed)
    blotches = cv2.resize(rng.normal(110, 40, (height // 20 + 1, width // 20 + 1, 3)), (width, height))
    return np.clip(blotches, 0, 255).astype(np.uint8)


def similarity(x: float, y: float, scale: float, turn_deg: float) -> NDArray[np.float64]:
    """2×3 matrix from a portrait's pixels to the scene, its middle at ``x``, ``y``."""
    cos, sin = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    turn = scale * np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turn, np.array([x, y]) - turn @ np.full(2, PORTRAIT_PX / 2)])


def paste(scene: ByteArray, head: ByteArray, to_scene: NDArray[np.float64]) -> ByteArray:
    """Composite the head of a portrait, in an oval with a soft edge, scaled down with area averaging."""
    scale = min(1.0, float(np.hypot(*to_scene[:, 0])))
    small = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ratio = PORTRAIT_PX / small.shape[0]
    from_small = to_scene @ np.array([[ratio, 0, (ratio - 1) / 2], [0, ratio, (ratio - 1) / 2], [0, 0, 1]])
    oval = np.zeros(small.shape[:2], np.float32)
    middle = round(PORTRAIT_PX / 2 / ratio), round(490 / ratio)
    cv2.ellipse(oval, middle, (round(300 / ratio), round(400 / ratio)), 0, 0, 360, 1, -1)
    alpha = cv2.warpAffine(oval, from_small, scene.shape[1::-1])[..., None]
    moved = cv2.warpAffine(small, from_small, scene.shape[1::-1], flags=cv2.INTER_CUBIC)
    return np.round(alpha * moved + (1 - alpha) * scene).astype(np.uint8)


def write_video(path: Path, name: str, num_frames: int, *, is_swaying: bool) -> NDArray[np.float64]:
    """Write an H.264 video of a head with film grain; returns the matrices from portrait to frame, (n, 2, 3)."""
    rng, scene = np.random.default_rng(1), scenery(640, 640)
    sway = 1.0 if is_swaying else 0.0
    maps = [
        similarity(
            320 + sway * 25 * np.sin(n / 9), 330 + sway * 10 * np.sin(n / 6 + 1), 0.55, sway * 5 * np.sin(n / 13)
        )
        for n in range(num_frames)
    ]
    command = [find_ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "640x640"]
    command += ["-r", str(FPS), "-i", "-", "-c:v", "libx264", "-crf", "21", "-pix_fmt", "yuv420p", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        for to_scene in maps:
            frame = paste(scene, portrait(name), to_scene) + rng.normal(0, 4, scene.shape)
            encoder.stdin.write(np.clip(np.round(frame), 0, 255).astype(np.uint8).tobytes())
    if encoder.returncode:
        raise RuntimeError("ffmpeg could not write the video")
    return np.array(maps)
