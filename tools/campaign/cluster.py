"""Renders a shelf of voices on a Ray cluster of three machines, all of them here: speed, equal frames, a machine lost.

    python -m tools.campaign.cluster [--voices 60] [--seconds 2]

One process, the cluster, the cluster with a machine killed in the middle, and one process again. It prints one JSON
object; the exit code is 1 where frames differ, a report is wrong, or the cluster takes more than a tenth longer.
``cpu_overhead`` is the same in seconds of CPU, which other programs of the machine change less.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tools.campaign.batch import POLL_S, count_lines, frames_of, make_voice
from tools.measure.command import COMMAND, ENVIRONMENT

MAX_OVERHEAD = 0.1
MACHINES = 3
SAMPLE_S = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), arguments.voices, arguments.seconds)
    print(json.dumps(found, indent=2))
    is_good = found["frames_equal"] and found["reports_true"] and found["overhead"] <= MAX_OVERHEAD
    lost = found["lost"]
    sys.exit(0 if is_good and lost["said"] and lost["stdout_bytes"] == lost["exit_code"] == 0 else 1)


def run(folder: Path, num_voices: int, seconds: float) -> dict[str, Any]:
    """Everything in order; ``folder`` is empty."""
    voices = folder / "voices"
    for number in range(num_voices):
        make_voice(voices / f"voice{number:03}.wav", number, seconds)
    # Workers have the same share of a busy machine as the process that they are compared with.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")
    from ray.cluster_utils import Cluster

    before = measured(lambda: render(voices, folder / "before").wait())
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        others = [cluster.add_node(num_cpus=1) for _ in range(MACHINES - 1)]
        ray = ("--ray", cluster.address, "--cpus-per-worker", "1")
        there = measured(lambda: render(voices, folder / "cluster", *ray).wait())
        lost = lose_machine(cluster, others[0], voices, folder / "lost", ray, num_voices)
    finally:
        cluster.shutdown()
    after = measured(lambda: render(voices, folder / "after").wait())
    names = sorted(f"{voice.stem}.mp4" for voice in voices.iterdir())
    ways = ("cluster", "lost")
    frames = {name: frames_of(folder / "before" / name) for name in names}
    return {
        "voices": num_voices,
        "seconds": seconds,
        "one_process_s": [round(before.wall_s, 1), round(after.wall_s, 1)],
        "cluster_s": round(there.wall_s, 1),
        "overhead": round(2 * there.wall_s / (before.wall_s + after.wall_s) - 1, 3),
        "cpu_s": [round(each.cpu_s, 1) for each in (before, there, after)],
        "cpu_overhead": round(2 * there.cpu_s / (before.cpu_s + after.cpu_s) - 1, 3),
        "frames_equal": all(frames_of(folder / way / name) == frames[name] for way in ways for name in names),
        "reports_true": all(is_true(folder / way, names) for way in ways),
        "lost": lost,
    }


@dataclass(frozen=True)
class Cost:
    """Seconds of a clock, and of CPU of all processes below this one."""

    wall_s: float
    cpu_s: float


def measured(work: Callable[[], object]) -> Cost:
    """What work costs."""
    seen: dict[psutil.Process, float] = {}
    is_over = threading.Event()

    def sample_on() -> None:
        while not is_over.wait(SAMPLE_S):
            sample(seen)

    sample(seen)
    before_s = dict(seen)
    sampler = threading.Thread(target=sample_on)
    sampler.start()
    started_at = time.perf_counter()
    work()
    wall_s = time.perf_counter() - started_at
    is_over.set()
    sampler.join()
    return Cost(wall_s, sum(cpu_s - before_s.get(process, 0.0) for process, cpu_s in seen.items()))


def sample(seen: dict[psutil.Process, float]) -> None:
    """Note the CPU seconds of every process. What ffmpeg took is its parent's when it has ended."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times, name = process.cpu_times(), process.name()
            is_of_ray = "raylet" in name or "gcs_server" in name
            if "ffmpeg" not in name:
                children_s = 0.0 if is_of_ray else times.children_user + times.children_system
                seen[process] = times.user + times.system + children_s


def render(voices: Path, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    report = str(folder.with_suffix(".jsonl"))
    command = [*COMMAND, "render", str(voices), "-o", str(folder), "--report", report, *options]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def lose_machine(
    cluster: Any, machine: Any, voices: Path, folder: Path, ray: tuple[str, ...], num_voices: int
) -> dict[str, Any]:
    """Render, and kill all processes of a machine when half of the files are there."""
    started_at = time.perf_counter()
    process = render(voices, folder, *ray)
    while count_lines(folder.with_suffix(".jsonl")) < num_voices // 2 and process.poll() is None:
        time.sleep(POLL_S)
    num_done = count_lines(folder.with_suffix(".jsonl"))
    cluster.remove_node(machine, allow_graceful=False)
    out, said = process.communicate()
    return {
        "done_when_killed": num_done,
        "said": [line for line in said.decode().splitlines() if " is lost" in line],
        "stdout_bytes": len(out),
        "exit_code": process.returncode,
        "wall_s": round(time.perf_counter() - started_at, 1),
    }


def is_true(folder: Path, names: list[str]) -> bool:
    """Whether a report has each file once, whole, as it is; and nothing else is in the folder."""
    records = [json.loads(line) for line in folder.with_suffix(".jsonl").read_text().splitlines()]
    outputs = sorted(Path(record["output"]).name for record in records)
    sizes = {Path(record["output"]).name: record["bytes"] for record in records if record["error"] is None}
    found = {path.name: path.stat().st_size for path in folder.iterdir()}
    return outputs == names and sizes == found


if __name__ == "__main__":
    main()
