"""What is freed serves the next file, or goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from musetalk_cli.app.batch import memory
from musetalk_cli.system import heap

# Blocks too small to be mapped one by one, with one behind them that stays: freeing alone does not return them.
PROGRAM = """
import psutil
from musetalk_cli.app.batch import memory

memory.MAX_FREE_BYTES = 1 << 20
blocks = [bytes(4000) for _ in range(20_000)]
del blocks[:-1]
before = psutil.Process().memory_info().rss
memory.give_back()
print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a function of glibc")
def test_much_freed_memory_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 40_000_000


@pytest.mark.parametrize(
    ("num_free", "is_trimmed"), [(memory.MAX_FREE_BYTES, False), (memory.MAX_FREE_BYTES + 1, True), (None, True)]
)
def test_a_little_is_kept_for_the_next_file(
    monkeypatch: pytest.MonkeyPatch, num_free: int | None, is_trimmed: bool
) -> None:
    trimmed = list[bool]()
    monkeypatch.setattr(heap, "free_bytes", lambda: num_free)
    monkeypatch.setattr(heap, "trim", lambda: trimmed.append(True))
    memory.give_back()
    assert bool(trimmed) == is_trimmed
