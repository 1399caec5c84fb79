"""Measure how long each encoder keeps a frame and what it costs, and write the tables of the documents.

    python -m tools.measure.stream.encoder_delay [--seconds 10] [--only in-process]

Frames are given one by one at 25 a second, with their audio ahead, as a stream does in the long run; a frame's delay
ends with the last byte of its fragment. The encoder has started before the first of them, as in a run. The ffmpeg
child and the encoder in this process take turns, size by size.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fixtures.programs import find_ffmpeg
from musetalk_cli.engine.audio.blocks import AUDIO_LEAD_S
from musetalk_cli.engine.outputs.fragments import FragmentSplitter
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, ByteArray
from musetalk_cli.engine.video.encoder import READ_BYTES, EncoderProcess, EncoderSettings
from musetalk_cli.engine.video.inprocess_encoder import InProcessEncoder
from tools.measure.report import PERFORMANCE, STREAMING, describe_machine, update_section

SIZES = ((512, 512), (1280, 720), (1920, 1080))
FRAME_RATE = 25
START_S = 1.0
NUM_ENCODERS, NUM_WARM_FRAMES = 10, 30
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LEAD = np.zeros((int(AUDIO_LEAD_S * AUDIO_RATE_HZ), 1), np.int16)
# A frame's audio, whole periods of 150 Hz.
HUM = (6_000 * np.sin(2 * np.pi * 150 * np.arange(AUDIO_RATE_HZ // FRAME_RATE) / AUDIO_RATE_HZ)).astype(np.int16)[
    :, None
]


class Measured(NamedTuple):
    """``delays_s`` of all frames; ``cpu_ms`` per frame, of this process and of the child together."""

    delays_s: np.ndarray
    cpu_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", choices=["in-process"], help="leave the table of docs/streaming.md as it is")
    args = parser.parse_args()
    memory = memory_table(512, 512)  # first, while no freed memory is there to be used again
    results = {size: compare(*size, int(args.seconds * FRAME_RATE)) for size in SIZES}
    head = f"{describe_machine()} {args.seconds:.0f} s each."
    if not args.only:
        update_section("encoder delay", f"{head}\n\n{child_table(results)}", STREAMING)
    text = f"{head}\n\n{both_table(results)}\n\n{memory}"
    update_section("encoding in process", text, PERFORMANCE)
    print(text)


Results = dict[tuple[int, int], tuple[Measured, Measured]]


def compare(width: int, height: int, num_frames: int) -> tuple[Measured, Measured]:
    """The child's figures, and those of the encoder in this process."""
    frames = images(width, height, num_frames)
    return measure_child(settings(width, height), frames), measure_in_process(settings(width, height), frames)


def settings(width: int, height: int) -> EncoderSettings:
    return EncoderSettings(
        width, height, Fraction(FRAME_RATE), 1, "ultrafast", "zerolatency", 23, None, 128, 1.0, fragment_s=0.02
    )


def child_table(results: Results) -> str:
    header = "| frame | the first, ms | p50, ms | p95, ms | longest, ms |\n|---|---|---|---|---|"
    rows = [f"| {width} × {height} | {delays(child)} |" for (width, height), (child, _) in results.items()]
    return "\n".join([header, *rows])


def both_table(results: Results) -> str:
    header = "| frame | encoder | the first, ms | p50, ms | p95, ms | longest, ms | CPU, ms/frame |"
    rows = [
        f"| {width} × {height} | {name} | {delays(measured, digits=1)} | {measured.cpu_ms:.1f} |"
        for (width, height), pair in results.items()
        for name, measured in zip(("ffmpeg child", "in process"), pair, strict=True)
    ]
    return "\n".join([header, "|---|---|---|---|---|---|---|", *rows])


def delays(measured: Measured, digits: int = 0) -> str:
    first_ms, *rest_ms = 1000 * measured.delays_s
    figures = (first_ms, *np.quantile(rest_ms, [0.5, 0.95]), max(rest_ms))
    return " | ".join(f"{figure:.{digits}f}" for figure in figures)


def measure_child(given: EncoderSettings, frames: list[ByteArray]) -> Measured:
    """Every frame but the last, which nothing follows."""
    process = EncoderProcess(find_ffmpeg("auto"), given)
    left_at: list[float] = []
    reader = threading.Thread(target=note_times, args=(process, left_at))
    reader.start()
    time.sleep(START_S)
    process.audio.write(LEAD.tobytes())

    def give(image: ByteArray, audio: AudioArray) -> None:
        process.audio.write(audio.tobytes())
        process.stdin.write(image.data)

    written_at, cpu_ms = give_in_real_time(give, frames, process._child.pid)
    process.stdin.close()
    process.audio.close()
    reader.join()
    process.close()
    num_frames = len(frames) - 1
    return Measured(np.subtract(left_at[:num_frames], written_at[:num_frames], dtype=float), cpu_ms)


def measure_in_process(given: EncoderSettings, frames: list[ByteArray]) -> Measured:
    encoder = InProcessEncoder(given)
    left_at: list[float] = []
    encoder.encode([], LEAD)

    def give(image: ByteArray, audio: AudioArray) -> None:
        encoder.encode([image], audio)
        left_at.append(time.perf_counter())

    written_at, cpu_ms = give_in_real_time(give, frames)
    encoder.close()
    return Measured(np.subtract(left_at, written_at, dtype=float), cpu_ms)


def give_in_real_time(
    give: Callable[[ByteArray, AudioArray], None], frames: list[ByteArray], child_pid: int | None = None
) -> tuple[list[float], float]:
    """When each frame was given, and the CPU of it all in ms per frame."""
    written_at = []
    begin, cpu_s = time.perf_counter(), count_cpu_s(child_pid)
    for number, image in enumerate(frames):
        time.sleep(max(0.0, begin + number / FRAME_RATE - time.perf_counter()))
        written_at.append(time.perf_counter())
        give(image, HUM)
    time.sleep(1 / FRAME_RATE)
    return written_at, 1000 * (count_cpu_s(child_pid) - cpu_s) / len(frames)


def count_cpu_s(child_pid: int | None) -> float:
    """CPU that this process and a child of it have used."""
    own_s = time.process_time()
    if child_pid is None:
        return own_s
    fields = Path(f"/proc/{child_pid}/stat").read_text().rsplit(")", 1)[1].split()
    return own_s + (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def note_times(process: EncoderProcess, left_at: list[float]) -> None:
    splitter = FragmentSplitter()
    while data := os.read(process.stdout.fileno(), READ_BYTES):
        for part in splitter.feed(data):
            left_at += [time.perf_counter()] * part.num_frames


def memory_table(width: int, height: int) -> str:
    """What a further encoder takes once it has encoded some frames."""
    frames, given = images(width, height, NUM_WARM_FRAMES), settings(width, height)
    rows = [
        f"| in process, mean of {NUM_ENCODERS} after the first | {measure_memory_in_process(given, frames):.1f} | |",
        "| ffmpeg child | {:.1f} | {:.1f} |".format(*measure_child_memory(given, frames)),
    ]
    header = f"| a further encoder, {width} × {height} | resident, MB | of it its own, MB |\n|---|---|---|"
    return "\n".join([header, *rows])


def measure_memory_in_process(given: EncoderSettings, frames: list[ByteArray]) -> float:
    """MB for each of ten encoders that are open at once."""
    encoders, resident_mb = [], []
    for _ in range(1 + NUM_ENCODERS):
        encoders.append(InProcessEncoder(given))
        for image in frames:
            encoders[-1].encode([image], HUM)
        resident_mb.append(read_memory_mb(os.getpid())[0])
    for encoder in encoders:
        encoder.close()
    return (resident_mb[-1] - resident_mb[0]) / NUM_ENCODERS


def measure_child_memory(given: EncoderSettings, frames: list[ByteArray]) -> tuple[float, float]:
    """MB resident, and of it what no other process shares."""
    process = EncoderProcess(find_ffmpeg("auto"), given)
    reader = threading.Thread(target=note_times, args=(process, []))
    reader.start()
    for image in frames:
        process.audio.write(HUM.tobytes())
        process.stdin.write(image.data)
    time.sleep(START_S)
    memory_mb = read_memory_mb(process._child.pid)
    process.stdin.close()
    process.audio.close()
    reader.join()
    process.close()
    return memory_mb


def read_memory_mb(pid: int) -> tuple[float, float]:
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    sizes_kb = {line[0]: int(line[1]) for line in lines}
    return sizes_kb["Rss:"] / 1000, (sizes_kb["Private_Clean:"] + sizes_kb["Private_Dirty:"]) / 1000


def images(width: int, height: int, num_frames: int) -> list[ByteArray]:
    """I420: a soft texture that moves by two pixels from frame to frame."""
    coarse = np.random.default_rng(0).integers(16, 236, (height // 8 + 1, width // 8 + 1))
    luma = np.kron(coarse, np.ones((8, 8), int))[:height, :width].astype(np.uint8)
    chroma = np.full((height // 2, width), 128, np.uint8)
    return [np.concatenate([np.roll(luma, 2 * number, axis=1), chroma]) for number in range(num_frames)]


if __name__ == "__main__":
    main()
