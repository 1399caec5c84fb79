"""What the wheels are checked for, on files that are wrong."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from native_build import FOLDER, TARGETS
from tools.assets.wheels import check, functions

# For another processor, so that it is never loaded here.
TARGET = TARGETS["aarch64-linux-musl"]
EXPORTED = b"\0".join(name.encode() for name in functions())


def wheel_of(path: Path, *, head: bytes = b"\x7fELF" + b"\0" * 14 + b"\xb7\x00", names: bytes = EXPORTED) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{FOLDER.as_posix()}/library.py", "")
        archive.writestr(f"{FOLDER.as_posix()}/{TARGET.library}", head + names)
    return path


def test_all_functions_that_python_calls_are_found() -> None:
    assert {"native_abi", "sample_region", "move_nodes", "backward_map", "draw_interior"} <= set(functions())


def test_a_library_that_has_them_is_good(tmp_path: Path) -> None:
    assert check(wheel_of(tmp_path / "good.whl"), TARGET).startswith(f"{len(functions())} functions")


def test_a_library_of_another_processor_is_refused(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path / "x86.whl", head=b"\x7fELF" + b"\0" * 14 + b"\x3e\x00")
    with pytest.raises(AssertionError, match="for another processor"):
        check(wheel, TARGET)


def test_a_library_without_a_function_is_refused(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path / "old.whl", names=EXPORTED.replace(b"native_abi", b""))
    with pytest.raises(AssertionError, match=r"lacks \['native_abi'\]"):
        check(wheel, TARGET)
