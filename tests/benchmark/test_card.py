"""What the machine says of itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from musetalk_cli.benchmark import card
from musetalk_cli.benchmark.ceiling import FRAME_GFLOP, measure_ceiling
from musetalk_cli.benchmark.figures import FrameSize
from musetalk_cli.benchmark.subject import open_subject
from musetalk_cli.config import Config


def write_program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac is not asked for NVIDIA's tool")
def test_the_gpu_is_what_nvidia_smi_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert card.ask_for_gpu() == ("", "")
    write_program(
        tmp_path, "nvidia-smi", "echo 'NVIDIA H200, 143771 MiB, 570.86.10'; echo 'NVIDIA H200, 143771 MiB, 570.86.10'"
    )
    assert card.ask_for_gpu() == ("NVIDIA H200, 143771 MiB, 2 of them", "570.86.10")
    write_program(tmp_path, "nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    assert card.ask_for_gpu() == ("", "")


def test_the_card_knows_the_machine() -> None:
    subject = open_subject(Config(), "warp", FrameSize(96, 96), lambda text: None)
    found = card.describe_machine(subject)
    assert found.cpu
    assert found.memory_gb > 0.5
    assert found.libraries["numpy"]
    assert found.ffmpeg[0].isalnum()
    assert found.ceiling is None


def test_the_ceiling_is_what_the_arithmetic_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: pip install 'musetalk[neural]'")
    monkeypatch.setattr("musetalk_cli.benchmark.ceiling.MEASURED_S", 0.05)
    ceiling = measure_ceiling("cpu", "auto")
    assert (ceiling.device, ceiling.precision) == ("cpu", "float32")
    assert 0 < ceiling.tflops < 100
    assert ceiling.fps == pytest.approx(1000 * ceiling.tflops / FRAME_GFLOP)
