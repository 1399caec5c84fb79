"""Measure ``musetalk render`` from outside and write the tables of docs/performance.md.

    python -m tools.measure.render_speed SPEECH.wav [--runs 5] [--starts 21] [--only-starts]

Every row is the median of some runs of the real command, one at a time: speed against real time, and the seconds from
the command's start to the first bytes and to the first whole fragment (one that plays) on its stdout. As after any
installation, its bytecode is there before it starts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from musetalk_cli.engine.outputs.fragments import FragmentSplitter
from musetalk_cli.engine.runtime.ffmpeg import find_ffmpeg
from tools.measure.report import update_section

DOCUMENT = Path("docs/performance.md")
CASES = {
    "default: 768²": [],
    "1 worker": ["--workers", "1"],
    "1024²": ["--size", "1024"],
    "configs/realtime.yaml": ["--config", "configs/realtime.yaml"],
    "configs/quality.yaml": ["--config", "configs/quality.yaml"],
    "bundled ffmpeg": ["--config", "BUNDLED"],
}
COMMAND = [sys.executable, "-m", "musetalk_cli"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
ONE_CORE = "default, all on one core"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--starts", type=int, default=21)
    parser.add_argument("--only-starts", action="store_true")
    args = parser.parse_args()
    machine = describe_machine()
    text = f"{machine}\n\n{describe_starts(args.speech, args.starts)}"
    update_section("render starts", text, DOCUMENT)
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
    update_section("render speed", text, DOCUMENT)
    print(text)


def describe_starts(speech: Path, num_starts: int) -> str:
    command = [*COMMAND, "render", str(speech), "-q", "-o", "-"]
    start(command)  # the first one compiles, and reads from the disk
    times_s = sorted(start(command) for _ in range(num_starts))
    loop_s = median(time_loop() for _ in range(5))
    quartiles = f"{times_s[num_starts // 4]:.2f} to {times_s[-1 - num_starts // 4]:.2f}"
    return (
        f"Start to first bytes, {num_starts} starts: median {median(times_s):.2f} s, half of them {quartiles} s, least "
        f"{times_s[0]:.2f} s. Three million turns of an empty Python loop took {loop_s:.2f} s."
    )


def start(command: list[str]) -> float:
    """Seconds to the first byte; the rest is not waited for."""
    time.sleep(0.3)
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as child:
        assert child.stdout
        is_there = bool(os.read(child.stdout.fileno(), 1))
        elapsed_s = time.perf_counter() - started
        child.terminate()
        while os.read(child.stdout.fileno(), 1 << 16):
            pass
    assert is_there, f"{command} failed"
    return elapsed_s


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
        bundled, stats = Path(folder) / "bundled.yaml", Path(folder) / "stats.jsonl"
        bundled.write_text("ffmpeg: bundled\n")
        options = [str(bundled) if option == "BUNDLED" else option for option in options]
        command = [*COMMAND, "render", str(speech), "-q", "-o", "-", "--stats", str(stats)]
        before, started = os.times(), time.perf_counter()
        first_byte_s, first_fragment_s = read_stream([*command, *options], started)
        elapsed_s, after = time.perf_counter() - started, os.times()
        end = json.loads(stats.read_text().splitlines()[-1])
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {
        "speed": end["media_s"] / elapsed_s,
        "first_byte_s": first_byte_s,
        "first_fragment_s": first_fragment_s,
        "cpu_ms": 1000 * cpu_s / end["num_frames"],
        "stages": {name: 1000 * timing["busy_s"] / end["num_frames"] for name, timing in end["stages"].items()},
    }


def read_stream(command: list[str], started: float) -> tuple[float, float]:
    first_byte_s, first_fragment_s, splitter = 0.0, 0.0, FragmentSplitter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as child:
        assert child.stdout
        while data := os.read(child.stdout.fileno(), 1 << 16):
            now_s = time.perf_counter() - started
            first_byte_s = first_byte_s or now_s
            if any(part.num_frames for part in splitter.feed(data)):
                first_fragment_s = first_fragment_s or now_s
    assert child.returncode == 0, f"{command} failed"
    return first_byte_s, first_fragment_s


def describe_machine() -> str:
    told = subprocess.run([find_ffmpeg(), "-version"], capture_output=True, text=True, check=True).stdout.split()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{date.today()}, {platform.machine()}, {cores} cores, Python {platform.python_version()}, ffmpeg {told[2]}."


if __name__ == "__main__":
    main()
