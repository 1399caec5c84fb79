"""Speak into a virtual microphone for some minutes, and write what came out into docs/streaming.md.

    python -m tools.measure.stream.microphone SPEECH.wav [--minutes 3] [--block 1.0]

Needs pulseaudio and pulseaudio-utils. The audio of the finished video is compared with what was played, in pieces of
ten seconds, and the rhythm of its moving frame with its audio.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from fixtures.media import write_wav
from fixtures.servers import pulse_audio
from tools.measure.command import read_stats, start
from tools.measure.report import STREAMING, describe_machine, update_section
from tools.measure.stream.drift import PART_S, SIZE, measure_lag_ms
from tools.measure.stream.speech import RATE_HZ, decode

PIECE_S = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--block", type=float, default=1.0)
    args = parser.parse_args()
    said = decode(args.speech, args.minutes * 60)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_wav(folder / "said.wav", said[:, None])
        end = record(folder, args.block, args.minutes * 60)
        heard = decode(folder / "out.mp4", end["media_s"])
        lags_ms = [measure_lag_ms(folder / "out.mp4", start_s) for start_s in (0, end["media_s"] - PART_S)]
    places, likeness = compare(heard.astype(float), said.astype(float))
    live = end["live"]
    text = f"""{describe_machine()} {args.minutes:.0f} minutes at {SIZE}², blocks of {args.block} s.

| what | result |
|---|---|
| audio against what was played, correlation of {len(likeness)} parts of {PIECE_S} s | {min(likeness):.4f} at least |
| place of the last part against the first, ms | {1000 * (places[-1] - places[0]) / RATE_HZ:+.2f} |
| frame against audio, by their rhythms, first and last {PART_S} s, ms | {lags_ms[0]:+.0f} · {lags_ms[1]:+.0f} |
| latency p50 · p95, s | {live["latency"]["run_p50_s"]:.2f} · {live["latency"]["run_p95_s"]:.2f} |
| frames · held · overruns | {end["num_frames"]} · {live["counts"]["num_held"]} · {live["num_overruns"]} |"""
    update_section("stream microphone", text, STREAMING)
    print(text)


def record(folder: Path, block_s: float, duration_s: float) -> dict[str, Any]:
    """Stream the microphone while it is spoken into; the last record of the statistics."""
    with pulse_audio(folder / "pulse") as microphone:
        outputs = ["-o", folder / "out.mp4", "--stats", folder / "stats.jsonl"]
        options = ["--size", SIZE, "--block", block_s, "-q"]
        child = start("stream", "--mic", *outputs, *options, environment=microphone.environment)
        while not (folder / "out.mp4").exists():
            assert child.poll() is None, "the stream failed"
            time.sleep(0.1)
        assert microphone.play(folder / "said.wav").wait(duration_s + 60) == 0
        time.sleep(1)
        child.terminate()
        child.wait(60)
    return read_stats(folder / "stats.jsonl")[-1]


def compare(heard: np.ndarray, said: np.ndarray) -> tuple[list[int], list[float]]:
    """Where each piece of what was said lies in what was heard, less its own place, and how alike they are."""
    size = PIECE_S * RATE_HZ
    # Near the beginning: a short speech is repeated, and fits in several places.
    start = find(heard[: max(0, len(heard) - len(said)) + size], said[:size])
    places, likeness = [], []
    for at in range(0, len(said) - size, size):
        piece = said[at : at + size]
        near = max(0, start + at - RATE_HZ)
        place = near + find(heard[near : start + at + size + RATE_HZ], piece)
        places.append(place - at)
        likeness.append(float(np.corrcoef(heard[place : place + size], piece)[0, 1]))
    return places, likeness


def find(heard: np.ndarray, piece: np.ndarray) -> int:
    """The sample of ``heard`` at which ``piece`` begins: the highest correlation."""
    size = 1 << int(np.ceil(np.log2(len(heard) + len(piece))))
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(piece, size))
    return int(np.argmax(np.fft.irfft(spectrum, size)[: len(heard)]))


if __name__ == "__main__":
    main()
