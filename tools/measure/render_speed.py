"""Measure ``musetalk render`` from outside and write the tables of docs/performance.md.

    python -m tools.measure.render_speed SPEECH.wav [--runs 5] [--starts 21] [--only-starts]

Every row is the median of some runs of the real command, one at a time: speed against real time, and the seconds from
the command's start to the first bytes and to the first whole fragment (one that plays) on its stdout. As after any
installation, its bytecode is there before it starts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from fixtures.programs import find_ffmpeg
from tools.measure.command import read_stats, read_video, start, time_start
from tools.measure.report import PERFORMANCE, describe_machine, update_section

CASES = {
    "default: 768²": [],
    "1 worker": ["--workers", "1"],
    "1024²": ["--size", "1024"],
    "--preset realtime": ["--preset", "realtime"],
    "--preset quality": ["--preset", "quality"],
    "ffmpeg on PATH": ["--config", "ON_PATH"],
}
ONE_CORE = "default, all on one core"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--starts", type=int, default=21)
    parser.add_argument("--only-starts", action="store_true")
    args = parser.parse_args()
    machine = describe_machine(renders=True)
    text = f"{machine}\n\n{describe_starts(args.speech, args.starts)}"
    update_section("render starts", text, PERFORMANCE)
    print(text)
    if args.only_starts:
        return
    rows = [row(name, args.speech, options, args.runs) for name, options in CASES.items()]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        rows.append(row(ONE_CORE, args.speech, [], args.runs))
    header = "| case | speed | first bytes, s | first fragment, s | CPU, ms/frame | "
    header += "decode · features · avatar · model · composite · encode, ms/frame busy |\n|---|---|---|---|---|---|"
    text = f"{machine}\n\n" + "\n".join([header, *rows])
    update_section("render speed", text, PERFORMANCE)
    print(text)


def describe_starts(speech: Path, num_starts: int) -> str:
    command = ["render", speech, "-q", "-o", "-"]
    time_start(*command)  # the first one compiles, and reads from the disk
    times_s = []
    for _ in range(num_starts):
        time.sleep(0.3)
        times_s.append(time_start(*command))
    times_s.sort()
    loop_s = median(time_loop() for _ in range(5))
    quartiles = f"{times_s[num_starts // 4]:.2f} to {times_s[-1 - num_starts // 4]:.2f}"
    return (
        f"Start to first bytes, {num_starts} starts: median {median(times_s):.2f} s, half of them {quartiles} s, least "
        f"{times_s[0]:.2f} s. Three million turns of an empty Python loop took {loop_s:.2f} s."
    )


def time_loop() -> float:
    started = time.perf_counter()
    for _ in range(3_000_000):
        pass
    return time.perf_counter() - started


def row(name: str, speech: Path, options: list[str], num_runs: int) -> str:
    runs = [run_once(speech, options) for _ in range(num_runs)]
    pick = {key: median(run[key] for run in runs) for key in runs[0] if key != "stages"}
    stages = [median(run["stages"][stage] for run in runs) for stage in runs[0]["stages"]]
    busy = " · ".join(f"{value:.2f}" for value in stages)
    first = f"{pick['first_byte_s']:.2f} | {pick['first_fragment_s']:.2f}"
    return f"| {name} | {pick['speed']:.1f} × | {first} | {pick['cpu_ms']:.1f} | {busy} |"


def run_once(speech: Path, options: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        config, stats = Path(folder) / "config.yaml", Path(folder) / "stats.jsonl"
        config.write_text(f"ffmpeg: {find_ffmpeg()}\n")
        options = [str(config) if option == "ON_PATH" else option for option in options]
        before, started_s = os.times(), time.perf_counter()
        child = start("render", speech, "-q", "-o", "-", "--stats", stats, *options, stdout=subprocess.PIPE)
        with child:
            arrival = read_video(child)
        elapsed_s, after = time.perf_counter() - started_s, os.times()
        end = read_stats(stats)[-1]
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {
        "speed": end["media_s"] / elapsed_s,
        "first_byte_s": arrival.first_byte_s - started_s,
        "first_fragment_s": arrival.frames_s[0] - started_s,
        "cpu_ms": 1000 * cpu_s / end["num_frames"],
        "stages": {name: 1000 * timing["busy_s"] / end["num_frames"] for name, timing in end["stages"].items()},
    }


if __name__ == "__main__":
    main()
