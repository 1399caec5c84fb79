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
from typing import NamedTuple

import cv2
import diffusers
import numpy as np
import torch
import transformers

from musetalk_cli.engine.models.musetalk.checkpoints.loading import NetConfigs
from tools.measure.parity import audio, faces, nets
from tools.measure.parity.lines import Line
from tools.measure.report import update_section

DOCUMENT = Path(__file__).parents[3] / "docs" / "musetalk-model.md"
PARTS = (
    "samples",
    "counts",
    "minute",
    "first-version",
    "blocks",
    "whisper",
    "windows",
    "schemes",
    "scheme-images",
    "block-images",
    "masks",
    "blend",
    "paste",
    "realtime",
    "norms",
    "storage",
    "stages",
    "unet-stage",
    "vae",
    "unet",
    "folds",
    "bf16",
    "fp16",
)
MAX_VIDEO_FRAMES = 25
HEAD = "| what | against | difference | | limit |\n|---|---|---|---|---|"


Comparisons = dict[str, Callable[[], Iterator[Line]]]


class Inputs(NamedTuple):
    """Speech float32 (n,) at 16 kHz; a face uint8 BGR (256, 256, 3); a video's frames uint8 BGR, all of one size."""

    voice: torch.Tensor
    face: np.ndarray
    video: Sequence[np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.measure.parity", description=__doc__)
    parser.add_argument("voice", type=Path, help="speech, WAV, 16 kHz mono")
    parser.add_argument("--small", action="store_true", help="the tests' small nets")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    parser.add_argument("--face", type=Path, help="image of a face, cut to it; by default a drawn stand-in")
    parser.add_argument("--video", type=Path, help="video to paste faces into; by default a drawn stand-in")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="some of the comparisons")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    lines = []
    print(HEAD)
    inputs = Inputs(read_voice(args.voice), read_face(args.face), read_video(args.video))
    for line in run(args.small, inputs, args.only):
        lines.append(line)
        print(describe(line), flush=True)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\n{describe_run(args.small)}; {time.process_time():.0f} s of CPU, {peak_gb:.1f} GB at most")
    if args.write:
        rows = merge_rows(DOCUMENT.read_text(encoding="utf-8"), list(map(describe, lines)))
        update_section("parity", f"{describe_run(args.small)}.\n\n{HEAD}\n" + "\n".join(rows), DOCUMENT)
    sys.exit(0 if all(line.is_met for line in lines) else 1)


def run(is_small: bool, inputs: Inputs, parts: Sequence[str]) -> Iterator[Line]:
    configs = NetConfigs()
    if is_small:
        from fixtures.small_nets import CONFIGS

        # transformers takes windows of 30 s only.
        configs = dataclasses.replace(CONFIGS, whisper=dataclasses.replace(CONFIGS.whisper, num_steps=1500))
    comparing = compare_audio(configs, inputs) | compare_faces(inputs) | compare_nets(configs, inputs)
    for part in parts:
        yield from comparing[part]()


def compare_audio(configs: NetConfigs, inputs: Inputs) -> Comparisons:
    return {
        "samples": lambda: audio.compare_samples(inputs.voice),
        "counts": audio.compare_counts,
        "minute": lambda: audio.compare_minute(configs, inputs.voice),
        "first-version": lambda: audio.compare_first_version(configs, inputs.voice),
        "blocks": lambda: audio.compare_blocks(configs, inputs.voice),
        "whisper": lambda: audio.compare_whisper(configs, inputs.voice),
        "windows": audio.compare_windows,
        "schemes": lambda: audio.compare_schemes(configs, inputs.voice),
    }


def compare_faces(inputs: Inputs) -> Comparisons:
    return {
        "masks": faces.compare_masks,
        "blend": faces.compare_blend,
        "paste": lambda: faces.compare_paste(inputs.video),
        "realtime": lambda: faces.compare_realtime(inputs.video),
    }


def compare_nets(configs: NetConfigs, inputs: Inputs) -> Comparisons:
    return {
        "scheme-images": lambda: nets.compare_scheme_images(configs, inputs.voice),
        "block-images": lambda: nets.compare_block_images(configs, inputs.voice),
        "norms": nets.compare_norms,
        "storage": lambda: nets.compare_storage(configs, inputs.face),
        "stages": lambda: nets.compare_stages(configs, inputs.face),
        "unet-stage": lambda: nets.compare_unet_stage(configs),
        "vae": lambda: nets.compare_vae(configs, inputs.face),
        "unet": lambda: nets.compare_unet(configs),
        "folds": lambda: nets.compare_folds(configs),
        "bf16": lambda: nets.compare_precision(configs, "bf16"),
        "fp16": lambda: nets.compare_precision(configs, "fp16"),
    }


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
    # Counts are whole.
    error = f"{line.error:.0f}" if line.error >= 100 else f"{line.error:.2g}"
    return f"| {line.what} | {line.against} | {error} | {line.unit} | {limit}{mark} |"


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
    return faces.synthetic_face() if image is None else cv2.resize(image, (256, 256), interpolation=cv2.INTER_LANCZOS4)


def read_video(path: Path | None) -> list[np.ndarray]:
    """The first frames, uint8 BGR (h, w, 3)."""
    if path is None:
        return faces.synthetic_video()
    video, frames = cv2.VideoCapture(str(path)), []
    while len(frames) < MAX_VIDEO_FRAMES and (read := video.read())[0]:
        frames.append(read[1])
    return frames or sys.exit(f"{path} is no video")


if __name__ == "__main__":
    main()
