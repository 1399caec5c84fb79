"""A measurement that nobody made, to be put into words and pictures."""

from __future__ import annotations

from musetalk_cli.benchmark.capacity import judge
from musetalk_cli.benchmark.card import Card
from musetalk_cli.benchmark.ceiling import Ceiling
from musetalk_cli.benchmark.figures import (
    BlockLatency,
    Rates,
    SizeFigures,
    Spread,
    StageFigures,
    StartFigures,
    Workload,
)
from musetalk_cli.benchmark.procedure import Result

FPS = 25.0


def stages(*, model_ms: float = 10.0, encode_fps: float = 200.0) -> dict[str, StageFigures]:
    return {
        "features": StageFigures(0.2, 0.3, 4000.0),
        "avatar": StageFigures(0.1, 0.2, 6000.0),
        "model": StageFigures(model_ms, 1.5 * model_ms, 1000 / model_ms),
        "composite": StageFigures(0.05, 0.06, 15000.0),
        "encode": StageFigures(1000 / encode_fps, 2000 / encode_fps, encode_fps),
    }


def size_figures(
    width: int, height: int, delivered_fps: float, *, model_fps: float = 160.0, encode_fps: float = 200.0
) -> SizeFigures:
    by_stage = stages(encode_fps=encode_fps)
    rates = Rates(Spread.of([model_fps]), Spread.of([0.9 * delivered_fps, delivered_fps, 110.0]), Spread.of([0.2]))
    is_live = delivered_fps > FPS
    latency = BlockLatency(Spread.of([0.5, 0.6]), Spread.of([0.9])) if is_live else None
    return SizeFigures(width, height, by_stage, rates, latency, judge(by_stage, model_fps, delivered_fps, FPS))


def result(*sizes: SizeFigures, ceiling: Ceiling | None = None) -> Result:
    card = Card(
        date="2026-01-02",
        musetalk="1.2.3",
        model="warp",
        cpu="A CPU",
        num_cores=4,
        memory_gb=16.2,
        gpu="",
        driver="",
        system="Linux 6 x86_64",
        python="3.12.1",
        libraries={"numpy": "2.0", "opencv-python-headless": "4.10"},
        ffmpeg="7.1",
        encoder="libx264 ultrafast zerolatency crf 23",
        ceiling=ceiling,
    )
    workload = Workload(seconds=4.0, rounds=3, fps=FPS, block_s=2.0, batch_size=8, num_workers=4, note="")
    return Result(card, workload, 0.5, sizes, StartFigures(Spread.of([0.9, 1.1]), 130.0))
