"""The face-parsing net against its published structure, written out here a second time as plain products."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from torch.nn import functional  # noqa: E402

from fixtures.official_files import parsing_state  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.face_parsing import FaceParser  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.bisenet import FaceParsingNet  # noqa: E402
from musetalk_cli.errors import ModelError  # noqa: E402

pytestmark = pytest.mark.timeout(120)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def state():
    return parsing_state()


def normed(x, state, name):
    mean, var, gain, bias = (
        state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(var + 1e-5) * gain + bias


def conv(x, state, name, stride=1):
    weight = state[f"{name}.weight"]
    return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)


def block(x, state, name):
    return normed(conv(x, state, f"{name}.conv"), state, f"{name}.bn").relu()


def residual(x, state, name, stride):
    y = normed(conv(x, state, f"{name}.conv1", stride), state, f"{name}.bn1").relu()
    y = normed(conv(y, state, f"{name}.conv2"), state, f"{name}.bn2")
    if f"{name}.downsample.0.weight" in state:
        x = normed(conv(x, state, f"{name}.downsample.0", stride), state, f"{name}.downsample.1")
    return (x + y).relu()


def refined(x, state, name):
    x = block(x, state, f"{name}.conv")
    gate = conv(x.mean(dim=(2, 3), keepdim=True), state, f"{name}.conv_atten")
    return x * normed(gate, state, f"{name}.bn_atten").sigmoid()


def twice(x):
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def reference(x, state):
    y = normed(conv(x, state, "cp.resnet.conv1", 2), state, "cp.resnet.bn1").relu()
    y = functional.max_pool2d(y, 3, 2, 1)
    levels = []
    for layer in (1, 2, 3, 4):
        for index in (0, 1):
            y = residual(y, state, f"cp.resnet.layer{layer}.{index}", 2 if layer > 1 and index == 0 else 1)
        levels.append(y)
    _, eighth, sixteenth, last = levels
    wide = refined(last, state, "cp.arm32") + block(last.mean(dim=(2, 3), keepdim=True), state, "cp.conv_avg")
    wide = block(twice(wide), state, "cp.conv_head32")
    near = block(twice(refined(sixteenth, state, "cp.arm16") + wide), state, "cp.conv_head16")
    fused = block(torch.cat([eighth, near], dim=1), state, "ffm.convblk")
    gate = conv(fused.mean(dim=(2, 3), keepdim=True), state, "ffm.conv1").relu()
    fused = fused * (1 + conv(gate, state, "ffm.conv2").sigmoid())
    scores = conv(block(fused, state, "conv_out.conv"), state, "conv_out.conv_out")
    return functional.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=True)


def test_it_has_the_tensors_of_the_published_file(state) -> None:
    assert len(state) == 191
    assert sum(tensor.numel() for name, tensor in state.items() if name.endswith(("weight", "bias"))) == 13_300_416


def test_it_computes_what_the_paper_draws(state) -> None:
    net = FaceParsingNet()
    net.load_state_dict(state)
    image = torch.randn((2, 3, 96, 64), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        got, wanted = net.eval()(image), reference(image, state)
    assert got.shape == (2, 19, 96, 64)
    assert float((got - wanted).abs().max() / wanted.abs().max()) < 1e-4


def test_a_file_of_the_old_kind_is_loaded_and_parses_a_face(state, tmp_path: Path) -> None:
    path = tmp_path / "79999_iter.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)  # as in 2019
    parser = FaceParser.load(path, CPU)
    face = np.random.default_rng(0).integers(0, 255, (700, 700, 3), dtype=np.uint8)
    classes = parser.parse(face)
    assert classes.shape == (512, 512)
    assert classes.dtype == np.uint8
    assert classes.max() < 19

    image = pytest.importorskip("PIL.Image", reason="needs Pillow to compare with")
    small = image.fromarray(face[:, :, ::-1].copy()).resize((512, 512), image.Resampling.BILINEAR)
    small = np.asarray(small, np.float32) / 255
    values = (small - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    with torch.inference_mode():
        scores = reference(torch.from_numpy(values.transpose(2, 0, 1).copy())[None], state)[0]
    assert (classes == scores.argmax(dim=0).numpy()).mean() > 0.999


def test_another_nets_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(ModelError, match="face-parsing net: 191 of 191"):
        FaceParser.load(path, CPU)
