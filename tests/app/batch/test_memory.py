"""What is freed goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Blocks too small to be mapped one by one, with one behind them that stays: freeing alone does not return them.
PROGRAM = """
import psutil
from musetalk_cli.app.batch.memory import give_back

blocks = [bytes(4000) for _ in range(20_000)]
del blocks[:-1]
before = psutil.Process().memory_info().rss
give_back()
print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a function of glibc")
def test_freed_memory_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 40_000_000
