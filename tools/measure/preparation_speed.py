"""Measures ``musetalk prepare-avatar`` from outside, its stages one by one, and opening what it made.

python -m tools.measure.preparation_speed VIDEO… --write
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import date
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from fixtures.programs import find_ffmpeg
from musetalk_cli.app.settings.folders import cache_folder
from musetalk_cli.engine.avatar.avatar import Avatar, MeshLandmarks
from musetalk_cli.engine.avatar.frame_store import encode_frame
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.avatar.inputs.clip import ClipSettings
from musetalk_cli.engine.avatar.inputs.video import VideoFile
from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.preparation.face_models import find_face_models
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder
from musetalk_cli.engine.avatar.preparation.smoothing import smooth_track
from musetalk_cli.engine.avatar.preparation.tracking import track_face
from musetalk_cli.engine.models.musetalk.face.face_parts import PartSettings, derive_face_parts
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.engine.types.planar_frame import PlanarFrame
from tools.measure.command import COMMAND
from tools.measure.report import PERFORMANCE, update_section

STAGE_FRAMES = 100  # of the middle of a video: enough for a mean, few enough to hold

MEASURE = """
import resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
spent = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - started, spent.ru_utime + spent.ru_stime, spent.ru_maxrss / 1024)
"""
OPENING = """
import sys, time
started = time.perf_counter()
from pathlib import Path
from musetalk_cli.engine.avatar.avatar_files import open_avatar_folder
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
imported, before = time.perf_counter(), peak()
avatar = open_avatar_folder(Path(sys.argv[1]))
avatar.frames.read([0])
first = time.perf_counter()
rss = peak()
for index in range(avatar.frames.num_frames):
    avatar.frames.read([index])
last = time.perf_counter()
end = peak()
avatar.close()
print(imported - started, first - imported, (last - first) / avatar.frames.num_frames, before, rss, end)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    args = parser.parse_args()
    whole = [
        "| video | frames/s | CPU, ms/frame | peak, MB | MB a minute | kB/frame |",
        "|---|---|---|---|---|---|",
    ]
    stages = ["| video | decode | follow | store | smooth | boxes and masks |", "|---|---|---|---|---|---|"]
    opened = ["| video | import, ms | open and first frame, ms | ms a frame | RSS before, then, at the end, MB |"]
    opened.append("|---|---|---|---|---|")
    for video in args.videos:
        with tempfile.TemporaryDirectory() as home:
            whole.append(measure_whole(video, args.runs, Path(home)))
            opened.append(measure_opening(video, Path(home) / "avatars" / "measured"))
        stages.append(measure_stages(video))
    text = f"{date.today()}, {os.cpu_count()} cores.\n\n" + "\n\n".join("\n".join(t) for t in (whole, stages, opened))
    if args.write:
        update_section("preparation speed", text, PERFORMANCE)
    print(text)


def measure_whole(video: Path, num_runs: int, home: Path) -> str:
    """The median run of the real command: frames a second, start included."""
    runs = sorted(run_once(video, home) for _ in range(num_runs))
    elapsed_s, cpu_s, peak_mb, num_frames, num_bytes = runs[len(runs) // 2]
    frame_kb = num_bytes / num_frames / 1e3
    figures = (num_frames / elapsed_s, cpu_s / num_frames * 1e3, peak_mb, frame_kb * 1.5, frame_kb)
    return f"| {describe(home / 'avatars' / 'measured')} | {' | '.join(f'{figure:.0f}' for figure in figures)} |"


def run_once(video: Path, home: Path) -> tuple[float, float, float, int, int]:
    """Wall and CPU seconds (ours and ffmpeg's), peak RSS in MB, frames and bytes of one preparation."""
    environment = {**os.environ, "MUSETALK_HOME": str(home)}
    models = find_face_models(None, cache_folder() / "face-models", print)
    environment["MUSETALK_FACE_MODELS"] = str(models.mesh.parent)
    command = [*COMMAND, "prepare-avatar", str(video), "--name", "measured"]
    # A process counts what it was forked from as its own, so a small one stands between us and the command.
    between = [sys.executable, "-c", MEASURE, *command, "--force", "-q"]
    done = subprocess.run(between, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    elapsed_s, cpu_s, peak_mb = (float(word) for word in done.stdout.split())
    folder = home / "avatars" / "measured"
    num_bytes = sum(path.stat().st_size for path in folder.iterdir())
    with np.load(folder / "faces.npz") as arrays:
        num_frames = len(arrays["points"])
    return elapsed_s, cpu_s, peak_mb, num_frames, num_bytes


def describe(folder: Path) -> str:
    from musetalk_cli.engine.avatar.avatar_files import read_record

    record = read_record(folder)
    return f"{record.width} × {record.height}, {record.num_frames} frames"


def measure_opening(video: Path, folder: Path) -> str:
    """In a fresh process, without the command line: from nothing to the first frame, and every frame after it."""
    command = [sys.executable, "-c", OPENING, str(folder)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    imported, first, each, *memory = (float(word) for word in text.split())
    rss = ", ".join(f"{value / 1024:.0f}" for value in memory)
    return f"| {describe(folder)} | {imported * 1e3:.0f} | {first * 1e3:.1f} | {each * 1e3:.1f} | {rss} |"


def measure_stages(video: Path) -> str:
    """CPU time of every stage, one after the other; they run beside each other in the command."""
    cv2.setNumThreads(1)
    cut, frames = ClipSettings(Fraction(25), max_seconds=STAGE_FRAMES / 25), list[ByteArray]()
    finder = FaceFinder(find_face_models(None, cache_folder() / "face-models", print))
    times = [cpu_s()]
    with closing(VideoFile(video, find_ffmpeg(), cut)) as source:
        frames.extend(source)
    times.append(cpu_s())
    track = track_face(map(PlanarFrame, frames), finder)
    times.append(cpu_s())
    for frame in frames:
        encode_frame(frame)
    times.append(cpu_s())
    points = smooth_track(track, cut.frame_rate).points
    times.append(cpu_s())
    size = (frames[0].shape[1], frames[0].shape[0] * 2 // 3)
    _derive_parts(points, size)
    times.append(cpu_s())
    spent = " | ".join(f"{seconds / len(frames) * 1e3:.1f}" for seconds in np.diff(times))
    return f"| {size[0]} × {size[1]} | {spent} |"


def _derive_parts(points: FloatArray, size: tuple[int, int]) -> None:
    """What the MuseTalk model derives when it first opens the avatar."""
    for mesh in points:
        frames = StillFrames(np.zeros((size[1], size[0], 3), np.uint8))
        derive_face_parts(Avatar("one", frames, None, MeshLandmarks(mesh[None]), points=mesh[None]), PartSettings())


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


if __name__ == "__main__":
    main()
