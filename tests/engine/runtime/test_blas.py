"""One thread for numpy's matrix products, in a program that loaded numpy before us."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import os, numpy as np
from musetalk_cli.engine.runtime.blas import use_one_blas_thread
print(use_one_blas_thread())
a = np.ones((1500, 1500), np.float32)
for _ in range(20):
    a @ a
tasks = [open(f'/proc/self/task/{task}/stat').read() for task in os.listdir('/proc/self/task')]
ticks = [int(task.rsplit(')')[1].split()[11]) for task in tasks]  # a thread of BLAS spins for some at its start
print(sum(count > max(ticks) / 3 for count in ticks))
"""


def run(**changes: str) -> list[str]:
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={**environment, **changes}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_one_thread_computes() -> None:
    is_set, num_busy = run()
    if is_set == "False":
        pytest.skip("this numpy has no OpenBLAS that we know")
    assert num_busy == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_who_says_otherwise_is_followed() -> None:
    assert run(OPENBLAS_NUM_THREADS="2")[0] == "False"
