"""Measure the page of ``musetalk serve`` in headless Chromium, and write its rows of docs/server.md.

    python -m tools.measure.page [--tries 20] [--write]

Browser and server share this machine; both are warm: the first try is not counted. The avatar is nora at 512² and
25 fps, the model warp.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fixtures.media import write_wav
from fixtures.serve_process import ServeProcess
from fixtures.webdriver import Tab, open_browser
from musetalk_cli.benchmark.workload.speech import speech
from tools.measure.report import SERVER, describe_machine, update_section

MARKS = ("start", "first-frame")
VOICE_S = 6.0
PAUSE_S = 2.0  # the player comes close to the newest frame meanwhile
WORDS = """*Click → first frame*: from the click on Start, before the WebSocket is opened, to the callback of
`requestVideoFrameCallback` with the first frame. *Audio → first talking frame*: from the first audio of a file leaving
the page to the moment at which the utterance's first frame is shown, the page's own figure. *Interruption → silence*:
from the Escape key to the first 5 ms of silence behind it in the page's audio graph."""
SILENCE = """
const context = new AudioContext();
await context.resume();
const analyser = new AnalyserNode(context, { fftSize: 256 });
context.createMediaElementSource(document.querySelector("video")).connect(analyser).connect(context.destination);
const samples = new Float32Array(analyser.fftSize);
const isSilent = () => {
  analyser.getFloatTimeDomainData(samples);
  return samples.every((sample) => Math.abs(sample) < 1e-4);
};
addEventListener("keydown", () => {
  const began = performance.now();
  const ask = setInterval(() => {
    if (!isSilent()) return;
    clearInterval(ask);
    window.silentMs = performance.now() - began;
  }, 1);
}, true);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="into docs/server.md")
    args = parser.parse_args()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        starts, answers, silences = measure(args.tries, Path(folder))
    rows = [
        row("click → first frame", starts, "≤ 600"),
        row("audio → first talking frame", answers),
        row("interruption → silence", silences, "≤ 200"),
    ]
    head = f"{describe_machine()} Load average before and after: {load_before:.1f}, {os.getloadavg()[0]:.1f}."
    table = "\n".join(["| the page, in ms | p50 | p95 | slowest | goal (p95) |", "|---|---|---|---|---|", *rows])
    text = "\n\n".join([head, table, WORDS])
    print(text)
    if args.write:
        update_section("page", text, SERVER)


def measure(num_tries: int, folder: Path) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of each try."""
    voice = write_wav(folder / "voice.wav", speech(VOICE_S))
    starts, answers, silences = [], [], []
    with (
        ServeProcess("--size", "512", "--max-sessions", "2") as server,
        open_browser("chromium", folder / "profile") as tab,
    ):
        for number in range(num_tries + 1):
            started_ms, answered_ms, silent_ms = measure_once(tab, server.url, voice)
            if number:
                starts.append(started_ms)
                answers.append(answered_ms)
                silences.append(silent_ms)
    return starts, answers, silences


def measure_once(tab: Tab, url: str, voice: Path) -> tuple[float, float, float]:
    """Click → first frame, audio → first talking frame, interruption → silence, in ms."""
    tab.open(url)
    tab.wait("document.querySelector('.avatar') !== null")
    tab.click("#start")
    tab.wait("document.body.dataset.phase === 'live'")
    begun, shown = (tab.run(f"return performance.getEntriesByName('musetalk-{name}')[0].startTime") for name in MARKS)
    tab.run(SILENCE)
    time.sleep(PAUSE_S)
    tab.choose_files("#file-input", voice)
    tab.wait("document.body.dataset.state === 'speaking'")
    answered = tab.wait("performance.getEntriesByName('musetalk-utterance')[0]?.duration")
    time.sleep(0.5)
    tab.press("\ue00c")
    silent = tab.wait("window.silentMs")
    tab.click("#end")
    return shown - begun, answered, silent


def row(figure: str, measured_ms: Sequence[float], goal: str = "–") -> str:
    p50, p95 = np.percentile(measured_ms, [50, 95])
    return f"| {figure} | {p50:.0f} | {p95:.0f} | {max(measured_ms):.0f} | {goal} |"


if __name__ == "__main__":
    main()
