"""Measure the latency of ``musetalk stream`` from outside and write the table of docs/streaming.md.

    python -m tools.measure.stream.latency SPEECH.wav [--seconds 30]

Once the avatar idles, the speech is written to stdin in real time. A frame's latency is the time from writing
the sample it begins with to reading the last byte of its fragment from the command's stdout; the steps are what the
command itself says in its statistics.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from tools.measure.command import read_stats, read_video, start
from tools.measure.report import STREAMING, describe_machine, update_section
from tools.measure.stream.speech import RATE_HZ, decode

BLOCKS_S = (0.2, 0.5, 1.0, 2.0)
STEP_S = 0.02
STEPS = ("capture", "features", "model", "composite", "encode")
NUM_TRIES = 4
SETTLED_S = 5.0  # what came before belongs to the start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--note", default="", help="a sentence to stand under the table")
    args = parser.parse_args()
    audio = decode(args.speech, args.seconds)
    rows = [row(block_s, audio) for block_s in BLOCKS_S]
    header = "| block, s | latency p50, s | p95, s | first byte, s | " + " | ".join(STEPS) + " | held |\n"
    header += "|---|---|---|---|" + "---|" * (len(STEPS) + 1)
    words = "Steps: p50 / p95 of each one's share, ms. *First byte* is counted from the command's start."
    text = "\n\n".join(filter(None, [describe_machine(), "\n".join([header, *rows]), words, args.note]))
    update_section("stream latency", text, STREAMING)
    print(text)


def row(block_s: float, audio: np.ndarray) -> str:
    for _ in range(NUM_TRIES):
        latencies_s, first_byte_s, end = measure(block_s, audio)
        if len(latencies_s):
            break
    else:
        return f"| {block_s} | interrupted {NUM_TRIES} times | | | {' | '.join('' for _ in STEPS)} | |"
    steps = " | ".join("{:.0f} / {:.0f}".format(*end["live"]["latency"]["steps"][name]) for name in STEPS)
    p50_s, p95_s = np.quantile(latencies_s, [0.5, 0.95])
    held = end["live"]["counts"]["num_held"]
    return f"| {block_s} | {p50_s:.2f} | {p95_s:.2f} | {first_byte_s:.2f} | {steps} | {held} |"


def measure(block_s: float, audio: np.ndarray) -> tuple[np.ndarray, float, dict[str, Any]]:
    """Latency of each frame in seconds, seconds to the first byte, and the last record of the statistics.

    No latencies when this machine was too busy to speak without a gap: frames would not match samples.
    """
    with tempfile.TemporaryDirectory() as folder:
        stats = Path(folder) / "stats.jsonl"
        options = ["--input", "-", "--format", "s16le", "--rate", RATE_HZ, "--block", block_s, "-q", "--stats", stats]
        started_s = time.perf_counter()
        child = start("stream", *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        said_at: list[float] = []
        is_idle = threading.Event()
        speaker = threading.Thread(target=speak, args=(child, audio, said_at, is_idle))
        speaker.start()
        arrival = read_video(child, is_idle)
        speaker.join()
        records = read_stats(stats)
    # The silence before the first word; more than that, and frames would not match samples.
    filled_s = [record["live"]["num_filled_s"] for record in records]
    if filled_s[-1] - filled_s[len(filled_s) // 2] > 0.01:
        return np.zeros(0), 0.0, records[-1]
    steps = ((np.arange(len(arrival.frames_s)) / 25 - filled_s[-1]) / STEP_S).astype(int)
    is_settled = (steps >= SETTLED_S / STEP_S) & (steps < len(said_at))
    latencies_s = np.array(arrival.frames_s)[is_settled] - np.array(said_at)[steps[is_settled]]
    return latencies_s, arrival.first_byte_s - started_s, records[-1]


def speak(child: subprocess.Popen[bytes], audio: np.ndarray, said_at: list[float], is_idle: threading.Event) -> None:
    """Write the audio in real time, and note when each step of it was written."""
    assert child.stdin
    is_idle.wait()
    step = round(STEP_S * RATE_HZ)
    started = time.perf_counter()
    for index in range(0, len(audio) - step, step):
        time.sleep(max(0.0, started + index / RATE_HZ - time.perf_counter()))
        child.stdin.write(audio[index : index + step].tobytes())
        child.stdin.flush()
        said_at.append(time.perf_counter())
    child.stdin.close()


if __name__ == "__main__":
    main()
