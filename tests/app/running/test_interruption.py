from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from musetalk_cli.app.running.interruption import RENDER, STREAM, Interruption
from musetalk_cli.ending import SIGNALS


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """As they were, afterwards: children inherit signals that are ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("is_complete", "exit_code"), [(True, 0), (False, 130)])
def test_what_was_done_before_the_signal_succeeded(is_complete: bool, exit_code: int) -> None:
    pipeline = Mock(is_complete=False)
    interruption = Interruption(pipeline, Mock(), RENDER)
    with interruption.watching():
        pipeline.is_complete = is_complete
        os.kill(os.getpid(), signal.SIGINT)
    assert interruption.exit_code == exit_code


def test_a_signal_that_the_output_no_longer_heeds_is_too_late() -> None:
    pipeline = Mock(is_complete=False)
    pipeline.cut.side_effect = lambda: setattr(pipeline, "is_complete", True)  # its file has just got its name
    interruption = Interruption(pipeline, Mock(), RENDER)
    with interruption.watching():
        os.kill(os.getpid(), signal.SIGINT)
        interruption.obey()
    pipeline.cut.assert_called_once()
    assert interruption.exit_code == 0


def test_a_signal_behind_the_end_changes_nothing() -> None:
    with Interruption(Mock(is_complete=True), Mock(), RENDER).watching():
        pass
    os.kill(os.getpid(), signal.SIGINT)  # would be a KeyboardInterrupt
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows closes no terminal so")
def test_a_closed_terminal_is_told_twice_and_drops_nothing() -> None:
    pipeline = Mock(is_complete=False)
    interruption = Interruption(pipeline, Mock(), STREAM)
    with interruption.watching():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
            interruption.obey()
        pipeline.stop.assert_called_once()
        pipeline.abort.assert_not_called()
        os.kill(os.getpid(), signal.SIGTERM)
        interruption.obey()
        pipeline.abort.assert_called_once()
    assert interruption.exit_code == 129
