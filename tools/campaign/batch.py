"""Renders a shelf of voices as one batch and as single commands: speed, equal frames, memory, and a kill in the middle.

    python -m tools.campaign.batch [--voices 100] [--seconds 5]

Half of the single commands run before the batch and half behind it, so that what else runs on the machine slows both.
It prints one JSON object; the exit code is 1 where frames differ, memory grows, or a resumed batch is not whole.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from tools.measure.command import COMMAND, ENVIRONMENT

VOICE = Path("examples/hello.wav")
POLL_S = 0.05
MAX_GROWTH_MB = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), arguments.voices, arguments.seconds)
    print(json.dumps(found, indent=2))
    is_good = found["frames_equal"] and found["rss_growth_mb"] <= MAX_GROWTH_MB and found["resume"]["is_whole"]
    sys.exit(0 if is_good else 1)


def run(folder: Path, num_voices: int, seconds: float) -> dict[str, Any]:
    """Everything in order; ``folder`` is empty."""
    voices = [make_voice(folder / "voices" / f"voice{number:03}.wav", number, seconds) for number in range(num_voices)]
    single, batch = [0.0, 0.0], [0.0, 0.0]
    half = num_voices // 2
    add(single, lambda: [run_single(voice, folder / "single") for voice in voices[:half]])
    add(batch, lambda: run_batch(voices, folder / "batch"))
    add(single, lambda: [run_single(voice, folder / "single") for voice in voices[half:]])
    names = [f"{voice.stem}.mp4" for voice in voices]
    frames = {name: frames_of(folder / "single" / name) for name in names}
    whole = watch_memory(folder / "voices", folder / "whole", min(10, num_voices))
    is_equal = all(frames_of(folder / way / name) == frames[name] for way in ("batch", "whole") for name in names)
    return {
        "voices": num_voices,
        "seconds": seconds,
        "single": {"wall_s": round(single[0], 1), "cpu_s": round(single[1], 1)},
        "batch": {"wall_s": round(batch[0], 1), "cpu_s": round(batch[1], 1)},
        "wall_ratio": round(single[0] / batch[0], 2),
        "cpu_ratio": round(single[1] / batch[1], 2),
        "frames_equal": is_equal,
        **whole,
        "resume": kill_and_resume(folder / "voices", folder / "resumed", folder / "report.jsonl", frames),
    }


def make_voice(path: Path, number: int, seconds: float) -> Path:
    """The example voice, beginning elsewhere in each file."""
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(VOICE)) as file:
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.int16)
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(np.resize(np.roll(samples, -number * rate // 50), int(rate * seconds)).tobytes())
    return path


def add(total: list[float], work: Callable[[], object]) -> None:
    """Add the seconds that work takes, and those of CPU of the commands in it."""
    before, started_at = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    total[0] += time.perf_counter() - started_at
    total[1] += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_single(voice: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    call("render", voice, "-o", folder / f"{voice.stem}.mp4", "-q")


def run_batch(voices: list[Path], folder: Path) -> None:
    call("render", *voices, "-o", folder, "-q")


def call(*arguments: object) -> None:
    subprocess.run([*COMMAND, *map(str, arguments)], env=ENVIRONMENT, check=True)


def start(voices: Path, folder: Path, report: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [*COMMAND, "render", str(voices), "-o", str(folder), "--report", str(report), "-q", *options]
    return subprocess.Popen(command, env=ENVIRONMENT)


def watch_memory(voices: Path, folder: Path, num_first: int) -> dict[str, Any]:
    """Resident memory of one process that renders all, megabytes: around its first files, in its last, and the most."""
    report = folder.with_suffix(".jsonl")
    process = start(voices, folder, report)
    rss_mb: list[tuple[int, float]] = []
    while process.poll() is None:
        with_rss = psutil.Process(process.pid)
        try:
            rss_mb.append((count_lines(report), with_rss.memory_info().rss / 1e6))
        except psutil.Error:
            break
        time.sleep(POLL_S)
    process.wait()
    num_all = max(count for count, _ in rss_mb)
    # How many files are in work varies, and with it the memory: so the median over as many as there are at first.
    first = median(value for count, value in rss_mb if num_first // 2 <= count <= 3 * num_first // 2)
    last = median(value for count, value in rss_mb if num_all - num_first <= count)
    peak = max(value for _, value in rss_mb)
    return {
        "rss_first_mb": round(first, 1),
        "rss_last_mb": round(last, 1),
        "rss_growth_mb": round(last - first, 1),
        "rss_peak_mb": round(peak, 1),
    }


def kill_and_resume(voices: Path, folder: Path, report: Path, frames: dict[str, str]) -> dict[str, Any]:
    """Kill a batch in its middle, resume it, and see that all is whole, and that nothing whole was made again."""
    process = start(voices, folder, report)
    while count_lines(report) < len(frames) // 2 and process.poll() is None:
        time.sleep(POLL_S)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*.mp4")}
    num_unfinished = len(list(folder.glob(".*.mp4")))
    code = start(voices, folder, report, "--resume").wait()
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    num_again = sum(after.get(name) != made_at for name, made_at in before.items())
    is_equal = set(after) == set(frames) and all(frames_of(folder / name) == frames[name] for name in frames)
    return {
        "whole_when_killed": len(before),
        "unfinished_when_killed": num_unfinished,
        "made_again": num_again,
        "is_whole": code == 0 and is_equal and num_again == 0,
    }


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def frames_of(video: Path) -> str:
    """A checksum of every frame and sample."""
    command = ["ffmpeg", "-v", "error", "-i", str(video), "-f", "md5", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
