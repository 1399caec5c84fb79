"""Compiles the native kernel, the C files of the engine, as one shared library in ``musetalk_cli/engine/native``.

    python native_build.py    # in place, if its sources changed

An editable installation and the tests do the same. Every C compiler will do: ``$CC``, else ``cc``, ``gcc`` or
``clang``, else the one in the package ``ziglang``, which an installation downloads where the computer has none. Without
any, there is no library, and numpy does its work. With ``MUSETALK_NATIVE=0`` nothing is compiled.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENGINE = Path("musetalk_cli/engine")
"""Where the sources are, and what their #includes start from."""
FOLDER = ENGINE / "native"
"""Where the library is."""
LOCK = Path("requirements/lock.txt")
MAX_DOWNLOAD_S = 180
MAX_COMPILE_S = 300
MAX_LOAD_S = 60
# No contraction to fused multiply-adds: every processor computes the same frames.
FLAGS = (
    *("-std=c11", "-O3", "-fPIC", "-shared", "-s", "-fvisibility=hidden", "-Wall", "-Wextra"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"),
)
ZIG_BASELINE = "-mcpu=x86_64_v2"
MACOS = "11.0"
"""The oldest macOS that a library runs on."""


@dataclass(frozen=True)
class Target:
    """A system and a processor."""

    system: str
    """``linux``, ``darwin`` or ``win32``, as in sys.platform."""
    machine: str
    """``x86_64`` or ``aarch64``; others as the system calls them."""
    zig: str = ""
    """What zig calls them, where it is not for this computer: ``x86_64-linux-gnu.2.17``."""

    @property
    def library(self) -> str:
        """The name of the file, as ``library.py`` looks for it."""
        return "_native" + {"darwin": ".dylib", "win32": ".dll"}.get(self.system, ".so")

    @property
    def libraries(self) -> tuple[str, ...]:
        """All files that zig makes: on x86-64 also one for processors with AVX2, where gcc clones functions."""
        name, suffix = self.library.split(".")
        return (self.library, f"{name}.avx2.{suffix}") if self.machine == "x86_64" else (self.library,)


TARGETS = {
    target.zig: target
    for target in (
        Target("linux", "x86_64", "x86_64-linux-gnu.2.17"),
        Target("linux", "aarch64", "aarch64-linux-gnu.2.17"),
        Target("linux", "x86_64", "x86_64-linux-musl"),
        Target("linux", "aarch64", "aarch64-linux-musl"),
        Target("darwin", "x86_64", f"x86_64-macos.{MACOS}"),
        Target("darwin", "aarch64", f"aarch64-macos.{MACOS}"),
        Target("win32", "x86_64", "x86_64-windows-gnu"),
    )
}


# The exit code is 1, after Python's own error, where it does not load, and 2 where this processor lacks what it needs.
LOAD = "import ctypes, sys; sys.exit(0 if ctypes.CDLL(sys.argv[1]).native_abi() else 2)"


class NoCompilerError(Exception):
    """Nothing here compiles C; says what was tried, in a line. ``said``: all that the compilers said."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


def this_computer() -> Target:
    """The target of the running Python."""
    machine = platform.machine().lower()
    return Target(sys.platform, {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine))


def is_switched_off() -> bool:
    return os.environ.get("MUSETALK_NATIVE") == "0"


def sources(root: Path = ROOT) -> list[Path]:
    return sorted((root / ENGINE).rglob("*.c"))


def build(
    output: Path,
    *,
    root: Path = ROOT,
    target: Target | None = None,
    flags: tuple[str, ...] = FLAGS,
    may_download: bool = False,
) -> str:
    """Compile the library with the first compiler that can, and return its command.

    A compiler for another computer than this one succeeds, too. So what is made for this one must load here.

    Args:
        output: The file to write; it appears whole or not at all. zig writes all of ``Target.libraries`` beside it.
        root: The folder of the repository.
        target: What to compile for; None for this computer. For another, zig is needed.
        flags: How to compile, whatever the target. Only what the usual ones make is loaded: a library with sanitizers
            needs a process that has theirs.
        may_download: Whether zig may be downloaded where there is no compiler.

    Raises:
        NoCompilerError: Nothing could compile it, or it cannot be written.
    """
    try:
        return _build(output, root, target or this_computer(), flags, may_download)
    except OSError as error:
        raise NoCompilerError(f"{output} cannot be written: {error}") from error


def _build(output: Path, root: Path, chosen: Target, flags: tuple[str, ...], may_download: bool) -> str:
    if not chosen.zig and sys.maxsize < 2**32:
        raise NoCompilerError("Python has 32 bits")
    tried: dict[str, str] = {}
    must_load = flags == FLAGS and chosen == this_computer()
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / output.name
        for compiler in find_compilers(chosen, Path(folder), may_download=may_download):
            command = [*compiler, *flags_for(chosen, flags)]
            problem = make(command, part, root, must_load)
            if not problem:
                move_into_place(part, output)
                if ZIG_BASELINE in command:
                    wider = [f"{flag}+avx2" if flag == ZIG_BASELINE else flag for flag in command]
                    if not make(wider, part, root, must_load):
                        move_into_place(part, output.with_name(chosen.libraries[1]))
                return shlex.join(command)
            tried[shlex.join(compiler)] = problem
    lines = [f"{compiler}: {first_error(problem)}" for compiler, problem in tried.items()]
    raise NoCompilerError("; ".join(lines) or "there is no C compiler", "\n".join(dict.fromkeys(tried.values())))


def first_error(said: str) -> str:
    """The line that tells why a compiler failed: its first error, or what stands above that of its linker's caller."""
    lines = said.splitlines()
    return next((line for line in lines if "error: " in line and not line.startswith("collect2: ")), lines[0])


def make(command: list[str], output: Path, root: Path, must_load: bool) -> str:
    """Compile a library, and load it where that is asked; returns what went wrong, empty if nothing did."""
    return compile_with(command, output, root) or (load_once(output) if must_load else "")


def move_into_place(part: Path, output: Path) -> None:
    """Give a file its place, in one step, wherever it was made."""
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = output.with_name(f"{output.name}.{os.getpid()}")
    shutil.copyfile(part, beside)
    beside.replace(output)


def find_compilers(target: Target, scratch: Path, *, may_download: bool) -> Iterator[list[str]]:
    """The compilers to try, best first; zig alone knows other computers than this.

    They compile for the processors of the last fifteen years; an old compiler that does not know this, for all.
    """
    if not target.zig:
        named = [shlex.split(os.environ["CC"])] if os.environ.get("CC") else []
        found = [[path] for name in ("cc", "gcc", "clang") if (path := shutil.which(name))]
        for command in [*named, *found]:
            if target.machine == "x86_64":
                yield [*command, "-march=x86-64-v2"]
            yield command
    zig, name = find_zig(scratch, may_download=may_download), zig_target(target)
    if zig and name:
        yield [str(zig), "cc", "-target", name, *([ZIG_BASELINE] if target.machine == "x86_64" else [])]


def zig_target(target: Target) -> str:
    """What zig calls a target; empty where it is none of ours."""
    if target.zig:
        return target.zig
    names = [each.zig for each in TARGETS.values() if (each.system, each.machine) == (target.system, target.machine)]
    is_musl = target.system == "linux" and platform.libc_ver()[0] != "glibc"
    return next((name for name in names if name.endswith("-musl") == is_musl), "")


def find_zig(scratch: Path, *, may_download: bool) -> Path | None:
    """The compiler of the package ``ziglang``: an installed one, else downloaded into a scratch folder."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None and may_download:
        download_zig(scratch)
    folder = Path(spec.origin).parent if spec and spec.origin else scratch / "ziglang"
    zig = folder / ("zig.exe" if sys.platform == "win32" else "zig")
    return zig if zig.is_file() else None


def locked(name: str) -> str:
    """A package's lines of ``requirements/lock.txt``, version and hashes; empty where it has none."""
    try:
        text = (ROOT / LOCK).read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(rf"^{name}==.*\n(?: +--hash=.*\n)+", text, re.MULTILINE)
    return found[0] if found else ""


def download_zig(folder: Path) -> None:
    """Install the locked ziglang into a folder, by whatever installs this package. Where that fails, it stays empty.

    A build requirement would end the whole installation where it is not available.
    """
    requirements = folder / "requirements.txt"
    if not (lines := locked("ziglang")):
        return
    requirements.write_text(lines, encoding="utf-8")
    quick = ["--only-binary", ":all:", "--no-deps", "--target", str(folder)]
    uv = os.environ.get("UV")
    pip = [sys.executable, "-I", "-m", "pip", "install", "--no-input", "--retries", "1", "--timeout", "10"]
    command = [uv, "pip", "install"] if uv else pip
    environment = {**os.environ, "PIP_USER": "0"}
    try:
        subprocess.run(
            [*command, *quick, "--require-hashes", "-r", str(requirements)],
            env=environment,
            capture_output=True,
            timeout=MAX_DOWNLOAD_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return


def flags_for(target: Target, flags: tuple[str, ...]) -> list[str]:
    if target.system == "darwin":
        return [*flags, f"-mmacosx-version-min={MACOS}", "-Wl,-install_name,@rpath/_native.dylib"]
    return [flag for flag in flags if flag != "-fPIC"] if target.system == "win32" else [*flags, "-lm"]


def compile_with(command: list[str], output: Path, root: Path) -> str:
    """Run a compiler; returns what went wrong, empty if nothing did. No path of this computer gets into the library."""
    names = [path.relative_to(root / ENGINE).as_posix() for path in sources(root)]
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(output.parent))}
    split = next((number for number, flag in enumerate(command) if flag.startswith("-l")), len(command))
    arguments = [*command[:split], "-I.", *names, *command[split:], "-o", str(output)]
    try:
        done = subprocess.run(
            arguments, cwd=root / ENGINE, env=environment, capture_output=True, timeout=MAX_COMPILE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0 and output.is_file():
        return ""
    return done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"


def load_once(library: Path) -> str:
    """Load a library in a process of its own, which it may crash; returns what went wrong, empty if nothing did."""
    command = [sys.executable, "-I", "-S", "-c", LOAD, str(library)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=MAX_LOAD_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"what it compiled was not loaded: {error}"
    if done.returncode == 2:
        return "this processor lacks instructions that it compiled for"
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return f"what it compiled does not load here: {lines[-1] if lines else f'exit code {done.returncode}'}"
    return ""


def build_in_place(root: Path = ROOT, *, may_download: bool = False) -> str:
    """Compile the library beside its sources, if they changed since; returns what was done, as a line.

    The one of before stays until the new one takes its place. Raises NoCompilerError as ``build`` does.
    """
    target = this_computer()
    library = root / FOLDER / target.library
    stamp = library.with_suffix(".stamp")
    wanted = fingerprint(root)
    try:
        if library.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
            return "the native kernel is up to date"
        for name in target.libraries[1:]:
            library.with_name(name).unlink(missing_ok=True)
        try:
            command = build(library, root=root, may_download=may_download)
        except NoCompilerError:
            library.unlink(missing_ok=True)  # it is of other sources
            raise
        stamp.write_text(wanted, encoding="utf-8")
    except OSError as error:
        raise NoCompilerError(f"{library.parent} cannot be written to: {error}") from error
    return f"built {library.relative_to(root)} with {command}"


def fingerprint(root: Path = ROOT) -> str:
    """Of the sources, and of how they are compiled."""
    where = (sys.platform, platform.machine(), platform.libc_ver()[0], os.environ.get("CC"))
    digest = hashlib.sha256(repr(where).encode() + Path(__file__).read_bytes())
    for path in [*sorted((root / ENGINE).rglob("*.h")), *sources(root)]:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def wheel_platform(library: Path, target: Target) -> str:
    """The last part of a wheel's name: the oldest system that its library runs on."""
    if target.system == "darwin":
        machine = {"aarch64": "arm64"}.get(target.machine, target.machine)
        return f"macosx_{MACOS.replace('.', '_')}_{machine}"
    if target.system == "win32":
        return {"x86_64": "win_amd64", "aarch64": "win_arm64"}.get(target.machine, "win32")
    if target.zig.endswith("-musl"):
        return f"musllinux_1_2_{target.machine}"
    needed = [(int(major), int(minor)) for major, minor in re.findall(rb"GLIBC_(\d+)\.(\d+)", library.read_bytes())]
    if not needed and not target.zig:
        return f"{target.system}_{target.machine}"
    major, minor = max([(2, 17), *needed])
    return f"manylinux_{major}_{minor}_{target.machine}"


def main() -> int:
    if is_switched_off():
        print("MUSETALK_NATIVE=0: the native kernel is not built")
        return 0
    try:
        print(build_in_place())
    except NoCompilerError as error:
        print(error.said, f"The native kernel was not built, numpy does its work: {error}", sep="\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
