"""The native kernel: loaded once, and never a reason to fail."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import native_build
from musetalk_cli.engine.native import library

SOURCE = Path(library.__file__).with_name("abi.c")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> library.Found:
    """What is found beside the module, whatever the tests themselves run with; skip without a compiler."""
    monkeypatch.delenv(library.SWITCH, raising=False)
    if not library.PATH.is_file():
        pytest.skip("needs a C compiler")
    return library.open_library(library.PATH)


def compile_library(path: Path, source: str) -> Path:
    root = path.parent / "root"
    folder = root / native_build.FOLDER
    folder.mkdir(parents=True)
    (folder / "kernel.c").write_text(source)
    try:
        native_build.build(path, root=root, flags=(*native_build.FLAGS, "-DNOT_FOR_USE"))  # so it need not load
    except native_build.NoCompilerError as error:
        pytest.skip(f"needs a C compiler: {error}")
    return path


def test_it_loads_where_it_was_compiled(found: library.Found) -> None:
    assert found.library is not None
    assert found.reason == ""
    assert found.library.native_abi() == library.ABI


def test_both_sides_have_the_same_number() -> None:
    number = re.search(r"^#define NATIVE_ABI (\d+)$", SOURCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert number and int(number[1]) == library.ABI


def test_it_is_loaded_once_by_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def open_slowly(path: Path) -> library.Found:
        calls.append(path)
        return library.Found(None, "a test")

    monkeypatch.setattr(library, "_found", None)
    monkeypatch.setattr(library, "open_library", open_slowly)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: library.find(), range(64)))
    assert calls == [library.AVX2_PATH, library.PATH]
    assert {id(each) for each in found} == {id(found[0])}


@pytest.mark.parametrize("has_avx2", [True, False])
def test_the_library_for_avx2_comes_first_where_it_works(has_avx2: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    works, lacks = library.Found(ctypes.pythonapi, ""), library.Found(None, "no AVX2")
    faster = library.Found(ctypes.pythonapi, "") if has_avx2 else lacks
    monkeypatch.setattr(library, "_found", None)
    monkeypatch.setattr(library, "open_library", {library.AVX2_PATH: faster, library.PATH: works}.__getitem__)
    assert library.find() is (faster if has_avx2 else works)


def test_it_is_switched_off_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.SWITCH, "0")
    assert library.open_library(library.PATH) == library.Found(None, "MUSETALK_NATIVE=0")


@pytest.mark.parametrize(
    "source, reason",
    [
        ("int native_abi(void) { return 10000; }", "built for another version: 10000"),
        ("int native_abi(void) { return 0; }", "this processor lacks"),
        ("int another(void) { return 1; }", "does not load"),
    ],
)
def test_another_library_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str) -> None:
    monkeypatch.delenv(library.SWITCH, raising=False)
    exported = f'__attribute__((visibility("default"))) {source}'
    found = library.open_library(compile_library(tmp_path / library.PATH.name, exported))
    assert found.library is None
    assert reason in found.reason


def test_a_damaged_file_and_none_are_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(library.SWITCH, raising=False)
    path = tmp_path / library.PATH.name
    assert library.open_library(path).reason == "it was not built"
    path.write_bytes(b"\x7fELF, and no more")
    assert library.open_library(path).reason.startswith("it does not load")


def test_importing_it_loads_neither_ctypes_nor_numpy() -> None:
    code = f"import sys; import {library.__name__}; print({{'ctypes', 'numpy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
