"""What is swept, and what is refused before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from musetalk_cli.app.model_choice import count_cores
from musetalk_cli.benchmark.measurements import procedure
from musetalk_cli.benchmark.measurements.peak_flops import PeakFlops
from musetalk_cli.benchmark.measurements.procedure import settle
from musetalk_cli.benchmark.measurements.sweep import check_sweep, sweep_values
from musetalk_cli.benchmark.report.plot import check_plot
from musetalk_cli.benchmark.workload.figures import FrameSize
from musetalk_cli.benchmark.workload.plan import SIZES, BenchRequest, check_plan, choose_plan
from musetalk_cli.benchmark.workload.subject import Subject, open_subject
from musetalk_cli.configuration.schema import Config, PerformanceConfig
from musetalk_cli.errors import ConfigError, SinkError


@pytest.fixture(scope="module")
def subject() -> Subject:
    config = replace(Config(), performance=PerformanceConfig(parallel_workers=1))
    return open_subject(config, "warp", FrameSize(96, 96), lambda text: None)


def test_each_sweep_changes_what_it_is_named_for(subject: Subject) -> None:
    def settings(name: str) -> list[tuple[str, Subject]]:
        return list(sweep_values(subject, name, lambda text: None))

    assert [(value, each.settings.batch_size) for value, each in settings("batch")] == [
        (str(size), size) for size in (1, 2, 4, 8, 16, 32)
    ]
    assert [each.settings.block_s for _, each in settings("block")] == [0.2, 0.4, 1.0, 2.0, 4.0]
    workers = [each.settings.num_workers for _, each in settings("workers")]
    assert workers == sorted({*workers})
    assert (workers[0], workers[-1]) == (1, count_cores())
    assert [(value, each.shown.height) for value, each in settings("size")] == [
        (f"{size} × {size}", size) for size in (256, 512, 720, 1080)
    ]


def test_what_does_nothing_is_not_swept() -> None:
    with pytest.raises(ConfigError, match="one precision"):
        check_sweep("precision", "warp")
    with pytest.raises(ConfigError, match="one batch at a time"):
        check_sweep("workers", "musetalk-1.5")
    check_sweep("workers", "warp")
    check_sweep("precision", "musetalk-1.5")


def test_weights_that_are_missing_are_replaced_by_random_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path))
    told: list[str] = []
    settled = settle(Config(model="musetalk-1.5", avatar="me.jpg"), told.append)
    assert (settled.random_weights, settled.avatar) == (True, "nora")
    assert "measured with random weights" in told[0]
    assert not settle(Config(model="warp"), told.append).random_weights
    assert not settle(Config(), told.append).random_weights
    assert len(told) == 1


def test_too_few_faces_are_not_swept() -> None:
    slow = choose_plan(BenchRequest(sweep="batch"), SIZES, 5.0, 25.0)
    with pytest.raises(ConfigError, match="each figure is of 2 faces, too few to tell the values apart"):
        check_plan(BenchRequest(sweep="batch"), slow)
    check_plan(BenchRequest(sweep="batch", seconds=2.0), slow)
    check_plan(BenchRequest(sweep="size"), slow)
    check_plan(BenchRequest(sweep="batch"), choose_plan(BenchRequest(), SIZES, 0.5, 25.0))


def test_what_only_files_have_is_not_measured() -> None:
    with pytest.raises(ConfigError, match="no compat"):
        settle(Config(compat="upstream"), lambda text: None)


def test_a_plot_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    check_plot(tmp_path / "new.png", BenchRequest(), overwrite=False)
    old = tmp_path / "old.png"
    old.write_bytes(b"old")
    check_plot(old, BenchRequest(), overwrite=True)
    for path, request, words in (
        (old, BenchRequest(), "exists already"),
        (tmp_path / "new.jpg", BenchRequest(), "only PNG files"),
        (tmp_path / "nowhere" / "new.png", BenchRequest(), "there is no folder"),
        (tmp_path / "new.png", BenchRequest(has_comparison=True), "nothing to draw"),
    ):
        with pytest.raises(SinkError, match=words):
            check_plot(path, request, overwrite=False)


def test_the_arithmetic_does_not_count_in_the_gpus_memory(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    held_mb = [100.0]

    def measure(device: str, precision: str) -> PeakFlops:
        held_mb[0] += 400.0
        return PeakFlops("cuda", "float16", 800.0, 1000.0)

    monkeypatch.setattr(procedure, "choose_model", lambda config, tell: "musetalk-1.5")
    monkeypatch.setattr(procedure, "open_subject", lambda config, name, size, tell: subject)
    monkeypatch.setattr(procedure, "sum_gpu_mb", lambda what: held_mb[0])
    monkeypatch.setattr(procedure, "measure_peak_flops", measure)
    request = BenchRequest(seconds=0.2, num_rounds=1, num_sessions=1)
    result = procedure.run_benchmark(subject.config, request, lambda text: None)
    assert result.gpu_mb == 100.0
    assert result.machine_info.peak_flops is not None
