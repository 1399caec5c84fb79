"""What the machine says of itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from musetalk_cli.benchmark.measurements import machine_info
from musetalk_cli.benchmark.measurements.peak_flops import FRAME_GFLOP, measure_peak_flops
from musetalk_cli.benchmark.workload.figures import FrameSize
from musetalk_cli.benchmark.workload.subject import open_subject
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.native.library import load
from musetalk_cli.engine.runtime.usage import sum_gpu_mb


def write_program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac is not asked for NVIDIA's tool")
def test_the_gpu_is_what_nvidia_smi_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine_info.ask_for_gpu() == ("", "")
    write_program(
        tmp_path, "nvidia-smi", "echo 'NVIDIA H200, 143771 MiB, 570.86.10'; echo 'NVIDIA H200, 143771 MiB, 570.86.10'"
    )
    assert machine_info.ask_for_gpu() == ("NVIDIA H200, 143771 MiB, 2 of them", "570.86.10")
    write_program(tmp_path, "nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    assert machine_info.ask_for_gpu() == ("", "")


def test_the_machine_is_described() -> None:
    subject = open_subject(Config(), "warp", FrameSize(96, 96), lambda text: None)
    found = machine_info.describe_machine(subject)
    assert found.cpu
    assert found.memory_gb > 0.5
    assert found.libraries["numpy"]
    assert found.libraries["warp"] == ("native" if load() else "numpy")
    assert found.ffmpeg[0].isalnum()
    assert found.peak_flops is None


def test_peak_flops_are_turned_into_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
    monkeypatch.setattr("musetalk_cli.benchmark.measurements.peak_flops.MEASURED_S", 0.05)
    peak_flops = measure_peak_flops("cpu", "fp32")
    assert (peak_flops.device, peak_flops.precision) == ("cpu", "float32")
    assert 0 < peak_flops.tflops < 100
    assert peak_flops.fps == pytest.approx(1000 * peak_flops.tflops / FRAME_GFLOP)


def test_several_devices_are_measured_together(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
    from musetalk_cli.engine.models.musetalk.inference import devices

    monkeypatch.setattr(devices, "_check", lambda device: None)  # that it is there
    monkeypatch.setattr(
        "musetalk_cli.benchmark.measurements.peak_flops.measure_tflops", lambda chosen: 1.0 + chosen.device.index
    )
    peak_flops = measure_peak_flops("cuda:0,2", "fp16")
    assert (peak_flops.device, peak_flops.precision, peak_flops.tflops) == ("cuda:0 and cuda:2", "float16", 4.0)


def test_memory_is_that_of_all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert sum_gpu_mb("max_memory_reserved") is None
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda index: 1_000_000 * 10**index)
    assert sum_gpu_mb("max_memory_reserved") == 111.0


def test_a_frames_operations_are_those_that_are_counted() -> None:
    pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
    from fixtures.operations import count_all
    from musetalk_cli.engine.models.musetalk.checkpoints.loading import NetConfigs

    assert next(count_all(NetConfigs())).total == pytest.approx(FRAME_GFLOP, abs=0.005)
