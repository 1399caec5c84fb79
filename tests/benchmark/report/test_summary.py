"""What the figures are said to mean."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fixtures.benchmark_results import FPS, result, size_figures, stages
from musetalk_cli.benchmark.measurements.capacity import SHARED, judge, shares
from musetalk_cli.benchmark.measurements.peak_flops import PeakFlops
from musetalk_cli.benchmark.report.plot import draw
from musetalk_cli.benchmark.report.summary import describe_session_summary, describe_summary
from musetalk_cli.benchmark.report.tables import describe, describe_sweep, short, spread, table
from musetalk_cli.benchmark.workload.figures import (
    SCHEMA,
    FrameSize,
    SessionFigures,
    Spread,
    StageFigures,
    Sweep,
    SweepRow,
)
from musetalk_cli.benchmark.workload.plan import LEAST_FRAMES, SIZES, BenchRequest, choose_plan


def test_a_spread_is_the_median_and_the_ends() -> None:
    assert Spread.of([3.0, 1.0, 2.0, 10.0]) == Spread(2.5, 1.0, 10.0)
    assert spread(Spread(93.14, 90.0, 104.6)) == "93.1 (90.0–105)"
    assert spread(Spread(2.0, 2.0, 2.0)) == "2.00"


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1235"), (93.14, "93.1"), (100.0, "100"), (0.03123, "0.0312"), (0.0, "0")]
)
def test_figures_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert short(value) == text


def test_a_stage_is_summed_up_over_its_calls() -> None:
    calls = [(0.08, 8), (0.01, 2), (0.24, 8), (0.0, 0)]
    assert StageFigures.of(calls) == StageFigures(p50_ms=10.0, p95_ms=pytest.approx(30.0), fps=pytest.approx(18 / 0.33))


def test_a_stage_bounds_what_it_alone_cannot_exceed() -> None:
    assert judge(stages(), 160.0, 150.0, FPS).bottleneck == "model"
    assert judge(stages(encode_fps=90.0), 160.0, 85.0, FPS).bottleneck == "encode"
    assert judge(stages(), 0.05, 0.03, FPS).bottleneck == "model"  # nothing else takes any time
    shared = judge(stages(), 160.0, 90.0, FPS)
    assert shared.bottleneck == SHARED
    assert (shared.num_streams, shared.speed) == (3, 3.6)


def test_shares_of_the_cores_add_up() -> None:
    parts = shares(stages(encode_fps=80.0), 160.0)
    assert parts[0][0] == "encode"
    assert sum(share for _, share in parts) == pytest.approx(1.0)


def test_the_summary_says_what_the_machine_holds() -> None:
    sizes = [size_figures(512, 512, 105.0), size_figures(1280, 720, 60.0), size_figures(1920, 1080, 26.0)]
    assert describe_summary(sizes, FPS, 4) == (
        "This machine holds 4 streams of 25 fps at 512 × 512, 2 at 1280 × 720 and 1 at 1920 × 1080. "
        "The bottleneck is the CPU, whose 4 cores all stages share."
    )


def test_the_summary_says_what_the_machine_does_not_hold() -> None:
    sizes = [size_figures(512, 512, 26.0, model_fps=27.0), size_figures(1920, 1080, 20.0, encode_fps=21.0)]
    assert describe_summary(sizes, FPS, 4) == (
        "This machine holds 1 stream of 25 fps at 512 × 512, and does not hold one: 0.8 × real time at 1920 × 1080. "
        "The bottleneck: at 512 × 512 it is the model; at 1920 × 1080 it is the video encoder."
    )
    slow = describe_summary([size_figures(512, 512, 0.1, model_fps=0.1)], FPS, 2)
    assert slow == (
        "This machine does not hold one stream of 25 fps: 0.004 × real time at 512 × 512. The bottleneck is the model."
    )


def test_sessions_hold_when_the_slowest_does() -> None:
    holds = SessionFigures(512, 512, 3, Spread.of([78.0]), Spread.of([25.0]))
    assert describe_session_summary(holds, FPS) == "This machine holds 3 streams of 25 fps at 512 × 512."
    fails = SessionFigures(512, 512, 3, Spread.of([90.0]), Spread.of([24.9]))
    assert "does not hold 3 streams" in describe_session_summary(fails, FPS)


def test_tables_are_markdown_and_aligned() -> None:
    assert table([["a", "bb"], ["ccc", "d"]]).splitlines() == ["| a   | bb |", "|-----|----|", "| ccc | d  |"]


def test_the_report_has_everything() -> None:
    text = describe(result(size_figures(512, 512, 105.0), size_figures(1920, 1080, 20.0)))
    for line in (
        "A CPU, 4 cores, 16 GB of memory",
        "libx264 ultrafast zerolatency crf 23, ffmpeg 7.1",
        "| 3 rounds of 4 s at 25 fps ",
        "| blocks of 2 s, batches of 8, 4 workers ",
        "105 (94.5–110)",
        "10.0 / 15.0 (100/s)",
        "| too slow ",
        "has its first frame after 1.00 (0.900–1.10) s and takes 130 MB beside ffmpeg",
        "**This machine holds 4 streams",
    ):
        assert line in text
    assert "arithmetic" not in text
    assert len({len(line) for line in text.splitlines() if line.startswith("| ") and "alone" in line}) == 1


def test_a_slow_models_report_says_how_little_was_measured() -> None:
    whole = result(size_figures(512, 512, 0.1, model_fps=0.1))
    few = replace(whole, workload=replace(whole.workload, seconds=0.08, note="a face takes 14 s here"))
    assert "A fresh `musetalk stream` of 2 frames has its first frame after 1.00" in describe(few)
    text = describe(replace(few, start=None))
    assert "A fresh `musetalk stream` was not measured: loading and two faces take too long here." in text
    assert "| a face takes 14 s here " in text


def test_a_neural_model_is_compared_with_the_peak_flops() -> None:
    text = describe(result(peak_flops=PeakFlops("cuda", "float16", 790.0, 987.5)))
    assert "| warp on cuda, float16 " in text
    assert "790 TFLOP/s in matrix products: 988 frames/s of 800 GFLOP, the full nets as published" in text


def test_a_sweep_has_a_row_for_each_value() -> None:
    figures = size_figures(96, 96, 60.0)
    rows = tuple(SweepRow(value, figures.rates, figures.latency) for value in ("1", "8"))
    lines = describe_sweep(Sweep("batch", 96, 96, rows)).splitlines()
    assert lines[0].startswith("| batch, 96 × 96 ")
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["1", "8"]


def test_the_record_is_json_with_a_version() -> None:
    record = json.loads(json.dumps(result(size_figures(512, 512, 105.126)).as_record()))
    assert record["schema"] == SCHEMA
    assert record["sizes"][0]["rates"]["delivered_fps"]["median"] == 105.1
    assert record["sizes"][0]["capacity"]["num_streams"] == 4
    assert record["comparison"] is None


@pytest.mark.parametrize(("face_s", "num_frames"), [(0.01, 100), (0.2, 40), (5.0, LEAST_FRAMES)])
def test_a_slow_model_makes_fewer_faces(face_s: float, num_frames: int) -> None:
    plan = choose_plan(BenchRequest(), SIZES, face_s, FPS)
    assert plan.seconds * FPS == pytest.approx(num_frames)
    assert plan.is_brief == (num_frames < 100)
    assert len(plan.sizes) == (1 if plan.is_brief else 3)
    assert (f"each figure is of {num_frames} faces" in plan.note) == plan.is_brief
    assert plan.is_least == (num_frames == LEAST_FRAMES)
    asked = choose_plan(BenchRequest(seconds=2.0, num_rounds=5), SIZES, face_s, FPS)
    assert (asked.seconds, asked.num_rounds) == (2.0, 5)


def test_bars_are_as_long_as_their_figures() -> None:
    image = draw(result(size_figures(512, 512, 100.0), size_figures(1280, 720, 50.0)))
    colours, counts = np.unique(image[:, 600:].reshape(-1, 3), axis=0, return_counts=True)
    large = {tuple(map(int, colour)) for colour, count in zip(colours, counts, strict=True) if count > 1000}
    assert len(large) == 3  # the ground, and one for each size
    blue = cv2.inRange(image[:, 600:], (176, 114, 76), (176, 114, 76)) > 0
    lengths = [int(row.sum()) for row in blue if row.sum() > 20]
    # The model loop's 160 and the delivered 100 frames per second.
    assert min(lengths) / max(lengths) == pytest.approx(100 / 160, abs=0.02)


def test_a_size_is_two_numbers() -> None:
    assert all(isinstance(size, FrameSize) and size.width % 2 == size.height % 2 == 0 for size in SIZES)
