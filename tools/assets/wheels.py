"""Build the wheels for every system, each with the native kernel compiled for it, one without, and the source archive.

    python -m tools.assets.wheels            # into dist/
    python -m tools.assets.wheels DIR

zig compiles for all of them, from any computer: ``pip install -e ".[dev,tools]"``. Each wheel is unpacked and its
library looked at; this computer's is loaded.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from native_build import FOLDER, TARGETS, Target, sources, this_computer, zig_target

ROOT = Path(__file__).parents[2]
# The bytes that say what a library is for, and where they are.
MACHINES = {
    ("linux", "x86_64"): (18, b"\x3e\x00"),
    ("linux", "aarch64"): (18, b"\xb7\x00"),
    ("darwin", "x86_64"): (0, b"\xcf\xfa\xed\xfe\x07\x00\x00\x01"),
    ("darwin", "aarch64"): (0, b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01"),
    ("win32", "x86_64"): (0, b"MZ"),
}
EXPORT = re.compile(rb"^EXPORT [^;{]*?\b(\w+)\(", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist")
    folder = parser.parse_args().folder
    build_all(folder)
    return 0


def build_all(folder: Path) -> None:
    """Write every wheel and the source archive into a folder, and print a line on each."""
    # What zig compiles of the systems' own libraries, Windows' for minutes, is kept for the next time.
    cache = os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(ROOT / "build" / "zig"))
    for target in TARGETS.values():
        wheel = build("wheel", folder, {"MUSETALK_NATIVE_TARGET": target.zig, "ZIG_GLOBAL_CACHE_DIR": cache})
        print(f"{wheel.name}: {check(wheel, target)}", flush=True)
    for kind in ("wheel", "sdist"):
        print(build(kind, folder, {"MUSETALK_NATIVE": "0"}).name)


def build(kind: str, folder: Path, settings: dict[str, str]) -> Path:
    """Run hatchling; returns what it wrote."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    environment = {**os.environ, **settings}
    done = subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return ROOT / done.stderr.strip().splitlines()[-1]


def check(wheel: Path, target: Target) -> str:
    """Unpack a wheel and look at its library; returns what was seen.

    Raises:
        AssertionError: It is not the library of this system and processor, or lacks a function.
    """
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        native = Path(folder) / FOLDER
        names = sorted(path.name for path in native.iterdir() if path.suffix != ".py")
        assert names == sorted(target.libraries), f"{wheel.name} holds {names}"
        return ", ".join(check_library(native / name, target) for name in target.libraries)


def check_library(path: Path, target: Target) -> str:
    """Look at one library; raises AssertionError like ``check``."""
    content = path.read_bytes()
    offset, mark = MACHINES[target.system, target.machine]
    assert content[offset:].startswith(mark), f"{path.name} is for another processor"
    exported = functions()
    missing = [name for name in exported if name.encode() not in content]
    assert missing == [], f"{path.name} lacks {missing}"
    if target.zig == zig_target(this_computer()):
        assert ctypes.CDLL(str(path)).native_abi() > 0 or "avx2" in path.name
    return f"{len(exported)} functions in {len(content) / 1e3:.0f} kB"


def functions() -> list[str]:
    """The names of what Python calls, as the sources mark them."""
    code = b"".join(path.read_bytes() for path in sources())
    return sorted({name.decode() for name in EXPORT.findall(re.sub(rb"^HOT ", b"", code, flags=re.MULTILINE))})


if __name__ == "__main__":
    sys.exit(main())
