"""Measure sessions (latency, interruption, memory, how many at once) and write the table of docs/streaming.md.

    python -m tools.measure.sessions [VOICE.wav] [--write] [--quick]

The avatar is nora at 512² and 25 fps, the model warp. Without VOICE, the made voice of ``musetalk bench`` speaks. All
moments are random and the same in every run. The avatar does not blink or sway where a shut mouth has to be told from
the pixels: it is shut when a frame equals the one at rest.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from fixtures.session_consumer import Consumer, Taken, close_all, is_frame, is_spoken
from musetalk_cli.app.session_assembly import OpenAvatar, Output, open_avatar
from musetalk_cli.benchmark.workload.speech import speech
from musetalk_cli.configuration.schema import Config, VideoConfig, WarpConfig
from musetalk_cli.engine.outputs.fragments import Fragment
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray
from musetalk_cli.engine.types.session import Frame, Late, UtteranceFinished
from tools.measure.report import STREAMING, describe_machine, update_section
from tools.measure.stream.encoder_delay import images, measure_in_process, settings
from tools.measure.stream.speech import decode

SIZE_PX = 512
PIECE_S = 0.02
BLOCKS_S = (0.2, 0.1, 0.04)
SESSION_COUNTS = (1, 2, 4, 6, 8)
VOICE_S = 10.0
FRAME_S = 0.04
SHUT_FRAMES = 8  # watched behind a clear
NUM_FURTHER = 8
WORDS = """Frames are handed out 0.25 s before they are shown, as `session.lead_s` says; all figures end when the
consumer has the frame. *Word → frame* runs from the push of the 20 ms that hold a frame's first sample. With 0.2 s
blocks it cannot fall below 0.56 s: the block itself and 0.36 s of look-ahead. *Beyond the clock* is how much later the
last frame of speech was handed out than its own time on the session's clock, less the lead; the clock plays on what had
been pushed but not shown when the utterance ended. To hand those frames out sooner would exceed the lead, and an
interruption would have to take them back. CPU is this process's, 100 % for one core."""


class Row(NamedTuple):
    figure: str
    measured: str
    goal: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voice", type=Path, nargs="?", help="a file with speech")
    parser.add_argument("--write", action="store_true", help="into docs/streaming.md")
    parser.add_argument("--quick", action="store_true", help="a fifth of the tries")
    parser.add_argument("--note", default="", help="a sentence to stand under the table")
    args = parser.parse_args()
    voice = decode(args.voice, VOICE_S)[:, None] if args.voice else speech(VOICE_S)
    load_before = os.getloadavg()[0]
    rows = []
    for row in measure(voice, 5 if args.quick else 1):
        print(f"{row.figure}: {row.measured} (goal {row.goal or '–'})", flush=True)
        rows.append(f"| {row.figure} | {row.measured} | {row.goal} |")
    head = f"{describe_machine()} Load average before and after: {load_before:.1f}, {os.getloadavg()[0]:.1f}."
    table = "\n".join(["| figure | measured | goal |", "|---|---|---|", *rows])
    text = "\n\n".join(filter(None, [head, table, WORDS, args.note]))
    print(text)
    if args.write:
        update_section("sessions", text, STREAMING)


def measure(voice: AudioArray, less: int) -> Iterator[Row]:
    """All rows, one by one; ``less`` divides the numbers of tries."""
    with open_nora(has_motion=True) as avatar:
        take_first(avatar, "fragments")  # the process is warm from here on
        yield from measure_memory(avatar, voice)
        yield from measure_opening(avatar, 20 // less)
        yield from measure_real_time(avatar, voice, 10 // less)
    with open_nora(has_motion=False) as avatar:
        yield from measure_at_once(avatar, voice, 50 // less)
        yield from measure_clear(avatar, voice, 100 // less)
    with open_nora(has_motion=True) as avatar:
        yield from measure_encoder(250 // less)
        yield from measure_counts(avatar, voice)


def open_nora(*, has_motion: bool) -> OpenAvatar:
    config = Config(avatar="nora", model="warp", video=VideoConfig(size=SIZE_PX), warp=WarpConfig(life=has_motion))
    return open_avatar(config, lambda *_: None)


def measure_opening(avatar: OpenAvatar, num_tries: int) -> Iterator[Row]:
    outputs: tuple[Output, ...] = ("frames", "fragments")
    for output in outputs:
        yield Row(
            f"open → first idle frame, {output}", told([take_first(avatar, output) for _ in range(num_tries)]), "0.3 s"
        )


def take_first(avatar: OpenAvatar, output: Output) -> float:
    """Seconds from the call to the first frame or fragment."""
    begin = time.perf_counter()
    with avatar.open_session(output=output) as session:
        next(item for item in session if isinstance(item, Frame | Fragment))
        return time.perf_counter() - begin


def measure_at_once(avatar: OpenAvatar, voice: AudioArray, num_tries: int) -> Iterator[Row]:
    moments, waits_s = random.Random(0), []
    with Consumer(avatar.open_session()) as consumer:
        consumer.wait_for(is_frame)
        for _ in range(num_tries):
            time.sleep(moments.uniform(0.3, 0.6))
            count, begin = len(consumer.taken), time.perf_counter()
            consumer.session.push(voice[: 3 * AUDIO_RATE_HZ], AUDIO_RATE_HZ)
            consumer.session.end_utterance()
            waits_s.append(consumer.taken[consumer.wait_for(is_spoken, count)].at_s - begin)
            consumer.session.clear()
    yield Row(f"3 s of voice at once → first frame of speech, {num_tries} times", told(waits_s), "p95 0.25 s")


def measure_clear(avatar: OpenAvatar, voice: AudioArray, num_tries: int) -> Iterator[Row]:
    moments, voiced_s, shut_s, calls_s, off = random.Random(1), [], [], [], []
    with Consumer(avatar.open_session()) as consumer:
        for _ in range(num_tries):
            count = len(consumer.taken)
            start = moments.randrange(len(voice) - 3 * AUDIO_RATE_HZ)
            consumer.session.push(voice[start : start + 3 * AUDIO_RATE_HZ], AUDIO_RATE_HZ)
            consumer.session.end_utterance()
            consumer.wait_for(is_spoken, count)
            time.sleep(moments.uniform(0.0, 1.5))
            begin = time.perf_counter()
            interruption = consumer.session.clear()
            calls_s.append(time.perf_counter() - begin)
            end = consumer.wait_for(is_finished, count)
            frames = wait_for_frames(consumer, end, SHUT_FRAMES)
            num_spoken = sum(is_spoken(taken) for taken in consumer.taken[count:])
            off.append(abs(interruption.position_s - num_spoken * FRAME_S) / FRAME_S)
            voiced_s.append(max([taken.at_s for taken in frames if taken.is_voiced], default=begin) - begin)
            last_open = max([taken.item.number for taken in frames if not taken.is_rest], default=-1)
            shut = next(taken for taken in frames if taken.item.number > last_open)
            shut_s.append(shut.at_s - begin)
    yield Row(f"`clear` → last voiced sample, {num_tries} times", told(voiced_s), "p95 0.15 s")
    yield Row("`clear` → mouth shut", told(shut_s), "p95 0.25 s")
    yield Row("`clear` itself", told(calls_s))
    yield Row("its position against the frames handed out, at most", f"{max(off):.1f} frames", "1 frame")


def is_finished(taken: Taken) -> bool:
    return isinstance(taken.item, UtteranceFinished)


def wait_for_frames(consumer: Consumer, begin: int, count: int) -> list[Taken]:
    """The next frames from an index on."""
    while len(frames := consumer.frames(begin)) < count:
        consumer.wait_for(is_frame, len(consumer.taken))
    return frames[:count]


def measure_real_time(avatar: OpenAvatar, voice: AudioArray, num_utterances: int) -> Iterator[Row]:
    for block_s in BLOCKS_S:
        waits_s, rests_s, beyond_s = [], [], []
        moments, cpu_s, begin = random.Random(2), time.process_time(), time.perf_counter()
        with Consumer(avatar.open_session(block_s=block_s)) as consumer:
            consumer.wait_for(is_frame)
            for _ in range(num_utterances):
                time.sleep(moments.uniform(0.1, 0.3))
                count = len(consumer.taken)
                pushed_at = push_in_real_time(consumer, voice[: 3 * AUDIO_RATE_HZ])
                ended_at = time.perf_counter()
                consumer.session.end_utterance()
                end = consumer.wait_for(is_finished, count)
                spoken = [taken for taken in consumer.frames(count, end) if is_spoken(taken)]
                waits_s += [taken.at_s - pushed_at[int(taken.item.position_s / PIECE_S + 1e-6)] for taken in spoken]
                rests_s.append(spoken[-1].at_s - ended_at)
                base_s = min(taken.at_s - taken.item.time_s for taken in consumer.frames())
                beyond_s.append(spoken[-1].at_s - spoken[-1].item.time_s - base_s)
            num_held = count_held(consumer)
        cpu = (time.process_time() - cpu_s) / (time.perf_counter() - begin)
        name = f"voice in real time, {block_s} s blocks"
        goal = "p95 0.6 s" if block_s == BLOCKS_S[0] else ""
        yield Row(f"{name}: word → frame", told(waits_s), goal)
        yield Row(f"{name}: `end_utterance` → last frame of speech", told(rests_s))
        yield Row(f"{name}: of it beyond the clock", told(beyond_s), "p95 0.2 s")
        yield Row(f"{name}: held frames; CPU", f"{num_held}; {100 * cpu:.0f} %")


def push_in_real_time(consumer: Consumer, voice: AudioArray) -> list[float]:
    """Push in pieces as a microphone does, each when its last sample is there; when each was pushed."""
    pushed_at, size, begin = [], round(PIECE_S * AUDIO_RATE_HZ), time.perf_counter()
    for index, start in enumerate(range(0, len(voice), size)):
        time.sleep(max(0.0, begin + index * PIECE_S - time.perf_counter()))
        pushed_at.append(time.perf_counter())
        consumer.session.push(voice[start : start + size], AUDIO_RATE_HZ)
    return pushed_at


def count_held(consumer: Consumer) -> int:
    return sum(taken.item.num_held for taken in consumer.taken if isinstance(taken.item, Late))


def measure_memory(avatar: OpenAvatar, voice: AudioArray) -> Iterator[Row]:
    outputs: tuple[Output, ...] = ("fragments", "frames")
    for output in outputs:
        used_mb = []
        consumers = []
        for count in (1, NUM_FURTHER):
            consumers += [Consumer(avatar.open_session(output=output)) for _ in range(count)]
            for consumer in consumers:
                consumer.session.push(voice[:AUDIO_RATE_HZ], AUDIO_RATE_HZ)
                consumer.session.end_utterance()
            for consumer in consumers:
                wait_for_items(consumer, 60)
            used_mb.append(psutil.Process().memory_info().rss / 1e6)
        close_all(consumers)
        share_mb = (used_mb[1] - used_mb[0]) / NUM_FURTHER
        yield Row(f"memory of a further session, {output}, mean of {NUM_FURTHER}", f"{share_mb:.1f} MB", "20 MB")


def wait_for_items(consumer: Consumer, count: int) -> None:
    while len(consumer.taken) < count:
        consumer.wait_for(lambda _: True, len(consumer.taken))


def measure_encoder(num_frames: int) -> Iterator[Row]:
    measured = measure_in_process(settings(SIZE_PX, SIZE_PX), images(SIZE_PX, SIZE_PX, num_frames))
    yield Row("delay of a frame in the encoder", told(measured.delays_s[1:]), "p95 15 ms")


def measure_counts(avatar: OpenAvatar, voice: AudioArray) -> Iterator[Row]:
    for count in SESSION_COUNTS:
        consumers = [Consumer(avatar.open_session(output="fragments")) for _ in range(count)]
        for consumer in consumers:
            wait_for_items(consumer, 2)
        cpu_s, begin = time.process_time(), time.perf_counter()
        for consumer in consumers:
            consumer.session.push(voice, AUDIO_RATE_HZ)
            consumer.session.end_utterance()
        for consumer in consumers:
            consumer.wait_for(is_finished)
        cpu = (time.process_time() - cpu_s) / (time.perf_counter() - begin)
        late_ms = [1000 * lateness for consumer in consumers for lateness in latenesses_s(consumer)]
        num_held = sum(count_held(consumer) for consumer in consumers)
        close_all(consumers)
        figures = (
            f"{num_held} held; frames late by p95 {np.quantile(late_ms, 0.95):.0f} ms, at most {max(late_ms):.0f} ms"
        )
        yield Row(
            f"{count} sessions that speak for {VOICE_S:.0f} s, fragments",
            f"{figures}; {100 * cpu / count:.0f} % CPU each",
        )


def latenesses_s(consumer: Consumer) -> list[float]:
    """How much later than the promptest each fragment came, by the session's clock."""
    times_s = [taken.at_s for taken in consumer.taken if isinstance(taken.item, Fragment)]
    behind_s = [at_s - FRAME_S * number for number, at_s in enumerate(times_s)]
    return [each - min(behind_s[7:]) for each in behind_s[7:]]  # the first ones leave at once, the lead


def told(figures_s: Sequence[float] | np.ndarray) -> str:
    """p50 and p95, in s from 0.1 s on."""
    p50_s, p95_s = np.quantile(figures_s, [0.5, 0.95])
    if p95_s < 0.1:
        return f"p50 {1000 * p50_s:.1f}, p95 {1000 * p95_s:.1f} ms"
    return f"p50 {p50_s:.3f}, p95 {p95_s:.3f} s"


if __name__ == "__main__":
    main()
