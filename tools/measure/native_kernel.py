"""What the warp model's C saves against numpy: faces on one and two threads, and whole renders; and how it differs.

    python -m tools.measure.native_kernel SPEECH.wav [--only faces|videos|renders|differences] [--sizes 512 768 1024]
        [--photos IMAGE…] [--write]

Both are measured in turns on one thread of the same process, by that thread's CPU time, of which the least third is
averaged: other programs disturb the rest. A render is the real command, with its ffmpeg children; what ffmpeg needs by
itself is measured by encoding 20 s of the same frames and audio from files.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from fixtures.drawn_face import draw_face, shut_lids
from fixtures.drawn_video import moving_avatar
from musetalk_cli.app.assembly import encoder_settings
from musetalk_cli.app.avatars.choice import ChosenAvatar
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait
from musetalk_cli.engine.avatar.preparation.face_models import find_face_models
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder
from musetalk_cli.engine.models.warp.idle.idle_motion import life_at
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer
from musetalk_cli.engine.models.warp.video_avatar import VideoAvatarRenderer
from musetalk_cli.engine.native import library
from musetalk_cli.engine.runtime.ffmpeg import list_ffmpegs
from musetalk_cli.engine.video.encoder import build_ffmpeg_args
from musetalk_cli.system.folders import cache_folder
from tools.measure.command import ENVIRONMENT, read_stats, read_video, start
from tools.measure.gallery import open_face
from tools.measure.report import PERFORMANCE, describe_machine, update_section

HEIGHTS = (512, 768, 1080)
NUM_FACES, NUM_ROUNDS = 60, 6
ENCODED_S = 20
NUM_COMPARED = 1500
Draw = Callable[[int], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--only", choices=("faces", "videos", "renders", "differences"))
    parser.add_argument("--sizes", type=int, nargs="+", default=(512, 768, 1024))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--photos", type=Path, nargs="+", default=())
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    tables = {
        "faces": face_table,
        "videos": video_table,
        "renders": lambda: render_table(args.speech, args.sizes, args.runs),
        "differences": lambda: difference_table(args.photos),
    }
    sections = {f"native {name}": make() for name, make in tables.items() if args.only in (None, name)}
    for name, table in sections.items():
        text = f"{describe_machine(renders=True)}\n\n{table}"
        print(text)
        if args.write:
            update_section(name, text, PERFORMANCE)


@contextmanager
def kernel(is_native: bool) -> Any:
    """The native kernel, or numpy, for this process."""
    former = library.find()
    library._found = library.open_library(library.PATH) if is_native else library.Found(None, "numpy is measured")
    try:
        yield
    finally:
        library._found = former


def face_table() -> str:
    rows = [
        "| face | numpy, ms | native, ms | numpy ÷ native | two threads ÷ one: numpy | native |",
        "|---|---|---|---|---|---|",
    ]
    for name, make in FACES.items():
        for height in HEIGHTS:
            draws: dict[bool, Draw] = {}
            for is_native in (False, True):
                with kernel(is_native):
                    draws[is_native] = make(height)
            times = time_in_turns({is_native: (is_native, draw) for is_native, draw in draws.items()})
            scales = {is_native: scale_of(draw, is_native) for is_native, draw in draws.items()}
            ratio = times[False] / times[True]
            rows.append(
                f"| {name}, {height} | {times[False]:.2f} | {times[True]:.2f} | {ratio:.1f} | {scales[False]:.2f} × | "
                f"{scales[True]:.2f} × |"
            )
            print(rows[-1], flush=True)
    return "\n".join(rows)


def video_table() -> str:
    """A video's frame against a still's, both in C."""
    rows = [
        "| video | still, portrait, ms | still, the same face, ms | seen before, ms | ÷ portrait | ÷ same face "
        "| new, ms | ÷ portrait | ÷ same face |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with kernel(is_native=True):
        for height in HEIGHTS:
            names = ("still", "still, the videos' face", "video, frames seen before", "video, new frames")
            times = time_in_turns({name: (True, FACES[name](height)) for name in names})
            portrait, same, seen, new = (times[name] for name in names)
            cells = [f"{portrait:.2f}", f"{same:.2f}"]
            for frame in (seen, new):
                cells += [f"{frame:.2f}", f"{frame / portrait:.2f}", f"{frame / same:.2f}"]
            rows.append(f"| {height} | {' | '.join(cells)} |")
            print(rows[-1], flush=True)
    return "\n".join(rows)


def difference_table(photos: Sequence[Path]) -> str:
    """A minute of each: the same frames by both."""
    rows = ["| face | largest difference, levels | mean, luma | mean, chroma |", "|---|---|---|---|"]
    cases = {
        "nora, 512": lambda: draw_still(open_portrait(describe_portrait("nora")), 512),
        "theo, 512": lambda: draw_still(open_portrait(describe_portrait("theo")), 512),
        "open mouth, 512": lambda: draw_still(open_mouthed(), 512),
        "video, 256": lambda: draw_video(256, 30),
        **{f"{photo.stem}, a photo, 512": partial(draw_still, open_photo(photo), 512) for photo in photos},
    }
    for name, make in cases.items():
        with kernel(is_native=False):
            by_numpy = make()
        with kernel(is_native=True):
            by_kernel = make()
        most, means = 0, []
        for index in range(NUM_COMPARED):
            with kernel(is_native=False):
                expected = by_numpy(index).planes
            with kernel(is_native=True):
                drawn = by_kernel(index).planes
            away = [cv2.absdiff(drawn.luma, expected.luma), cv2.absdiff(drawn.chroma, expected.chroma)]
            most = max(most, *(int(each.max()) for each in away))
            means.append([float(each.mean()) for each in away])
        luma, chroma = np.mean(means, axis=0)
        rows.append(f"| {name} | {most} | {luma:.3f} | {chroma:.3f} |")
        print(rows[-1], flush=True)
    return "\n".join(rows)


def shape_of(index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What a speaking mouth might do in a frame."""
    phases = index * np.array([0.9, 0.9, 0.35])
    gap, jaw, width = 0.5 + 0.5 * np.sin(phases)
    tongue = max(0.0, np.sin(index * 0.17))
    return np.array([gap, 0.7 * jaw, 1.2 * width - 0.6, 0, 0, tongue], np.float32)


def draw_still(avatar: Avatar, height: int) -> Draw:
    face = StillAvatarRenderer(avatar, height_px=height, has_idle_motion=True)
    return lambda index: face.render(shape_of(index), life_at(7, 3 + 0.04 * index))


def draw_video(height: int, num_frames: int) -> Draw:
    """Frames of a clip, one after the other: of a short one again and again, of a long one all are new."""
    avatar = moving_avatar([max(0.0, 0.16 * np.sin(index / 1.5)) for index in range(num_frames)]).resized(height)
    face = VideoAvatarRenderer(avatar)
    images = avatar.frames.read(range(min(num_frames, 30)))  # whatever they show takes the same time
    state = iter(range(1_000_000))

    def draw(index: int) -> Any:
        place = next(state) % num_frames
        return face.render(shape_of(index), place, images[place % len(images)])

    return draw


def open_mouthed() -> Avatar:
    image, landmarks = draw_face(8.0, 0.3)
    return Avatar("drawn", StillFrames(image), None, (landmarks,), shut_lids(image, landmarks))


def open_photo(path: Path) -> Avatar:
    finder = FaceFinder(find_face_models(None, cache_folder() / "face-models", print))
    avatar = open_face(str(path), finder)
    if avatar is None:
        raise SystemExit(f"{path} shows no face")
    return avatar


def closed_mouthed() -> Avatar:
    """The person of the clips, as a still."""
    image, landmarks = draw_face()
    return Avatar("drawn", StillFrames(image), None, (landmarks,), shut_lids(image, landmarks))


FACES: dict[str, Callable[[int], Draw]] = {
    "still": lambda height: draw_still(open_portrait(describe_portrait("nora")), height),
    "still, open mouth": lambda height: draw_still(open_mouthed(), height),
    "still, the videos' face": lambda height: draw_still(closed_mouthed(), height),
    "video, frames seen before": lambda height: draw_video(height, 30),
    "video, new frames": lambda height: draw_video(height, 400),
}


def time_in_turns(draws: Mapping[Any, tuple[bool, Draw]]) -> dict[Any, float]:
    """CPU of a face, ms, by name; each is drawn in C or by numpy."""
    times_s: dict[Any, list[float]] = {name: [] for name in draws}
    for _ in range(NUM_ROUNDS):
        for name, (is_native, draw) in draws.items():
            with kernel(is_native):
                for index in range(NUM_FACES):
                    started_s = time.thread_time()
                    draw(index)
                    times_s[name].append(time.thread_time() - started_s)
    return {name: 1000 * float(np.mean(sorted(each)[: len(each) // 3])) for name, each in times_s.items()}


def scale_of(draw: Draw, is_native: bool) -> float:
    """Faces per second of two threads together against those of one."""
    with kernel(is_native):
        ratios = []
        for _ in range(3):
            alone_s = wall_s([draw])
            ratios.append(2 * alone_s / wall_s([draw, draw]))
    return median(ratios)


def wall_s(draws: list[Draw]) -> float:
    def work(draw: Draw) -> None:
        for index in range(NUM_FACES):
            draw(index)

    threads = [threading.Thread(target=work, args=(draw,)) for draw in draws]
    started_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started_s


def render_table(speech: Path, sizes: list[int], num_runs: int) -> str:
    header = "| render | numpy: speed | CPU, ms/frame | native: speed | CPU, ms/frame | ffmpeg alone, ms/frame | "
    rows = [header + "numpy ÷ ffmpeg | native ÷ ffmpeg |", "|---|---|---|---|---|---|---|---|"]
    for size in sizes:
        for workers in (2, 1):
            if workers == 1 and size != sizes[0]:
                continue
            rows.append(render_row(speech, size, workers, num_runs))
            print(rows[-1], flush=True)
    return "\n".join(rows)


def render_row(speech: Path, size: int, workers: int, num_runs: int) -> str:
    """Each round has all three, as the machine's speed changes; the last columns are ratios within a round."""
    options = ["--size", str(size), "--workers", str(workers)]
    runs: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    alone: list[float] = []
    with encoding_alone(speech, size) as encode_ms:
        for _ in range(num_runs):
            for is_native, done in runs.items():
                done.append(render_once(speech, options, is_native))
            alone.append(encode_ms())
    cells = [size_name(size, workers)]
    for done in runs.values():
        speed, cpu_ms = (median(run[name] for run in done) for name in ("speed", "cpu_ms"))
        cells += [f"{speed:.1f} ×", f"{cpu_ms:.2f}"]
    ratios = [median(run["cpu_ms"] / ms for run, ms in zip(done, alone, strict=True)) for done in runs.values()]
    return f"| {' | '.join([*cells, f'{median(alone):.2f}', *(f'{ratio:.2f}' for ratio in ratios)])} |"


def size_name(size: int, workers: int) -> str:
    return f"{size}²" + (", 1 worker" if workers == 1 else "")


def render_once(speech: Path, options: list[str], is_native: bool) -> dict[str, float]:
    environment = {**ENVIRONMENT, library.SWITCH: "1" if is_native else "0"}
    with tempfile.TemporaryDirectory() as folder:
        stats = Path(folder) / "stats.jsonl"
        before_s, started_s = children_s(), time.perf_counter()
        arguments = ["render", speech, "-q", "-o", "-", "--stats", stats, *options]
        with start(*arguments, environment=environment, stdout=subprocess.PIPE) as child:
            read_video(child)
        elapsed_s, cpu_s = time.perf_counter() - started_s, children_s() - before_s
        end = read_stats(stats)[-1]
    return {"speed": end["media_s"] / elapsed_s, "cpu_ms": 1000 * cpu_s / end["num_frames"]}


@contextmanager
def encoding_alone(speech: Path, size: int) -> Iterator[Callable[[], float]]:
    """Measures the CPU of ffmpeg for a frame and its audio, ms, from files and into one, as ``render`` calls it."""
    ffmpeg = list_ffmpegs(is_local=True)[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video, raw, pcm = folder / "talk.mp4", folder / "frames", folder / "audio"
        with start("render", speech, "-q", "-o", video, "--size", size) as child:
            assert child.wait() == 0
        read = [ffmpeg, "-v", "error", "-i", str(video), "-t", str(ENCODED_S)]
        subprocess.run([*read, "-map", "0:v", "-f", "rawvideo", str(raw)], check=True)
        subprocess.run([*read, "-map", "0:a", "-f", "s16le", "-ac", "1", str(pcm)], check=True)
        chosen = ChosenAvatar(size, size, size, load=lambda: open_portrait(describe_portrait("nora")))
        command = build_ffmpeg_args(ffmpeg, encoder_settings(Config(), chosen, 1), str(pcm))
        num_frames = raw.stat().st_size // (size * size * 3 // 2)

        def encode_ms() -> float:
            before_s = children_s()
            with raw.open("rb") as frames, (folder / "out.mp4").open("wb") as output:
                subprocess.run(command, stdin=frames, stdout=output, stderr=subprocess.DEVNULL, check=True)
            return 1000 * (children_s() - before_s) / num_frames

        yield encode_ms


def children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()
