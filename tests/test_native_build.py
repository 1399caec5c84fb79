"""How the native kernel is compiled: by any compiler, or not at all, and then nothing fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import native_build
from native_build import TARGETS, NoCompilerError, Target, build, build_in_place, wheel_platform

ROOT = Path(__file__).parent.parent
NO_COMPILER = {"PATH": "", "CC": ""}
KERNEL = '__attribute__((visibility("default"))) int native_abi(void) { return 1; }\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a kernel of one function."""
    folder = tmp_path / "clone" / native_build.FOLDER
    folder.mkdir(parents=True)
    (folder / "kernel.c").write_text(KERNEL)
    return tmp_path / "clone"


@pytest.fixture
def no_zig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_build.importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, no_zig: None) -> None:
    for name, value in NO_COMPILER.items():
        monkeypatch.setenv(name, value)


def built(root: Path, path: Path) -> bytes:
    try:
        build(path, root=root)
    except NoCompilerError as error:
        pytest.skip(f"needs a C compiler: {error}")
    return path.read_bytes()


def test_a_build_can_be_repeated(root: Path, tmp_path: Path) -> None:
    first = built(root, tmp_path / "one" / "_native.so")
    assert built(root, tmp_path / "another folder" / "_native.so") == first
    assert os.fsencode(tmp_path) not in first


def test_in_place_it_is_built_when_a_source_changed(root: Path) -> None:
    built(root, root / "trial")
    assert build_in_place(root).startswith("built")
    assert build_in_place(root) == "the native kernel is up to date"
    (root / native_build.FOLDER / "kernel.c").write_text(KERNEL.replace("1", "2"))
    assert build_in_place(root).startswith("built")


def test_what_does_not_compile_leaves_no_library(no_zig: None, root: Path) -> None:
    library = root / native_build.FOLDER / native_build.this_computer().library
    library.write_bytes(b"of older sources")
    (root / native_build.FOLDER / "kernel.c").write_text("int native_abi(void) { return }\n")
    with pytest.raises(NoCompilerError) as raised:
        build_in_place(root)
    assert not library.exists()
    told = str(raised.value)
    assert "\n" not in told
    assert told == "there is no C compiler" or ("kernel.c:1:" in told and "\n" in raised.value.said)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "a.c: In function f:\na.c:1:2: warning: w\na.c:3:4: error: e\n  3 | x\na.c:5:6: error: f",
            "a.c:3:4: error: e",
        ),
        ("ld: cannot find -lm\ncollect2: error: ld returned 1 exit status", "ld: cannot find -lm"),
        ("exit code 1", "exit code 1"),
    ],
)
def test_of_what_a_compiler_says_its_first_error_is_told(said: str, line: str) -> None:
    assert native_build.first_error(said) == line


def test_without_a_compiler_it_says_so(no_compiler: None, root: Path, tmp_path: Path) -> None:
    with pytest.raises(NoCompilerError, match="there is no C compiler"):
        build(tmp_path / "_native.so", root=root)


def test_a_folder_that_cannot_be_written_to_is_no_compiler(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(part: Path, output: Path) -> None:
        raise PermissionError(13, "Permission denied")

    built(root, root / "trial")
    monkeypatch.setattr(native_build, "move_into_place", refuse)
    with pytest.raises(NoCompilerError, match=r"cannot be written: .*Permission denied"):
        build_in_place(root)


def test_the_former_library_stays_until_the_new_one_is_there(
    no_zig: None, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(root, root / "trial")
    build_in_place(root)
    library = root / native_build.FOLDER / native_build.this_computer().library
    (root / native_build.FOLDER / "kernel.c").write_text(KERNEL.replace("1", "2"))
    compile_with = native_build.compile_with

    def compile_beside_it(*arguments: object) -> str:
        assert library.is_file()
        return compile_with(*arguments)

    monkeypatch.setattr(native_build, "compile_with", compile_beside_it)
    assert build_in_place(root).startswith("built")
    (root / native_build.FOLDER / "kernel.c").write_text("this is no C\n")
    with pytest.raises(NoCompilerError):
        build_in_place(root)
    assert not library.exists()


def test_the_locked_zig_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], str]] = []

    def run(command: list[str], **options: object) -> None:
        asked.append((command, Path(command[-1]).read_text()))

    monkeypatch.setattr(native_build.subprocess, "run", run)
    native_build.download_zig(tmp_path)
    command, lines = asked[0]
    assert "--require-hashes" in command
    assert lines.startswith("ziglang==")
    assert lines.count("--hash=sha256:") >= 6
    monkeypatch.setattr(native_build, "ROOT", tmp_path)
    native_build.download_zig(tmp_path)
    assert len(asked) == 1


@pytest.fixture
def fake_compiler(tmp_path: Path) -> Path:
    """Writes its own command into the library."""
    path = tmp_path / "fake"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nopen(sys.argv[sys.argv.index('-o') + 1], 'w').write(' '.join(sys.argv))\n"
    )
    path.chmod(0o755)
    return path


def test_the_compiler_of_the_environment_comes_first(
    no_compiler: None, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_compiler: Path
) -> None:
    monkeypatch.setattr(native_build, "load_once", lambda library: "")
    monkeypatch.setenv("CC", f"{fake_compiler} --an-option")
    assert built(root, tmp_path / "_native.so").startswith(f"{fake_compiler} --an-option ".encode())


def test_a_compiler_for_another_computer_is_none(
    no_zig: None, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_compiler: Path
) -> None:
    built(root, tmp_path / "trial")
    monkeypatch.setenv("CC", str(fake_compiler))
    assert str(fake_compiler) not in build(tmp_path / "_native.so", root=root)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoCompilerError, match=rf"{fake_compiler}: what it compiled does not load here: OSError"):
        build(tmp_path / "other" / "_native.so", root=root)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "kernel, problem",
    [
        (KERNEL.replace("1", "0"), "this processor lacks instructions"),
        (KERNEL.replace("return 1", "__builtin_trap(); return 1"), "does not load here: exit code"),
        (KERNEL.replace("native_abi", "another"), "does not load here: AttributeError"),
    ],
)
def test_a_library_that_does_not_run_here_is_none(
    no_zig: None, root: Path, tmp_path: Path, kernel: str, problem: str
) -> None:
    built(root, tmp_path / "trial")
    (root / native_build.FOLDER / "kernel.c").write_text(kernel)
    with pytest.raises(NoCompilerError, match=problem):
        build(tmp_path / "_native.so", root=root)


def test_only_what_is_for_this_computer_is_loaded(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_compiler: Path
) -> None:
    monkeypatch.setattr(native_build, "find_zig", lambda scratch, may_download: fake_compiler)
    monkeypatch.setenv("CC", str(fake_compiler))
    for target in TARGETS.values():
        build(tmp_path / target.zig / target.library, root=root, target=target)
    with_sanitizers = (*native_build.FLAGS, "-fsanitize=address")
    assert str(fake_compiler) in build(tmp_path / "_native.so", root=root, flags=with_sanitizers)


def test_zig_makes_another_library_for_avx2(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_compiler: Path
) -> None:
    monkeypatch.setattr(native_build, "find_zig", lambda scratch, may_download: fake_compiler)
    target = TARGETS["x86_64-linux-musl"]
    build(tmp_path / "out" / target.library, root=root, target=target)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(target.libraries)
    flags = {name: (tmp_path / "out" / name).read_text().split() for name in target.libraries}
    assert "-mcpu=x86_64_v2" in flags["_native.so"]
    assert "-mcpu=x86_64_v2+avx2" in flags["_native.avx2.so"]
    assert TARGETS["aarch64-linux-musl"].libraries == ("_native.so",)


def test_zig_that_cannot_be_downloaded_is_no_compiler(
    no_compiler: None, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(NoCompilerError, match="there is no C compiler"):
        build(tmp_path / "_native.so", root=root, may_download=True)


@pytest.mark.parametrize(
    "needs, target, platform",
    [
        (b"GLIBC_2.2.5", TARGETS["x86_64-linux-gnu.2.17"], "manylinux_2_17_x86_64"),
        (b"GLIBC_2.2.5\0GLIBC_2.29\0", Target("linux", "x86_64"), "manylinux_2_29_x86_64"),
        (b"", TARGETS["aarch64-linux-gnu.2.17"], "manylinux_2_17_aarch64"),
        (b"", Target("linux", "riscv64"), "linux_riscv64"),
        (b"", TARGETS["aarch64-linux-musl"], "musllinux_1_2_aarch64"),
        (b"", TARGETS["aarch64-macos.11.0"], "macosx_11_0_arm64"),
        (b"", TARGETS["x86_64-windows-gnu"], "win_amd64"),
    ],
)
def test_a_wheel_is_for_what_its_library_runs_on(tmp_path: Path, needs: bytes, target: Target, platform: str) -> None:
    path = tmp_path / target.library
    path.write_bytes(needs)
    assert wheel_platform(path, target) == platform


def test_the_command_says_what_it_did() -> None:
    done = subprocess.run(
        [sys.executable, "native_build.py"],
        cwd=ROOT,
        env={**os.environ, "MUSETALK_NATIVE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "MUSETALK_NATIVE=0: the native kernel is not built\n"
