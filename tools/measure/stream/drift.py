"""Stream half an hour, look for drift and growth, and write what was found into docs/streaming.md.

    python -m tools.measure.stream.drift SPEECH.wav [--minutes 30] [--real-time]

The speech is repeated and streamed through a pipe into a file and an HLS folder, without pace unless ``--real-time`` is
given. Sync is measured in the finished file: the rhythm of the moving frame against the rhythm of the audio, in its
first and its last two minutes. More than two hours are written into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from fixtures.programs import find_ffmpeg
from tools.measure.command import read_stats, sample_usage, start
from tools.measure.report import RELIABILITY, STREAMING, describe_machine, update_section
from tools.measure.stream.speech import RATE_HZ, decode

FPS = 25
SIZE = 96
PART_S = 120
LONG_MINUTES = 120
SAMPLE_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--real-time", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seen = run(folder, args.speech, args.minutes, args.real_time)
        end = read_stats(folder / "stats.jsonl")[-1]
        video = folder / "out.mp4"
        lags_ms = [measure_lag_ms(video, start_s) for start_s in (0, args.minutes * 60 - PART_S)]
        num_frames, audio_s = count(video)
    fifth = max(1, len(seen) // 5)
    early, late = np.median(seen[fifth : 2 * fifth], axis=0), np.median(seen[-fifth:], axis=0)
    pace = "in real time" if args.real_time else "as fast as it goes"
    about = f"{args.minutes:.0f} minutes of speech at {SIZE}², {pace}, in {end['elapsed_s']:.0f} s."
    text = f"""{describe_machine()} {about}

| what | early | at the end |
|---|---|---|
| frame against audio, by their rhythms, ms | {lags_ms[0]:+.0f} | {lags_ms[1]:+.0f} |
| resident memory, MB | {early[0]:.1f} | {late[0]:.1f} |
| threads | {early[1]:.0f} | {late[1]:.0f} |
| open files | {early[2]:.0f} | {late[2]:.0f} |

{num_frames} frames are {num_frames / FPS:.3f} s, the audio is {audio_s:.3f} s.
"""
    if args.minutes > LONG_MINUTES:
        update_section("hours of streaming", text, RELIABILITY)
    else:
        update_section("stream drift", text, STREAMING)
    print(text)


def run(folder: Path, speech: Path, minutes: float, is_real_time: bool) -> np.ndarray:
    """Memory (MB), threads and files of the command, float (n, 3), sampled every half second."""
    options = ["-i", "-", "--format", "s16le", "--rate", RATE_HZ, "--duration", 60 * minutes, "--size", SIZE, "-q"]
    options += ["-o", folder / "out.mp4", "-o", f"{folder}/hls/", "--stats", folder / "stats.jsonl"]
    child = start("stream", *options, *([] if is_real_time else ["--no-pace"]), stdin=subprocess.PIPE)
    threading.Thread(target=speak, args=(child.stdin, decode(speech).tobytes()), daemon=True).start()
    samples = sample_usage(child, SAMPLE_S)
    return np.array([(sample.rss_mb, sample.num_threads, sample.num_files) for sample in samples], dtype=float)


def speak(pipe: IO[bytes], speech: bytes) -> None:
    """Repeat the speech until the command has enough of it."""
    with suppress(BrokenPipeError):
        while True:
            pipe.write(speech)


def measure_lag_ms(video: Path, start_s: float) -> float:
    """How much later the frame moves than the audio is heard, from the correlation of both rhythms."""
    at = ["-ss", str(max(0.0, start_s)), "-t", str(PART_S)]
    base = [find_ffmpeg(), "-v", "error", *at, "-i", str(video)]
    raw = subprocess.run(
        [*base, "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{SIZE}x{SIZE}", "pipe:1"], capture_output=True, check=True
    ).stdout
    images = np.frombuffer(raw, np.uint8).reshape(-1, SIZE, SIZE)[:, SIZE // 2 :].astype(np.float32)
    audio = subprocess.run(
        [*base, "-f", "s16le", "-ac", "1", "-ar", str(RATE_HZ), "pipe:1"], capture_output=True, check=True
    ).stdout
    samples = np.frombuffer(audio, "<i2").astype(np.float32)
    step = RATE_HZ // FPS
    loudness = np.log1p(np.abs(samples[: len(samples) // step * step]).reshape(-1, step).mean(axis=1))
    openness = images.std(axis=(1, 2))
    length = min(len(loudness), len(openness))
    return 1000 / FPS * best_lag(openness[:length], loudness[:length])


def best_lag(later: np.ndarray, earlier: np.ndarray, most: int = 12) -> float:
    """Frames by which ``later`` follows ``earlier``: the top of a parabola through the best correlation."""
    both = [(series - series.mean()) / series.std() for series in (later, earlier)]
    alike = np.abs(
        [
            float(np.mean(both[0][most + lag : len(later) - most + lag] * both[1][most:-most]))
            for lag in range(-most, most + 1)
        ]
    )
    top = int(np.clip(np.argmax(alike), 1, 2 * most - 1))
    left, middle, right = alike[top - 1 : top + 2]
    return top - most + 0.5 * float(left - right) / float(left - 2 * middle + right)


def count(video: Path) -> tuple[int, float]:
    """Frames of a video, and seconds of its audio without the packet that AAC begins with."""
    base = [find_ffmpeg(), "-v", "error", "-i", str(video)]
    stats = subprocess.run(
        [*base, "-map", "0:v", "-c", "copy", "-f", "framecrc", "pipe:1"], capture_output=True, check=True
    )
    rows = [line for line in stats.stdout.splitlines() if not line.startswith(b"#")]
    samples = [*base, "-f", "s16le", "-ac", "1", "-ar", str(RATE_HZ), "pipe:1"]
    with subprocess.Popen(samples, stdout=subprocess.PIPE) as decoder:
        assert decoder.stdout
        num_bytes = sum(len(data) for data in iter(lambda: decoder.stdout.read(1 << 20), b""))
    return len(rows), (num_bytes / 2 - 1024) / RATE_HZ


if __name__ == "__main__":
    main()
