"""Make a corpus of natural speech, from the repository root: ``python -m tools.assets.audio_net.natural ENGINE``.

kokoro     Kokoro-82M in five kinds of speech, with mixed and moved speakers
held-out   Kokoro's held-out voice, half in Italian; nothing of it is trained on
flite      flite's English voices
festival   festival's Russian voice

Any number of processes may work on one folder, each with its own share, and may be stopped and started again at any
time: each makes the shards of its share that are not there yet.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tools.assets.audio_net.natural.shards import Maker, make_missing

FOLDER = Path("/var/tmp/natural-speech")  # noqa: S108 - a cache that survives a restart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=("kokoro", "held-out", "flite", "festival"))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--shards", type=int, default=600, help="shards of a minute that all workers make together")
    parser.add_argument("--worker", default="0/1", help="this process's share: its number and how many there are")
    args = parser.parse_args()
    worker, num_workers = (int(number) for number in args.worker.split("/"))
    numbers = range(worker, args.shards, num_workers)
    make_missing(args.folder / args.engine, args.engine, numbers, _maker(args.engine, args.folder), _log)


def _maker(name: str, folder: Path) -> Maker:
    from tools.assets.audio_net.natural import speakers

    if name == "flite":
        return speakers.flite_maker()
    if name == "festival":
        return speakers.festival_maker()
    return speakers.kokoro_maker(folder / "kokoro.onnx", is_held_out=name == "held-out")


def _log(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


if __name__ == "__main__":
    main()
