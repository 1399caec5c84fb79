"""The program's threads take memory from one place, and the collector leaves out what the start made."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from musetalk_cli.system import heap

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc has the functions")

# Eight threads hold memory at the same time; glibc tells how many heaps there are.
PROGRAM = """
import ctypes, sys, threading
from musetalk_cli import __main__ as start, cli

def hold(barrier, held):
    held.append(bytes(5000))
    barrier.wait()

def run():
    barrier, held = threading.Barrier(9), []
    threads = [threading.Thread(target=hold, args=(barrier, held)) for _ in range(8)]
    for thread in threads:
        thread.start()
    barrier.wait()
    libc = ctypes.CDLL(None)
    libc.fopen.restype, libc.fclose.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
    file = libc.fopen(sys.argv[1].encode(), b"w")
    libc.malloc_info(0, file)
    libc.fclose(file)
    for thread in threads:
        thread.join()

cli.run = run
start.main()
"""


@needs_glibc
def test_all_threads_of_the_program_share_one_heap(tmp_path: Path) -> None:
    path = tmp_path / "heaps.xml"
    subprocess.run([sys.executable, "-c", PROGRAM, path], check=True, timeout=60)
    assert path.read_text().count("<heap nr=") == 1


@needs_glibc
def test_what_is_free_is_known() -> None:
    if heap.free_bytes() is None:
        pytest.skip("glibc before 2.33")
    blocks = [bytes(4000) for _ in range(10_000)]
    del blocks[:-1]
    assert (heap.free_bytes() or 0) > 20_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has the setting")
def test_a_process_takes_memory_in_small_pages() -> None:
    program = """
from pathlib import Path
from musetalk_cli.system import heap

heap.use_small_pages()
print(Path("/proc/self/status").read_text())
"""
    status = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    if "THP_enabled" not in status.stdout:
        pytest.skip("Linux before 5.0 does not tell")
    assert "THP_enabled:\t0\n" in status.stdout


def test_without_glibc_nothing_is_known_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: object) -> None:
        raise OSError("no such library")

    heap._from_libc.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", refuse)
    try:
        heap.share()
        heap.trim()
        heap.use_small_pages()
        assert heap.free_bytes() is None
    finally:
        heap._from_libc.cache_clear()


@pytest.fixture
def collector() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
def test_collecting_begins_without_what_the_start_made() -> None:
    before = gc.get_freeze_count()
    heap.begin_collecting()
    assert gc.isenabled()
    assert gc.get_freeze_count() == before  # a program that collects anyway keeps its objects
    gc.disable()
    heap.begin_collecting()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before


FRAMES = """
import resource
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(20):
    frames = [bytearray(900_000) for _ in range(8)]
    del frames
print(faults() - before)
"""


@needs_glibc
def test_a_child_keeps_what_it_frees(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)

    def faults(environment: dict[str, str] | None) -> int:
        command = [sys.executable, "-c", FRAMES]
        return int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)

    assert faults(heap.keeping_environment()) < 0.2 * faults(None)


def test_what_the_user_has_set_for_the_heap_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "4096")
    environment = heap.keeping_environment()
    assert environment["MALLOC_TRIM_THRESHOLD_"] == "4096"
    assert environment["PATH"]
