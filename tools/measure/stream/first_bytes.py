"""Measure how soon ``musetalk stream`` shows its first frame and write the table of docs/streaming.md.

    python -m tools.measure.stream.first_bytes SPEECH.wav [--repeat 5] [--write] [--before FOLDER]

From starting the command to its first byte, and to the last byte of its first fragment. The pipe is raw PCM in real
time; the URL is served by this machine. ``--before`` runs another copy of the project in turns with this one.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import os
import statistics
import subprocess
import threading
import time
from pathlib import Path

import numpy as np

from musetalk_cli.engine.outputs.fragments import Fragment, FragmentSplitter
from tools.measure.command import ENVIRONMENT, READ_BYTES, start
from tools.measure.report import ROOT, STREAMING, describe_machine, update_section
from tools.measure.stream.speech import RATE_HZ, decode

BLOCKS_S = (0.2, 1.0, 2.0)
STEP_S = 0.02
RAW = ("-", "--format", "s16le", "--rate", str(RATE_HZ))


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--before", type=Path)
    args = parser.parse_args()
    audio, speech = decode(args.speech, 10.0), args.speech.resolve()
    handler = functools.partial(QuietHandler, directory=str(speech.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/{speech.name}"
        inputs = {"raw PCM, real time": RAW, "URL": (url,), "file": (str(speech),)}
        rows = [row(name, input_, block_s, audio, args) for name, input_ in inputs.items() for block_s in BLOCKS_S]
        server.shutdown()
    header = "| input | block, s | first byte, s | first frame, s |\n|---|---|---|---|"
    words = f"Median of {args.repeat} (longest), from the start of the command."
    words += " Behind each dot: the code before, in turns." if args.before else ""
    text = "\n\n".join([describe_machine(), "\n".join([header, *rows]), words])
    if args.write:
        update_section("stream first bytes", text, STREAMING)
    print(text)


def row(name: str, input_: tuple[str, ...], block_s: float, audio: np.ndarray, args: argparse.Namespace) -> str:
    """A row of the table; with ``before``, the other copy's medians and the ratio as well."""
    copies = [None, args.before] if args.before else [None]
    times = {copy: list[tuple[float, float]]() for copy in copies}
    for _ in range(args.repeat):
        for copy in copies:
            times[copy].append(measure(input_, block_s, audio, copy))
    cells = [
        " · ".join(f"{statistics.median(values):.2f} ({max(values):.2f})" for values in which)
        for which in zip(*(list(zip(*times[copy], strict=True)) for copy in copies), strict=True)
    ]
    return f"| {name} | {block_s} | {' | '.join(cells)} |"


def measure(input_: tuple[str, ...], block_s: float, audio: np.ndarray, copy: Path | None) -> tuple[float, float]:
    """Seconds to the first byte, and to the end of the first fragment with a frame."""
    # The folder that this runs in comes first otherwise, whichever copy is asked for.
    environment = {**ENVIRONMENT, "PYTHONPATH": str(copy or ROOT), "PYTHONSAFEPATH": "1"}
    started_s, first_byte_s = time.perf_counter(), 0.0
    options = ("stream", "--input", *input_, "--block", block_s, "-q")
    with start(*options, environment=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        threading.Thread(target=speak, args=(child, audio), daemon=True).start()
        assert child.stdout
        splitter = FragmentSplitter()
        while data := os.read(child.stdout.fileno(), READ_BYTES):
            now_s = time.perf_counter() - started_s
            first_byte_s = first_byte_s or now_s
            if any(isinstance(part, Fragment) and part.num_frames for part in splitter.feed(data)):
                child.kill()
                return first_byte_s, now_s
        raise SystemExit(f"{child.args} failed")


def speak(child: subprocess.Popen[bytes], audio: np.ndarray) -> None:
    """Write raw PCM in real time, until the command ends."""
    assert child.stdin
    step = round(STEP_S * RATE_HZ)
    with contextlib.suppress(OSError, ValueError):
        for index in range(0, len(audio) - step, step):
            os.write(child.stdin.fileno(), audio[index : index + step].tobytes())  # nothing is left to be flushed
            time.sleep(STEP_S)


if __name__ == "__main__":
    main()
