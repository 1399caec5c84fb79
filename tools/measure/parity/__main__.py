"""Prints the parity table, line by line: ``python -m tools.measure.parity [--small] [--write] VOICE.wav``.

Every net is compared at full size with random weights, one at a time, which needs 12 GB of memory. With ``--only``,
``--write`` keeps the other parts' lines of the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import resource
import sys
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

import cv2
import diffusers
import numpy as np
import torch
import transformers

from musetalk_cli.engine.models.musetalk.checkpoints.loading import NetConfigs
from tools.measure.parity import comparisons
from tools.measure.parity.comparisons import Line
from tools.measure.report import update_section

DOCUMENT = Path(__file__).parents[3] / "docs" / "musetalk-model.md"
PARTS = (
    "samples",
    "counts",
    "jaw",
    "blocks",
    "stages",
    "whisper",
    "windows",
    "schemes",
    "scheme-images",
    "blend",
    "vae",
    "unet",
    "folds",
    "bf16",
    "fp16",
)
HEAD = "| what | against | difference | | limit |\n|---|---|---|---|---|"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.measure.parity", description=__doc__)
    parser.add_argument("voice", type=Path, help="speech, WAV, 16 kHz mono")
    parser.add_argument("--small", action="store_true", help="the tests' small nets")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    parser.add_argument("--face", type=Path, help="image of a face, cut to it; by default a drawn stand-in")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="some of the comparisons")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    lines = []
    print(HEAD)
    for line in run(args.small, read_voice(args.voice), read_face(args.face), args.only):
        lines.append(line)
        print(describe(line), flush=True)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\n{describe_run(args.small)}; {time.process_time():.0f} s of CPU, {peak_gb:.1f} GB at most")
    if args.write:
        rows = merge_rows(DOCUMENT.read_text(encoding="utf-8"), list(map(describe, lines)))
        update_section("parity", f"{describe_run(args.small)}.\n\n{HEAD}\n" + "\n".join(rows), DOCUMENT)
    sys.exit(0 if all(line.is_met for line in lines) else 1)


def run(is_small: bool, voice: torch.Tensor, face: np.ndarray, parts: Sequence[str]) -> Iterator[Line]:
    configs = NetConfigs()
    if is_small:
        from fixtures.small_nets import CONFIGS

        # transformers takes windows of 30 s only.
        configs = dataclasses.replace(CONFIGS, whisper=dataclasses.replace(CONFIGS.whisper, num_steps=1500))
    comparing: dict[str, Callable[[], Iterator[Line]]] = {
        "whisper": lambda: comparisons.compare_whisper(configs, voice),
        "windows": comparisons.compare_windows,
        "schemes": lambda: comparisons.compare_schemes(configs, voice),
        "scheme-images": lambda: comparisons.compare_scheme_images(configs, voice),
        "blend": comparisons.compare_blend,
        "samples": lambda: comparisons.compare_samples(voice),
        "counts": comparisons.compare_counts,
        "jaw": comparisons.compare_jaw,
        "blocks": lambda: comparisons.compare_blocks(configs, voice),
        "stages": lambda: comparisons.compare_stages(configs, face),
        "vae": lambda: comparisons.compare_vae(configs, face),
        "unet": lambda: comparisons.compare_unet(configs),
        "folds": lambda: comparisons.compare_folds(configs),
        "bf16": lambda: comparisons.compare_precision(configs, "bf16"),
        "fp16": lambda: comparisons.compare_precision(configs, "fp16"),
    }
    for part in parts:
        yield from comparing[part]()


def merge_rows(document: str, rows: list[str]) -> list[str]:
    """The rows of a document's table, where ``rows`` replace those of the same comparison; new ones at the end."""
    section = document.partition("<!-- parity -->")[2].partition("<!-- end of parity -->")[0]
    old = [line for line in section.splitlines() if line.startswith("| ") and line not in HEAD]
    merged = {_what(row): row for row in old} | {_what(row): row for row in rows}
    return list(merged.values())


def _what(row: str) -> tuple[str, ...]:
    """What identifies a row: what is compared, with what, in which unit."""
    cells = row.split("|")
    return (*cells[1:3], cells[4])


def describe(line: Line) -> str:
    limit = "" if line.limit is None else f"≤ {line.limit:g}"
    mark = "" if line.is_met else " **missed**"
    return f"| {line.what} | {line.against} | {line.error:.2g} | {line.unit} | {limit}{mark} |"


def describe_run(is_small: bool) -> str:
    return (
        f"{date.today()}, {'small' if is_small else 'full-size'} nets with random weights, {platform.machine()} CPU, "
        f"torch {torch.__version__}, diffusers {diffusers.__version__}, transformers {transformers.__version__}"
    )


def read_voice(path: Path) -> torch.Tensor:
    """float32 (n,) in ±1."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (16_000, 1, 2):
            sys.exit(f"{path} must be 16 kHz, mono, 16 bit")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return torch.from_numpy(samples.astype(np.float32) / 32768)


def read_face(path: Path | None) -> np.ndarray:
    """uint8 BGR (256, 256, 3)."""
    image = None if path is None else cv2.imread(str(path))
    if path is not None and image is None:
        sys.exit(f"{path} is no image")
    return (
        comparisons.synthetic_face()
        if image is None
        else cv2.resize(image, (256, 256), interpolation=cv2.INTER_LANCZOS4)
    )


if __name__ == "__main__":
    main()
