"""What ``render`` says when MuseTalk's weights are wrong or its memory is not enough: one line, and no video.

The command line runs in this process, where torch is loaded once and memory can be made to run out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

for library in ("torch", "safetensors"):
    pytest.importorskip(library, reason=f"needs {library}: pip install -e '.[neural]'")

import torch  # noqa: E402

from fixtures.official_files import write_models  # noqa: E402
from fixtures.small_nets import CONFIGS  # noqa: E402
from musetalk_cli import cli  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints import loading  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints import weight_files as weights  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator  # noqa: E402
from musetalk_cli.engine.weights.store import WeightStore  # noqa: E402

UNET = "musetalkV15/unet.pth"
Render = Callable[..., str]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Upstream's ``models`` folder with small nets, which a test may damage."""
    return write_models(tmp_path / "models", CONFIGS)


@pytest.fixture
def render(
    models: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Render:
    """``render`` as it fails: the last line that it says."""
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MUSETALK_TRACEBACK", raising=False)
    monkeypatch.chdir(tmp_path)
    WeightStore(tmp_path / "home").refer_to(models)

    def run(*options: object) -> str:
        line = ("musetalk", "render", speech, "-o", "out.mp4", "--model", "musetalk-1.5", "--device", "cpu", *options)
        monkeypatch.setattr(sys, "argv", list(map(str, line)))
        with pytest.raises(SystemExit) as caught:
            cli.run()
        said = capfd.readouterr().err
        assert caught.value.code == 1, said
        assert "Traceback" not in said
        last = said.splitlines()[-1]
        assert last.startswith("musetalk: error: "), said
        return last

    return run


class Intruder:
    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._trace),)


def test_half_a_file_is_reported_to_be_cut_short(render: Render, models: Path) -> None:
    path = models / UNET
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    said = render()
    assert f"{path} is cut short" in said
    assert "put a whole copy of it in its place" in said
    assert "delete" not in said  # it is the user's own
    assert not Path("out.mp4").exists()


def test_a_web_page_is_known(render: Render, models: Path) -> None:
    (models / UNET).write_bytes(b"<!DOCTYPE html><title>Please log in</title>")
    assert f"{models / UNET} is a web page, not weights" in render()


def test_code_in_a_pickle_is_not_run(render: Render, models: Path, tmp_path: Path) -> None:
    torch.save({"conv_in.weight": Intruder(tmp_path / "was-run")}, models / UNET)
    said = render()
    assert "holds code or objects beside tensors (" in said
    assert "mkdir) and was not opened" in said
    assert not (tmp_path / "was-run").exists()


def test_another_architecture_is_named(render: Render, models: Path) -> None:
    state = {name: tensor.clone() for name, tensor in weights.read_state_dict(models / UNET).items()}
    state["conv_in.weight"] = state["conv_in.weight"][:, :4].clone()
    torch.save(state, models / UNET)
    assert "conv_in.weight is 16 × 4 × 3 × 3, must be 16 × 8 × 3 × 3" in render()


def test_the_other_versions_unet_is_found_out(render: Render, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both official files hold the same tensors; the small ones stand for them by their sizes."""
    (models / UNET).write_bytes((models / "musetalk" / "pytorch_model.bin").read_bytes())
    monkeypatch.setattr(loading, "_UNET_BYTES", {(models / UNET).stat().st_size: "1.0"})
    said = render()
    assert "is the UNet of MuseTalk 1.0, not 1.5" in said
    assert "use --model musetalk-1.0" in said


def test_face_parsing_that_is_damaged_is_named_too(render: Render, models: Path) -> None:
    path = models / "face-parse-bisent" / "79999_iter.pth"
    path.parent.mkdir()
    path.write_bytes(b"\x80\x02}")
    assert f"{path} is damaged" in render()


def test_a_device_without_memory_for_the_weights_is_named(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_to", run_out_of_memory)
    assert "not enough memory on cpu" in render()
    assert not Path("out.mp4").exists()


def test_a_device_without_memory_for_one_face_is_named(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FaceGenerator, "_submit_part", run_out_of_memory)
    said = render()
    assert "not enough memory on cpu to make a single face" in said
    assert "choose another device" in said


def run_out_of_memory(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")
