"""Slow the warp model to a share of real time and write what each policy makes of it into docs/streaming.md.

    python -m tools.measure.stream.overload SPEECH.wav [--seconds 30] [--speed 0.6]

The real command runs with the real model, which afterwards sleeps until it has been as slow as wanted; what it writes
is decoded again, and its audio compared with the speech.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from fixtures.media import write_wav
from tools.measure.command import read_stats, sample_usage, start
from tools.measure.report import STREAMING, describe_machine, update_section
from tools.measure.stream.speech import RATE_HZ, decode

SAMPLE_S = 0.25
SLOWED = """
import sys, threading, time
from musetalk_cli.engine.models.warp.model import WarpModel
make, turn, speed = WarpModel.make_faces, threading.Lock(), float(sys.argv.pop(1))
def make_slowly(self, batch):
    with turn:
        started = time.perf_counter()
        faces = make(self, batch)
        time.sleep(max(0.0, len(batch.frames) / 25 / speed - (time.perf_counter() - started)))
    return faces
WarpModel.make_faces = make_slowly
WarpModel.make_idle = lambda self, batch: make(self, batch)
from musetalk_cli.__main__ import main
main()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--speed", type=float, default=0.6)
    args = parser.parse_args()
    audio = decode(args.speech, args.seconds)
    rows = [row(policy, audio, args.speed) for policy in ("hold", "idle", "skip")]
    header = "| policy | frames | left out | most in a second | skew at the end, ms | audio, correlation | "
    header += "most inside, s | RAM, first and last third, MB |\n|---|---|---|---|---|---|---|---|"
    about = (
        f"{describe_machine()} Blocks of 0.4 s, 256², the model at {args.speed:.0%} of real time, {args.seconds:.0f} s."
    )
    text = f"{about}\n\n" + "\n".join([header, *rows])
    update_section("stream overload", text, STREAMING)
    print(text)


def row(policy: str, audio: np.ndarray, speed: float) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_wav(folder / "speech.wav", audio[:, None])
        script = folder / "slowed.py"
        script.write_text(SLOWED)
        options = ["stream", "-i", str(folder / "speech.wav"), "--size", "256", "--block", "0.4", "-q"]
        options += ["--when-slow", policy, "-o", str(folder / "out.mp4"), "--stats", str(folder / "stats.jsonl")]
        child = start(*options, program=(sys.executable, str(script), str(speed)))
        memory_mb = [sample.rss_mb for sample in sample_usage(child, SAMPLE_S)]
        records = read_stats(folder / "stats.jsonl")
        alike = compare(folder / "out.mp4", audio)
    live, num_frames = records[-1]["live"], records[-1]["num_frames"]
    left_out = sum(live["counts"].values())
    third = len(memory_mb) // 3
    memory = f"{np.median(memory_mb[third : 2 * third]):.0f} · {np.median(memory_mb[2 * third :]):.0f}"
    inside = max(record["live"]["buffer_s"] for record in records)
    still = most_in_a_second(records)
    return (
        f"| `{policy}` | {num_frames} | {left_out} ({left_out / num_frames:.0%}) | {still} | {live['skew_ms']:.1f} | "
        f"{alike:.4f} | {inside:.2f} | {memory} |"
    )


def most_in_a_second(records: list[dict[str, dict[str, dict[str, int]]]]) -> int:
    """The most frames that were left out within one second, as the statistics tell it."""
    totals = [sum(record["live"]["counts"].values()) for record in records]
    return max(np.diff([0, *totals]).tolist())


def compare(video: Path, audio: np.ndarray) -> float:
    """Correlation of a video's audio with what was said, at the best place."""
    heard = decode(video, len(audio) / RATE_HZ).astype(float)
    lag = 1024  # the packet with which the AAC encoder begins
    return float(np.corrcoef(heard[lag:], audio[: len(heard) - lag])[0, 1])


if __name__ == "__main__":
    main()
