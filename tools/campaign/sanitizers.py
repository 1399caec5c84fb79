"""The native kernel under AddressSanitizer and UBSan: its tests, then random sizes, shapes and values.

    python -m tools.campaign.sanitizers [--seconds 20] [--seed 0]

The library is compiled for it with gcc into a temporary folder, and again for AVX2 where this processor has that.
Whatever reads or writes outside of its arrays, shifts too far or converts what no integer holds ends the process; the
exit code is then not 0.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import native_build

ROOT = Path(__file__).parents[2]
COMPILER = "gcc"
SANITIZE = ("-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined,float-cast-overflow")
FLAGS = (
    *(flag for flag in native_build.FLAGS if flag not in ("-O3", "-s")),
    *SANITIZE,
    "-fno-sanitize-recover=all",
)
NATIVE_TESTS = "tests/engine/native"
TESTS = (NATIVE_TESTS, "tests/engine/models/warp/native", "tests/engine/avatar/preparation/nets")
LOAD = (
    "from pathlib import Path; from musetalk_cli.engine.native import library; "
    "library.PATH = library.AVX2_PATH = Path(PATH); "
)
PYTEST = "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
FUZZ = "from tools.campaign import native_fuzz; sys.exit(native_fuzz.main())"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="of random sizes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    codes = [check(args.seed, args.seconds, FLAGS)]
    if has_avx2():
        codes.append(check(args.seed + 1, args.seconds, (*FLAGS, "-mavx2")))
    return max(map(abs, codes))


def has_avx2() -> bool:
    """Whether this processor has AVX2, as far as the system says."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and " avx2 " in cpuinfo.read_text(encoding="utf-8")


def check(seed: int, duration_s: float, flags: tuple[str, ...]) -> int:
    """Compile the library with these flags, and run both; the first exit code that is not 0."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / native_build.this_computer().library
        os.environ["CC"] = COMPILER
        native_build.build(library, flags=flags)
        skipped = f"--ignore={NATIVE_TESTS}/test_library.py"  # starts compilers and other processes
        options = ("-p", "no:cacheprovider", "-p", "no:xdist", "--timeout=600", *TESTS, skipped)
        codes = [
            run("its tests", library, PYTEST, *options),
            run("random sizes", library, FUZZ, "--seed", str(seed), "--seconds", str(duration_s)),
        ]
    return max(map(abs, codes))


def run(name: str, library: Path, code: str, *arguments: str) -> int:
    """Run Python with the sanitizers' libraries; its exit code."""
    began_s = time.monotonic()
    command = [sys.executable, "-X", "faulthandler", "-c", f"import sys; PATH = {str(library)!r}; {LOAD}{code}"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTEST_ADDOPTS", "CC")}
    environment |= {
        "LD_PRELOAD": " ".join(runtime(name) for name in ("libasan.so", "libubsan.so")),
        "ASAN_OPTIONS": "detect_leaks=0,abort_on_error=0",  # Python itself frees little at its end
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "MUSETALK_NATIVE": "1",
    }
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, check=False)
    print(f"{name}: exit code {done.returncode}, {time.monotonic() - began_s:.0f} s", flush=True)
    return done.returncode


def runtime(name: str) -> str:
    """The path of a library of the compiler."""
    done = subprocess.run([COMPILER, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
