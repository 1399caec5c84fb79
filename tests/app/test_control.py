"""Commands for a running stream, without one; with it, they are tested in tests/commands/test_stream_control.py."""

from __future__ import annotations

import os
import queue
import sys
from collections.abc import Iterator

import pytest

from musetalk_cli.app.control import Control

HIGH = 2000  # beyond what select() takes


@pytest.fixture
def high_descriptors() -> Iterator[None]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= HIGH:
        pytest.skip(f"this system has no descriptor {HIGH}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, HIGH + 1), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class MutedPipeline:
    def toggle_mute(self) -> bool:
        return True


@pytest.mark.skipif(sys.platform == "win32", reason="passes no open descriptor")
@pytest.mark.usefixtures("high_descriptors")
def test_a_program_with_many_descriptors_may_pass_a_high_one() -> None:
    reads, writes = os.pipe()
    os.dup2(reads, HIGH)
    os.close(reads)
    told: queue.Queue[str] = queue.Queue()
    control = Control(str(HIGH))
    control.start(MutedPipeline(), told.put)  # type: ignore[arg-type]
    os.write(writes, b"mute\n")
    assert told.get(timeout=10) == "muted"
    os.close(writes)
    control.close()
