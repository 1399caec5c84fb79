"""Measure how long the encoder keeps a frame, and write the table of docs/streaming.md.

    python -m tools.measure.stream.encoder_delay [--seconds 10]

Frames are written one by one at 25 a second, with their audio ahead, as a stream does in the long run; a
frame's delay ends with the last byte of its fragment. The encoder has started before the first of them, as in a run.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from musetalk_cli.engine.audio.blocks import AUDIO_LEAD_S
from musetalk_cli.engine.outputs.fragments import FragmentSplitter
from musetalk_cli.engine.runtime.ffmpeg import find_ffmpeg
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ
from musetalk_cli.engine.video.encoder import READ_BYTES, EncoderProcess, EncoderSettings
from tools.measure.report import STREAMING, describe_machine, update_section

SIZES = ((512, 512), (1280, 720), (1920, 1080))
FRAME_RATE = 25
START_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    rows = [row(width, height, int(args.seconds * FRAME_RATE)) for width, height in SIZES]
    header = "| frame | the first, ms | p50, ms | p95, ms | longest, ms |\n|---|---|---|---|---|"
    text = f"{describe_machine()} {args.seconds:.0f} s each.\n\n" + "\n".join([header, *rows])
    update_section("encoder delay", text, STREAMING)
    print(text)


def row(width: int, height: int, num_frames: int) -> str:
    first_ms, *delays_ms = 1000 * measure(width, height, num_frames)
    p50_ms, p95_ms = np.quantile(delays_ms, [0.5, 0.95])
    return f"| {width} × {height} | {first_ms:.0f} | {p50_ms:.0f} | {p95_ms:.0f} | {max(delays_ms):.0f} |"


def measure(width: int, height: int, num_frames: int) -> np.ndarray:
    """Seconds from writing each frame to its fragment's last byte, but of the last, which nothing follows."""
    settings = EncoderSettings(
        width, height, Fraction(FRAME_RATE), 1, "ultrafast", "zerolatency", 23, None, 128, 1.0, fragment_s=0.02
    )
    process = EncoderProcess(find_ffmpeg("auto"), settings)
    left_at: list[float] = []
    reader = threading.Thread(target=note_times, args=(process, left_at))
    reader.start()
    time.sleep(START_S)
    written_at = []
    audio = np.zeros(AUDIO_RATE_HZ // FRAME_RATE, np.int16)
    process.audio.write(np.zeros(int(AUDIO_LEAD_S * AUDIO_RATE_HZ), np.int16).tobytes())
    begin = time.perf_counter()
    for number, image in enumerate(images(width, height, num_frames)):
        time.sleep(max(0.0, begin + number / FRAME_RATE - time.perf_counter()))
        written_at.append(time.perf_counter())
        process.audio.write(audio.tobytes())
        process.stdin.write(image)
    process.stdin.close()
    process.audio.close()
    reader.join()
    process.close()
    return np.subtract(left_at[: num_frames - 1], written_at[: num_frames - 1], dtype=float)


def note_times(process: EncoderProcess, left_at: list[float]) -> None:
    splitter = FragmentSplitter()
    while data := os.read(process.stdout.fileno(), READ_BYTES):
        for piece in splitter.feed(data):
            left_at += [time.perf_counter()] * piece.num_frames


def images(width: int, height: int, num_frames: int) -> Iterator[bytes]:
    """I420: a soft texture that moves by two pixels from frame to frame."""
    coarse = np.random.default_rng(0).integers(16, 236, (height // 8 + 1, width // 8 + 1))
    luma = np.kron(coarse, np.ones((8, 8), int))[:height, :width].astype(np.uint8)
    chroma = np.full(width * height // 2, 128, np.uint8).tobytes()
    for number in range(num_frames):
        yield np.roll(luma, 2 * number, axis=1).tobytes() + chroma


if __name__ == "__main__":
    main()
