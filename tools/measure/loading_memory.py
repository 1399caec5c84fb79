"""Measures the memory and time that loading MuseTalk takes: ``python -m tools.measure.loading_memory [--write]``.

Full-size checkpoints in the official layout with random weights are written to a temporary folder (4 GB) and loaded on
the CPU, each time by a new process. Linux only.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path

import torch

from fixtures.official_files import legacy_vae, states
from musetalk_cli.engine.models.musetalk.checkpoints.loading import (
    ModelFiles,
    NetConfigs,
    Precision,
    load_nets,
    random_nets,
)
from tools.measure.report import update_section

DOCUMENT = Path(__file__).parents[2] / "docs" / "musetalk-model.md"
CASES = (("random", "float32"), ("files", "float32"), ("files", "float16"))
HEAD = "| weights | precision | afterwards | peak, own | peak, with mapped files | seconds |\n|---|---|---|---|---|---|"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.measure.loading_memory", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        make_files(args.make)
    elif args.load:
        load(*args.load)
    else:
        measure(is_written=args.write)


def measure(*, is_written: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _run("--make", folder)
        lines = [describe(*case, json.loads(_run("--load", *case, folder))) for case in CASES]
    text = f"{date.today()}, {platform.machine()}, torch {torch.__version__}.\n\n{HEAD}\n" + "\n".join(lines)
    print(text)
    if is_written:
        update_section("loading", text, DOCUMENT)


def make_files(folder: Path) -> None:
    unet, vae, whisper = states(NetConfigs())
    torch.save(unet, folder / "unet.pth")
    torch.save(legacy_vae(vae), folder / "diffusion_pytorch_model.bin")
    torch.save({f"model.encoder.{name}": tensor for name, tensor in whisper.items()}, folder / "pytorch_model.bin")


def load(source: str, dtype: str, folder: str) -> None:
    """Load, and print the figures as JSON: GB and seconds."""
    precision = Precision(torch.device("cpu"), getattr(torch, dtype))
    before, peak, is_done = _own_gb(), [0.0], threading.Event()

    def sample() -> None:
        while not is_done.wait(0.01):
            peak[0] = max(peak[0], _own_gb())

    sampler = threading.Thread(target=sample)
    sampler.start()
    started = time.perf_counter()
    names = ("unet.pth", "diffusion_pytorch_model.bin", "pytorch_model.bin")
    files = ModelFiles("1.5", *(Path(folder) / name for name in names))
    nets = random_nets("1.5", precision, 0) if source == "random" else load_nets(files, precision)
    seconds = time.perf_counter() - started
    is_done.set()
    sampler.join()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    figures = {"stays": _own_gb() - before, "own": peak[0] - before, "resident": resident, "seconds": seconds}
    print(json.dumps({**figures, "model": nets.version}))


def describe(source: str, dtype: str, figures: dict[str, float]) -> str:
    what = "random" if source == "random" else "official files"
    sizes = " | ".join(f"{figures[key]:.1f} GB" for key in ("stays", "own", "resident"))
    return f"| {what} | {dtype} | {sizes} | {figures['seconds']:.0f} |"


def _own_gb() -> float:
    """Resident memory of this process that is not backed by a file, GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024 / 1e9


def _run(*args: str) -> str:
    command = [sys.executable, "-m", "tools.measure.loading_memory", *args]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
