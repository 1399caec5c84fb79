"""Items of a batch, with pipelines that only pretend."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from musetalk_cli.app.batch import runner
from musetalk_cli.app.batch.item import BatchItem, ItemResult
from musetalk_cli.app.batch.runner import BatchRun, default_jobs
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import SourceError


class Pretended:
    """A pipeline that has ended as soon as it begins, and whose parts refer to each other."""

    error = None
    is_complete = is_delivered = True

    def __init__(self) -> None:
        self.itself = self
        self.has_begun = False

    def begin_now(self) -> None:
        self.has_begun = True

    def start(self) -> None:
        assert self.has_begun  # its time does not count what it waited for its turn

    def cut(self) -> None:
        pass

    abort = cut

    def wait(self, timeout_s: float) -> bool:
        return True

    wait_computed = wait

    def close(self, timeout_s: float | None = None) -> None:
        pass

    def snapshot(self) -> SimpleNamespace:
        return SimpleNamespace(num_frames=25, media_s=1.0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Pretended]]]:
    found: list[weakref.ref[Pretended]] = []

    @contextlib.contextmanager
    def open_pipeline(config: Config, voice: str, *others: Any) -> Iterator[Pretended]:
        if voice == "bad":
            raise SourceError("bad holds no audio")
        pipeline = Pretended()
        found.append(weakref.ref(pipeline))
        yield pipeline

    monkeypatch.setattr(runner, "open_pipeline", open_pipeline)
    monkeypatch.setattr(runner, "open_item_sink", lambda *args, **options: SimpleNamespace(where=None))
    yield found
    gc.unfreeze()


def run(*voices: str) -> list[ItemResult]:
    results: list[ItemResult] = []
    items = [BatchItem(voice, f"{voice}.mp4", Config()) for voice in voices]
    batch = BatchRun(items, 1, None, print, results.append, overwrite=False)  # type: ignore[arg-type]
    batch.start()
    assert batch.wait(30)
    assert batch.error is None
    return results


def test_a_failure_ends_no_other(opened: list[weakref.ref[Pretended]]) -> None:
    results = sorted(run("a", "bad", "b"), key=lambda result: result.item.voice)
    assert [(result.item.voice, result.num_frames, result.num_bytes, result.error) for result in results] == [
        ("a", 25, 0, ""),
        ("b", 25, 0, ""),
        ("bad", 0, 0, "bad holds no audio"),
    ]


def test_as_many_wait_for_their_encoders_as_are_computed(
    opened: list[weakref.ref[Pretended]], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()
    monkeypatch.setattr(Pretended, "wait", lambda self, timeout_s: may_end.wait(timeout_s))
    items = [BatchItem(f"{number}", f"{number}.mp4", Config()) for number in range(8)]
    taken: list[BatchItem] = []

    def give() -> Iterator[BatchItem]:
        for item in items:
            taken.append(item)
            yield item

    results: list[ItemResult] = []
    batch = BatchRun(give(), 2, None, print, results.append, overwrite=False)  # type: ignore[arg-type]
    assert not batch.is_complete
    batch.start()
    while len(taken) < 5:  # the fifth waits until one of the others has ended
        assert not batch.wait(0.01)
    assert len(batch.running()) == len(opened) == 4
    may_end.set()
    assert batch.wait(30)
    assert (len(results), batch.is_complete) == (8, True)


def test_what_has_ended_is_released_while_others_run(opened: list[weakref.ref[Pretended]]) -> None:
    alive: list[int] = []

    def voices() -> Iterator[BatchItem]:
        for number in range(12):
            yield BatchItem(f"{number}", f"{number}.mp4", Config())
            alive.append(sum(pipeline() is not None for pipeline in opened))

    gc.disable()
    batch = BatchRun(voices(), 1, None, print, lambda result: None, overwrite=False)  # type: ignore[arg-type]
    batch.start()
    gc.disable()  # what the interpreter collects by itself, now and then
    assert batch.wait(30)
    gc.enable()
    assert max(alive) <= 4


@pytest.mark.parametrize(("num_cores", "num_jobs"), [(1, 1), (2, 2), (4, 3), (64, 3)])
def test_as_many_files_as_cores_up_to_three(num_cores: int, num_jobs: int) -> None:
    assert default_jobs(num_cores) == num_jobs
