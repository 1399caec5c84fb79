"""``musetalk bench`` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from musetalk_cli.commands.bench import plain

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Options = tuple[str, ...]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Options that keep everything short; the blocks too, with one of which every pipeline is brought up."""
    settings = tmp_path_factory.mktemp("bench") / "short.yaml"
    settings.write_text("audio: {target_duration: 0.4}")
    return ("--size", "96", "--seconds", "0.4", "--rounds", "1", "--config", str(settings))


def last_json(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr.decode()
    record: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    return record


def test_json_has_every_figure_and_they_agree(run_cli: Run, tiny: Options, tmp_path: Path) -> None:
    done = run_cli("bench", *tiny, "--json", "--plot", "bench.png", cwd=tmp_path)
    record = last_json(done)
    assert record["schema"] == 2
    assert record["machine_info"]["model"] == "warp"
    assert record["machine_info"]["num_cores"] >= 1
    assert record["machine_info"]["encoder"].startswith("libx264 ")
    assert record["workload"]["seconds"] == 0.4
    (figures,) = record["sizes"]
    assert (figures["width"], figures["height"]) == (96, 96)
    assert set(figures["stages"]) == {"features", "avatar", "model", "composite", "encode"}
    for stage in figures["stages"].values():
        assert 0 < stage["p50_ms"] <= stage["p95_ms"]
        assert stage["fps"] > 0
    delivered_fps = figures["rates"]["delivered_fps"]["median"]
    assert figures["rates"]["model_fps"]["median"] > 0
    assert figures["capacity"]["speed"] == pytest.approx(delivered_fps / 25, rel=0.01)
    assert figures["capacity"]["num_streams"] == delivered_fps // 25
    assert 0 < figures["rates"]["first_frame_s"]["median"] < record["start"]["first_frame_s"]["median"]
    assert record["start"]["rss_mb"] > 30
    # The report and the image are there, too.
    said = done.stderr.decode()
    assert "This machine " in said
    assert "| delivered, frames/s " in said
    image = cv2.imread(str(tmp_path / "bench.png"))
    assert image is not None
    assert image.shape[1] == 1200
    assert [path.name for path in tmp_path.iterdir()] == ["bench.png"]


def test_the_report_goes_to_stdout(run_cli: Run, tiny: Options) -> None:
    done = run_cli("bench", *tiny, "--sessions", "2", "--fps", "12.5", "--quiet")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    text = done.stdout.decode()
    assert text.startswith("| musetalk ")
    assert "| 2 " in text
    assert "2 streams of 12.5 fps at 96 × 96.**" in text


def test_a_sweep_has_a_row_for_each_value(run_cli: Run, tiny: Options) -> None:
    record = last_json(run_cli("bench", *tiny, "--workers", "2", "--sweep", "batch", "--json", "-q"))
    assert record["sizes"] == []
    assert record["start"] is None
    assert record["sweep"]["name"] == "batch"
    rows = record["sweep"]["rows"]
    assert [row["value"] for row in rows][:3] == ["1", "2", "4"]
    assert all(row["rates"]["delivered_fps"]["median"] > 0 for row in rows)


def test_what_is_wrong_is_one_line(run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    for options, code, words in (
        (["--sweep", "colour"], 2, "batch, workers, precision, block or size"),
        (["--sweep", "precision"], 2, "the warp model has one precision"),
        (["--seconds", "0"], 2, "--seconds"),
        (["--plot", "old.png"], 1, "old.png exists already"),
        (["--model", "warp", "--random-weights"], 2, "has no random weights"),
    ):
        done = run_cli("bench", *options, cwd=tmp_path)
        assert done.returncode == code, options
        assert words in done.stderr.decode().splitlines()[-1], options
        assert done.stdout == b""
    assert (tmp_path / "old.png").read_bytes() == b"old"


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "musetalk_cli", "bench", "--size", "96", "--seconds", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as child:
        assert child.stderr
        assert any(b"loading warp" in line for line in child.stderr)  # behind a warning, if the machine is busy
        assert b"96" in child.stderr.readline()
        time.sleep(0.5)  # into the measuring
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert out == b""
    assert b"Traceback" not in err


@pytest.mark.timeout(240)
def test_a_neural_model_is_measured_like_any_other(tiny: Options, tmp_path: Path) -> None:
    for library in ("torch", "safetensors"):
        pytest.importorskip(library, reason=f"needs {library}: pip install -e '.[neural]'")
    from fixtures.official_files import write_models
    from fixtures.small_nets import CONFIGS
    from musetalk_cli.engine.weights.store import WeightStore

    home = tmp_path / "home"
    WeightStore(home).refer_to(write_models(tmp_path / "upstream" / "models", CONFIGS))
    environment = {**os.environ, "MUSETALK_HOME": str(home), "CUDA_VISIBLE_DEVICES": ""}
    options = (*tiny, "--fps", "5", "--model", "musetalk-1.5", "--precision", "fp32", "--sessions", "1", "--json", "-q")
    command = [sys.executable, "-m", "musetalk_cli", "bench", *options]
    record = last_json(subprocess.run(command, capture_output=True, timeout=200, check=False, env=environment))
    assert record["machine_info"]["model"] == "musetalk-1.5"
    peak_flops = record["machine_info"]["peak_flops"]
    assert (peak_flops["device"], peak_flops["precision"]) == ("cpu", "float32")
    assert peak_flops["fps"] == pytest.approx(1.25 * peak_flops["tflops"], rel=0.01)
    assert record["workload"]["num_workers"] == 2
    assert record["sessions"]["slowest_fps"]["median"] > 0


def test_compare_measures_the_optimisations(run_cli: Run, tiny: Options) -> None:
    record = last_json(run_cli("bench", *tiny, "--compare", "--json", "-q"))
    assert {row["key"] for row in record["comparison"]["rows"]} >= {"ours", "memory", "all"}


def test_on_a_terminal_the_answer_comes_first_and_is_no_markdown() -> None:
    assert plain("# T\n\n**Two streams.**\n").splitlines()[:3] == ["Two streams.", "", "# T"]
    assert "**" not in plain("a **b** c **d**")
    assert plain("nothing bold") == "nothing bold"
