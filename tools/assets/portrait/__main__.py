"""Draw the built-in portraits into the package's assets: ``python -m tools.assets.portrait nora|theo|all``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tools.assets.portrait.export import export
from tools.assets.portrait.people import PEOPLE

ASSETS = Path(__file__).resolve().parents[3] / "musetalk_cli" / "assets" / "portraits"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.assets.portrait", description=__doc__)
    parser.add_argument("name", choices=[*PEOPLE, "all"])
    parser.add_argument("--folder", type=Path, default=ASSETS, help="where to write (default: the package's assets)")
    parser.add_argument("--scale", type=int, default=2, help="samples per pixel and axis (default: 2)")
    arguments = parser.parse_args()
    for name in PEOPLE if arguments.name == "all" else [arguments.name]:
        start = time.perf_counter()
        export(PEOPLE[name], arguments.folder, arguments.scale)
        print(f"{name}: drawn in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
