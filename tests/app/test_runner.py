"""What a run does to the whole process."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from musetalk_cli.app.runner import _begin_collecting


@pytest.fixture
def collector() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
def test_collecting_begins_without_what_the_start_made() -> None:
    before = gc.get_freeze_count()
    _begin_collecting()
    assert gc.isenabled()
    assert gc.get_freeze_count() == before  # a program that collects anyway keeps its objects
    gc.disable()
    _begin_collecting()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
