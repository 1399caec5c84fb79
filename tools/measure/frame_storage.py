"""Compares ways to store an avatar's frames: size, CPU time both ways, and how much is lost.

python -m tools.measure.frame_storage VIDEO… --write
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fixtures.programs import find_ffmpeg
from musetalk_cli.engine.avatar.frame_store import i420_to_sheet, sheet_to_i420
from musetalk_cli.engine.avatar.inputs.clip import ClipSettings
from musetalk_cli.engine.avatar.inputs.video import VideoFile
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from tools.measure.report import PERFORMANCE, update_section

NUM_FRAMES = 20
X264 = ("-c:v", "libx264", "-g", "1", "-bf", "0", "-threads", "1")
MJPEG = ("-strict", "unofficial", "-color_range", "tv", "-c:v", "mjpeg", "-threads", "1")


class Trial(NamedTuple):
    """Bytes of all frames, CPU seconds to store and to read them, and what came back."""

    num_bytes: int
    store_s: float
    read_s: float
    frames: Sequence[ByteArray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    lines = [
        "| frames | stored as | kB/frame | store, ms | read, ms | luma, dB | chroma, dB |",
        "|---|---|---|---|---|---|---|",
    ]
    for video in args.videos:
        frames = read_frames(video)
        size = f"{frames[0].shape[1]} × {frames[0].shape[0] * 2 // 3}"
        lines += compare(size, frames)
        lines += compare(f"{size}, with grain", add_grain(frames))
    text = f"{date.today()}; CPU time per frame.\n\n" + "\n".join(lines)
    if args.write:
        update_section("frame storage", text, PERFORMANCE)
    print(text)


def read_frames(video: Path) -> list[ByteArray]:
    """Frames spread over a video, planar I420."""
    with closing(VideoFile(video, find_ffmpeg(), ClipSettings(Fraction(1), max_seconds=float(NUM_FRAMES)))) as source:
        return list(source)


def add_grain(frames: Sequence[ByteArray]) -> list[ByteArray]:
    """Noise of deviation 3 in luma and 1.5 in chroma, as a phone has it in a dim room."""
    random = np.random.default_rng(0)
    noisy = []
    for frame in frames:
        deviation = np.where(np.arange(len(frame)) < len(frame) * 2 // 3, 3.0, 1.5)[:, None]
        noisy.append(as_bytes(np.clip(np.round(frame + random.normal(size=frame.shape) * deviation), 16, 240)))
    return noisy


def compare(name: str, frames: Sequence[ByteArray]) -> list[str]:
    trials = {f"JPEG of the planes, quality {quality}": try_jpeg(frames, quality) for quality in (85, 90, 95)}
    for crf in (12, 16):
        trials[f"H.264, keyframes only, ultrafast, crf {crf}"] = try_ffmpeg(
            frames, [*X264, "-preset", "ultrafast", "-crf", str(crf)], "h264"
        )
    trials["H.264, keyframes only, veryfast, crf 14"] = try_ffmpeg(
        frames, [*X264, "-preset", "veryfast", "-crf", "14"], "h264"
    )
    trials["ffmpeg's MJPEG, q 2"] = try_ffmpeg(frames, [*MJPEG, "-q:v", "2"], "mjpeg")
    return [describe(name, storage, frames, trial) for storage, trial in trials.items()]


def try_jpeg(frames: Sequence[ByteArray], quality: int) -> Trial:
    started = time.process_time()
    stored = [cv2.imencode(".jpg", i420_to_sheet(f), [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for f in frames]
    between = time.process_time()
    read = [sheet_to_i420(as_bytes(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))) for data in stored]
    return Trial(sum(map(len, stored)), between - started, time.process_time() - between, read)


def try_ffmpeg(frames: Sequence[ByteArray], options: Sequence[str], kind: str) -> Trial:
    """In children of ours, whose start is a part of the time: some 60 ms, spread over the frames."""
    width, height = frames[0].shape[1], frames[0].shape[0] * 2 // 3
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", "25"]
    command = [find_ffmpeg(), "-v", "error"]
    times = [_children_s()]
    whole = b"".join(frame.tobytes() for frame in frames)
    encode = [*command, *raw, "-i", "pipe:0", *options, "-f", kind, "pipe:1"]
    stored = subprocess.run(encode, input=whole, capture_output=True, check=True).stdout
    times.append(_children_s())
    decode = [*command, "-threads", "1", "-f", kind, "-i", "pipe:0", "-pix_fmt", "yuv420p", "-f", "rawvideo", "pipe:1"]
    data = subprocess.run(decode, input=stored, capture_output=True, check=True).stdout
    times.append(_children_s())
    read = np.frombuffer(data, np.uint8).reshape(len(frames), height * 3 // 2, width)
    return Trial(len(stored), times[1] - times[0], times[2] - times[1], list(read))


def _children_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def describe(name: str, storage: str, frames: Sequence[ByteArray], trial: Trial) -> str:
    count, rows = len(frames), len(frames[0]) * 2 // 3
    luma, chroma = (psnr(frames, trial.frames, part) for part in (slice(0, rows), slice(rows, None)))
    times = f"{trial.store_s / count * 1e3:.1f} | {trial.read_s / count * 1e3:.1f}"
    return f"| {name} | {storage} | {trial.num_bytes / count / 1e3:.0f} | {times} | {luma:.1f} | {chroma:.1f} |"


def psnr(before: Sequence[ByteArray], after: Sequence[ByteArray], rows: slice) -> float:
    errors = [np.mean((b[rows].astype(np.float32) - a[rows]) ** 2) for b, a in zip(before, after, strict=True)]
    return float(10 * np.log10(255**2 / np.mean(errors)))


if __name__ == "__main__":
    main()
