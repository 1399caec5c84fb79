"""Speak into a virtual microphone for half an hour, stream it to four targets in real time, and write what was seen.

    python -m tools.measure.stream.endurance SPEECH.wav [--minutes 30] [--outages 4] [--folder FOLDER]

The targets are standard output, a file, an RTMP server (nginx) and an HLS folder, at the default size. With
``--outages``, an SRT receiver is one, too; it and the RTMP server are killed in turn, one every so many minutes, and
come back. Memory is that of the command and of its children, threads and open files are the command's. Needs
pulseaudio, pulseaudio-utils, nginx and libnginx-mod-rtmp. What was recorded stays in FOLDER, if one is given. If it
holds a recording already, nothing is streamed, and that recording is measured again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fixtures.servers import pulse_audio, rtmp_server
from tools.measure.command import read_stats, sample_usage, start
from tools.measure.report import RELIABILITY, STREAMING, describe_machine, update_section
from tools.measure.stream.drift import FPS, PART_S, count, measure_lag_ms
from tools.measure.stream.outages import SrtReceiver, take_away_in_turn

SAMPLE_S = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--outages", type=float, metavar="MINUTES", help="kill a target every so many minutes")
    parser.add_argument("--size", default="768", help="as the command takes it")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        if not (folder / "stats.jsonl").exists():
            folder.mkdir(exist_ok=True)
            record(args.speech, args.minutes, args.outages, args.size, folder)
        text = describe(folder)
    if args.outages:
        update_section("stream outages", text, RELIABILITY)
    else:
        update_section("stream endurance", text, STREAMING)
    print(text)


def record(speech: Path, minutes: float, outage_minutes: float | None, size: str, folder: Path) -> None:
    """Stream, and leave in ``folder`` what the targets received, the statistics, and what the processes took."""
    duration_s = 60 * minutes
    with (
        tempfile.TemporaryDirectory(prefix="pulse") as pulse,
        pulse_audio(Path(pulse)) as microphone,
        tempfile.TemporaryDirectory(prefix="rtmp") as served,
        rtmp_server(Path(served)) as server,
        (folder / "stdout.mp4").open("wb") as stdout,
    ):
        receiver = SrtReceiver(folder)
        outputs = ["-", str(folder / "take.mp4"), server.address, f"{folder}/hls/"]
        if outage_minutes:
            receiver.start()
            outputs.append(receiver.address)
        options = [word for output in outputs for word in ("-o", output)]
        options += ["--duration", str(duration_s), "--size", size, "--stats", str(folder / "stats.jsonl"), "-q"]
        child = start("stream", "--mic", *options, environment=microphone.environment, stdout=stdout)
        is_over = threading.Event()
        helpers = [threading.Thread(target=speak, args=(microphone, speech, is_over))]
        outages: list[float] = []
        if outage_minutes:
            arguments = ([server, receiver], 60 * outage_minutes, is_over, lambda: outages.append(time.time()))
            helpers.append(threading.Thread(target=take_away_in_turn, args=arguments))
        for helper in helpers:
            helper.start()
        try:
            with (folder / "processes.jsonl").open("w") as log:
                sample_usage(child, SAMPLE_S, lambda sample: print(json.dumps(asdict(sample)), file=log, flush=True))
        finally:
            is_over.set()
            for helper in helpers:
                helper.join()
            receiver.kill()
        (folder / "outages.json").write_text(json.dumps(outages))
        for recording in server.recordings:
            shutil.copy(recording, folder)


def speak(microphone: Any, speech: Path, is_over: threading.Event) -> None:
    while not is_over.is_set():
        playing = microphone.play(speech)
        while playing.poll() is None and not is_over.is_set():
            time.sleep(0.1)
        playing.kill()
        playing.wait()


def describe(folder: Path) -> str:
    ticks, samples = read_stats(folder / "stats.jsonl"), read_stats(folder / "processes.jsonl")
    end, video = ticks[-1], folder / "take.mp4"
    lags_ms = [measure_lag_ms(video, start_s) for start_s in (0, end["media_s"] - PART_S)]
    rows = [
        ("frame against audio, by their rhythms, ms", *(f"{lag:+.0f}" for lag in lags_ms)),
        ("latency of 10 s, p50 · p95, s", *map(describe_latency, (ticks[len(ticks) // 5], ticks[-2]))),
        ("the command's resident memory, MB", *early_and_late(samples, "rss_mb")),
        ("its children's, MB", *early_and_late(samples, "children_mb")),
        ("threads", *early_and_late(samples, "num_threads")),
        ("open files", *early_and_late(samples, "num_files")),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    about = f"{describe_machine()} {end['media_s'] / 60:.1f} minutes in {end['elapsed_s'] / 60:.1f}."
    return f"{about}\n\n| what | early | at the end |\n|---|---|---|\n{table}\n\n{describe_end(folder, end)}"


def describe_latency(tick: dict[str, Any]) -> str:
    return "{now_p50_s:.2f} · {now_p95_s:.2f}".format(**tick["live"]["latency"])


def early_and_late(samples: list[dict[str, float]], key: str) -> list[str]:
    """Medians of the second fifth, as the first is left to the caches, and of the last."""
    fifth = max(1, len(samples) // 5)
    parts = samples[fifth : 2 * fifth], samples[-fifth:]
    return [f"{np.median([sample[key] for sample in part]):.0f}" for part in parts]


def describe_end(folder: Path, end: dict[str, Any]) -> str:
    """What the targets have, and what went wrong."""
    live = end["live"]
    num_frames, audio_s = count(folder / "take.mp4")
    received = [count(path) for path in sorted(folder.glob("*.flv"))]
    total = [sum(each) for each in zip(*received, strict=True)]
    flv = f"{total[0]} frames and {total[1]:.2f} s of audio" + (f" in {len(received)} parts" * (len(received) > 1))
    counts = " · ".join(str(live["counts"][key]) for key in ("num_held", "num_idle", "num_skipped"))
    dropped = sum(target["num_dropped"] for target in live["targets"])
    restarts = sum(target["num_restarts"] for target in live["targets"])
    return (
        f"The file has {num_frames} frames, {num_frames / FPS:.2f} s, and {audio_s:.2f} s of audio; the RTMP"
        f" server received {flv}. Held, idle, skipped: {counts}; overruns of the microphone: {live['num_overruns']};"
        f" restarts of all targets: {restarts}, frames dropped for one: {dropped};"
        f" skew by count: {live['skew_ms']:.1f} ms."
    )


if __name__ == "__main__":
    main()
