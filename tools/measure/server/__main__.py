"""Measure ``musetalk serve`` with real sockets, in real time, and write the table of docs/server.md.

    python -m tools.measure.server [VOICE.wav] [--write] [--quick] [--minutes 10]

Client and server share this machine. The avatar is nora at 512² and 25 fps, the model warp. Where a shut mouth has to
be told from the pixels, the avatar does not blink or sway.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fixtures.serve_client import Received, ServeClient, decode_video
from fixtures.serve_process import ServeProcess
from musetalk_cli.benchmark.workload.speech import speech
from tools.measure.report import SERVER, describe_machine, update_section
from tools.measure.server.load import measure_load, measure_memory
from tools.measure.sessions import PIECE_S, Row, told
from tools.measure.stream.speech import decode

VOICE_S = 10.0
RATE_HZ = 48_000
FRAME_S = 0.04
VOICED = 200  # of 32768: AAC leaves less than that of silence
WATCHED = 14  # fragments behind an interruption: the lead, a fade and a closing mouth
SIZE = ("--size", "512")
WORDS = """All figures are the client's: from the moment it sends to the moment it has received the fragment. Fragments
come 0.25 s before they are shown, as `session.lead_s` says. *Voiced* is what is left after decoding: AAC spreads a
sample over the packet that holds it and the one before. CPU is that of all processes of the server, 100 % for one
core."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voice", type=Path, nargs="?", help="a file with speech")
    parser.add_argument("--write", action="store_true", help="into docs/server.md")
    parser.add_argument("--quick", action="store_true", help="a fifth of the tries")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the longest load")
    parser.add_argument("--counts", default="1,2,4,6,8,10", help="sessions at once")
    args = parser.parse_args()
    voice = decode(args.voice, VOICE_S)[:, None] if args.voice else speech(VOICE_S)
    load_before, less = os.getloadavg()[0], 5 if args.quick else 1
    counts = [int(each) for each in args.counts.split(",")]
    rows = []
    for row in measure(voice[:, 0], less, counts, args.minutes * 60):
        print(f"{row.figure}: {row.measured} (goal {row.goal or '–'})", flush=True)
        rows.append(f"| {row.figure} | {row.measured} | {row.goal} |")
    head = f"{describe_machine()} Load average before and after: {load_before:.1f}, {os.getloadavg()[0]:.1f}."
    text = "\n\n".join([head, "\n".join(["| figure | measured | goal |", "|---|---|---|", *rows]), WORDS])
    if args.write:
        update_section("server", text, SERVER)


def measure(voice: np.ndarray, less: int, counts: list[int], long_s: float) -> Iterator[Row]:
    """All rows, one by one; ``less`` divides the numbers of tries."""
    with tempfile.TemporaryDirectory() as folder:
        still = Path(folder) / "still.yaml"
        still.write_text("warp:\n  life: false\n")
        with ServeProcess(*SIZE, "--config", str(still)) as server:
            yield from measure_connecting(server.url, 20 // less)
            yield from measure_at_once(server.url, voice, 50 // less)
            yield from measure_clear(server.url, voice, 100 // less)
            yield from measure_real_time(server.url, voice, 10 // less)
    with ServeProcess(*SIZE, "--max-sessions", str(max(counts))) as server:
        yield from measure_memory(server, voice)
        yield from measure_load(server, voice, counts, long_s)


def measure_connecting(url: str, num_tries: int) -> Iterator[Row]:
    waits_s = []
    for _ in range(num_tries):
        begin = time.perf_counter()
        with ServeClient(url) as client:
            waits_s.append(client.received[client.wait_for_data(2)[-1]].at_s - begin)
        time.sleep(0.1)
    yield Row(f"connect → first frame, {num_tries} times", told(waits_s), "")


def measure_at_once(url: str, voice: np.ndarray, num_tries: int) -> Iterator[Row]:
    moments, waits_s = random.Random(0), []
    with ServeClient(url, rate_hz=RATE_HZ) as client:
        client.wait_for_data(2)
        for _ in range(num_tries):
            time.sleep(moments.uniform(0.3, 0.6))
            count, begin = len(client.received), time.perf_counter()
            client.push(voice[: 3 * RATE_HZ])
            client.send(type="end_utterance")
            started = client.wait_for("utterance_started", count)
            waits_s.append(client.received[client.wait_for_data(1, started)[0]].at_s - begin)
            client.send(type="clear")
    yield Row(f"3 s of voice at once → first frame of speech, {num_tries} times", told(waits_s), "p95 0.3 s")


def measure_clear(url: str, voice: np.ndarray, num_tries: int) -> Iterator[Row]:
    moments, voiced_s, shut_s = random.Random(1), [], []
    for _ in range(num_tries):
        with ServeClient(url, rate_hz=RATE_HZ) as client:
            client.wait_for_data(4)
            start = moments.randrange(len(voice) - 3 * RATE_HZ)
            client.push(voice[start : start + 3 * RATE_HZ])
            client.send(type="end_utterance")
            client.wait_for_data(1, client.wait_for("utterance_started"))
            time.sleep(moments.uniform(0.0, 1.5))
            begin = time.perf_counter()
            client.send(type="clear")
            client.wait_for_data(WATCHED, client.wait_for("cleared"))
            received = list(client.received)
        voiced_at_s, shut_at_s = find_end(received)
        voiced_s.append(max(0.0, voiced_at_s - begin))
        shut_s.append(max(0.0, shut_at_s - begin))
    yield Row(f"`clear` sent → last voiced sample, {num_tries} times", told(voiced_s), "p95 0.2 s")
    yield Row("`clear` sent → mouth shut", told(shut_s), "p95 0.3 s")


def find_end(received: list[Received]) -> tuple[float, float]:
    """When the fragment with the last voiced sample came, and the first from which on the mouth is shut."""
    video, arrivals = decode_video(received), [each.at_s for each in received if each.data][1:]
    last = np.flatnonzero(np.abs(video.audio.astype(np.int32)) > VOICED)[-1] / RATE_HZ
    carrier = next(index for index, end_s in enumerate(video.audio_ends_s) if end_s > last)
    # The last frame is at rest; what the encoder leaves of a moving mouth is below half a level.
    differences = np.abs(video.mouths.astype(np.int16) - video.mouths[-1].astype(np.int16)).mean(axis=(1, 2))
    last_open = int(np.flatnonzero(differences > 0.5)[-1])
    return arrivals[carrier], arrivals[min(last_open + 1, len(arrivals) - 1)]


def measure_real_time(url: str, voice: np.ndarray, num_utterances: int) -> Iterator[Row]:
    waits_s, moments = [], random.Random(2)
    with ServeClient(url, rate_hz=RATE_HZ) as client:
        client.wait_for_data(4)
        for _ in range(num_utterances):
            time.sleep(moments.uniform(0.1, 0.3))
            count = len(client.received)
            sent_at = client.push_in_real_time(voice[: 3 * RATE_HZ], PIECE_S)
            client.send(type="end_utterance")
            end = client.wait_for("utterance_finished", count)
            started = client.wait_for("utterance_started", count)
            fragments = [each for each in client.received[started:end] if each.data]
            num_steps = round(FRAME_S / PIECE_S)
            for number, fragment in enumerate(fragments):
                if number * num_steps < len(sent_at):
                    waits_s.append(fragment.at_s - sent_at[number * num_steps])
    yield Row("voice in real time, 0.2 s blocks: word → frame", told(waits_s), "p95 0.6 s")


if __name__ == "__main__":
    main()
