"""A batch on a cluster that has no processes: what is given to whom, and what happens when workers are lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from musetalk_cli.app.batch.item import BatchItem, ItemResult
from musetalk_cli.app.cluster.ray_cluster import WorkerLostError
from musetalk_cli.app.cluster.run import ClusterRun
from musetalk_cli.app.cluster.sizing import WorkerSize
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import ClusterError
from tests.app.cluster.fake_cluster import FakeCluster, Render

SIZE = WorkerSize(num_cpus=1, num_gpus=0, num_jobs=2)
Begin = Callable[..., ClusterRun]


def items(num_items: int) -> list[BatchItem]:
    return [BatchItem(f"v{number}.wav", f"out/v{number}.mp4", Config()) for number in range(num_items)]


def made(worker: int, item: BatchItem) -> ItemResult:
    return ItemResult(item, num_frames=25, media_s=1.0)


class Run:
    """A run with what it said and reported."""

    def __init__(self, render: Render, given: Iterable[BatchItem], num_machines: int = 2, **options: str) -> None:
        self.cluster = FakeCluster(render, num_machines, **options)
        self.results: list[ItemResult] = []
        self.told: list[str] = []
        self.run = ClusterRun(given, self.cluster, SIZE, "out", self.told.append, self.results.append)

    def finish(self) -> None:
        self.run.start()
        assert self.run.wait(30)

    @property
    def reported(self) -> list[str]:
        return sorted(result.item.voice for result in self.results)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("musetalk_cli.app.cluster.run.COUNT_S", 0.0)
    yield
    assert list(tmp_path.glob("out/*")) == []  # what machines were asked to find


def test_every_item_is_rendered_once_wherever_there_is_room() -> None:
    each = Run(made, items(20))
    each.finish()
    assert each.run.error is None
    assert each.run.is_complete
    assert each.reported == sorted(item.voice for item in items(20))
    assert {worker for worker, _ in each.cluster.rendered} == {1, 2}
    assert each.cluster.most_at_once == 3  # two that are rendered, and one that is opened
    # Workers have another current folder; the report has the names that were given.
    assert all(Path(item.voice).is_absolute() and Path(item.output).is_absolute() for _, item in each.cluster.rendered)
    assert each.cluster.ended == [1, 2]
    each.run.close()
    assert each.cluster.is_closed


def test_what_a_lost_worker_had_is_rendered_by_others() -> None:
    def render(worker: int, item: BatchItem) -> ItemResult:
        if worker == 1 and item.voice.endswith("v4.wav"):
            raise WorkerLostError("its machine is gone")
        return made(worker, item)

    each = Run(render, items(20))
    each.finish()
    assert each.run.error is None
    assert each.reported == sorted(item.voice for item in items(20))
    assert not [result for result in each.results if result.error]
    assert len(each.told) == 1
    assert "a worker on machine1 is lost" in each.told[0]


def test_the_only_worker_is_started_again() -> None:
    def render(worker: int, item: BatchItem) -> ItemResult:
        if worker == 1:
            raise WorkerLostError("killed for its memory")
        return made(worker, item)

    each = Run(render, items(4), num_machines=1)
    each.finish()
    assert each.reported == sorted(item.voice for item in items(4))
    assert not [result for result in each.results if result.error]


def test_an_item_that_ends_every_worker_fails_and_no_other_does() -> None:
    def render(worker: int, item: BatchItem) -> ItemResult:
        if item.voice.endswith("v3.wav"):
            raise WorkerLostError("killed for its memory")
        return made(worker, item)

    each = Run(render, items(12))
    each.finish()
    assert each.reported == sorted(item.voice for item in items(12))
    (failure,) = [result for result in each.results if result.error]
    assert failure.item.voice == "v3.wav"
    assert "3 workers ended while they rendered it" in failure.error


def test_an_item_that_fails_is_not_tried_again() -> None:
    def render(worker: int, item: BatchItem) -> ItemResult:
        return ItemResult(item, error="holds no audio") if item.voice.endswith("v1.wav") else made(worker, item)

    each = Run(render, items(3))
    each.finish()
    assert set(Counter(item.voice for _, item in each.cluster.rendered).values()) == {1}
    assert [result.item.voice for result in each.results if result.error] == ["v1.wav"]


def test_what_cannot_be_sent_fails_without_a_worker() -> None:
    wrong = BatchItem("", "", Config(), origin="list:3", problem="list:3: unknown key")
    each = Run(made, [BatchItem("-", "out/stdin.mp4", Config()), wrong, *items(1)])
    each.finish()
    assert sorted(result.error for result in each.results) == [
        "",
        "list:3: unknown key",
        "standard input cannot be sent to a cluster",
    ]
    assert len(each.cluster.rendered) == 1


def test_a_cut_ends_what_runs_and_begins_nothing() -> None:
    each = Run(lambda worker, item: None, items(20))
    each.run.start()
    while len(each.cluster.rendered) < 6:
        assert not each.run.wait(0.001)
    each.run.cut()
    assert each.run.wait(30)
    assert each.run.is_delivered
    assert not each.run.is_complete
    assert each.results == []
    assert len(each.cluster.rendered) == 6
    assert each.cluster.ended == [1, 2]


def test_an_abort_waits_for_nobody() -> None:
    each = Run(lambda worker, item: None, items(20))
    each.run.start()
    while len(each.cluster.rendered) < 6:
        assert not each.run.wait(0.001)
    each.run.abort()
    assert each.run.wait(30)
    assert each.cluster.ended == []


def test_a_machine_with_another_version_is_refused() -> None:
    each = Run(made, items(2), version="0.0.1")
    each.finish()
    assert isinstance(each.run.error, ClusterError)
    assert "machine1 has musetalk 0.0.1" in str(each.run.error)
    assert each.results == []


def test_a_machine_without_the_folder_is_refused() -> None:
    each = Run(made, items(2))
    each.cluster.finds_file = False
    each.finish()
    assert "machine1 does not have the folder out" in str(each.run.error)


def test_workers_that_do_not_start_end_the_run() -> None:
    each = Run(made, items(2), num_machines=3)
    each.cluster.starts = False
    each.finish()
    assert "workers do not start: no module named musetalk_cli" in str(each.run.error)


def test_a_new_machine_gets_workers() -> None:
    def given() -> Iterator[BatchItem]:
        yield from items(4)
        each.cluster.machines = each.cluster.machines * 2
        yield from (BatchItem(f"w{number}.wav", f"out/w{number}.mp4", Config()) for number in range(400))

    each = Run(made, given(), num_machines=1)
    each.finish()
    assert {worker for worker, _ in each.cluster.rendered} == {1, 2}


def test_an_error_of_who_gives_items_ends_the_run() -> None:
    def given() -> Iterator[BatchItem]:
        yield from items(2)
        raise ClusterError("the list broke off")

    each = Run(made, given())
    each.finish()
    assert str(each.run.error) == "the list broke off"
