"""Renders one voice with ``musetalk`` and with Wav2Lip, as the package ``lipsync`` offers it, in turns on this machine.

python -m tools.measure.side_by_side SPEECH.wav --other PYTHON --write

PYTHON is the interpreter of another environment with ``pip install lipsync``. Wav2Lip gets random weights, on which its
speed does not depend, and is told where the face is, so that it need not search for it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tools.measure.command import COMMAND, ENVIRONMENT
from tools.measure.report import PERFORMANCE, describe_machine, update_section

SIZE_PX = 768
FPS = 25
BOX = "230,560,240,530"  # top, bottom, left, right of the portrait's face at SIZE_PX
WAV2LIP = """
import os, sys
import lipsync.lipsync, torch
from lipsync.models import Wav2Lip
image, voice, output, weights, box, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
if not os.path.exists(weights):
    torch.manual_seed(0)
    torch.save(Wav2Lip().state_dict(), weights)
model = lipsync.lipsync.LipSync(
    model="wav2lip", checkpoint_path=weights, nosmooth=True, device="cpu", save_cache=False,
    box=[int(edge) for edge in box.split(",")], ffmpeg_loglevel="error",
)
model.sync(image, voice, output)
"""


@dataclass(frozen=True)
class Cost:
    """What a whole command takes: seconds of wall time and of CPU with all its children."""

    wall_s: float
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voice", type=Path)
    parser.add_argument("--other", required=True, help="the Python that has lipsync")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(Path(folder), args.voice, args.seconds, args.other)
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for _ in range(args.runs):
            for name, command in commands.items():
                costs[name].append(_measure(command))
    table = f"{describe_machine(renders=True)}\n\n{_table(costs, args.seconds)}"
    print(table)
    if args.write:
        update_section("side by side", table, PERFORMANCE)


def _commands(folder: Path, voice: Path, seconds: int, other: str) -> dict[str, list[str]]:
    """The commands that are compared. They get the same image and the same samples."""
    image, audio = folder / "face.png", folder / "voice.wav"
    portrait = Path("musetalk_cli/assets/portraits/nora.png")
    _ffmpeg("-i", portrait, "-vf", f"scale={SIZE_PX}:{SIZE_PX}", image)
    _ffmpeg("-i", voice, "-t", seconds, "-ar", 16000, "-ac", 1, audio)
    ours = [*COMMAND, "render", audio, "--avatar", image, "-q", "--overwrite", "-o", folder / "ours.mp4"]
    peer = [other, "-c", WAV2LIP, image, audio, folder / "peer.mp4", folder / "random.pth", BOX, os.cpu_count() or 1]
    return {"`musetalk render`, warp": list(map(str, ours)), "Wav2Lip (`lipsync` 0.1)": list(map(str, peer))}


def _ffmpeg(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def _measure(command: list[str]) -> Cost:
    before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall_s, after = time.perf_counter() - started_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s, cpu_s)


def _table(costs: dict[str, list[Cost]], seconds: int) -> str:
    lines = [
        "| what | speed | CPU, ms/frame | real-time streams a core holds, by its CPU |",
        "|---|---|---|---|",
    ]
    for name, runs in costs.items():
        wall_s, cpu_s = median(run.wall_s for run in runs), median(run.cpu_s for run in runs)
        cpu_ms = 1000 * cpu_s / (seconds * FPS)
        lines.append(f"| {name} | {seconds / wall_s:.2f} × | {cpu_ms:.1f} | {seconds / cpu_s:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
