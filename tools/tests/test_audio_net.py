"""Training of the mouth net: its targets, its loss, and equal outputs of the numpy and the PyTorch net."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from musetalk_cli.engine.models.warp.audio.log_mel import NUM_FEATURES
from musetalk_cli.engine.models.warp.audio.mouth_net import load_net
from tools.assets.audio_net.espeak import Phone
from tools.assets.audio_net.phonemes import mouth_targets
from tools.assets.audio_net.texts import SPELLINGS, make_text
from tools.measure.report import update_section

PHRASE = (
    Phone("", 0.0, 0.3), Phone("m", 0.3, 0.4), Phone("ɑː", 0.4, 0.7), Phone("p", 0.7, 0.74), Phone("uː", 0.74, 1.0),
    Phone("f", 1.0, 1.1), Phone("iː", 1.1, 1.4), Phone("", 1.4, 2.0),
)  # fmt: skip


def test_targets_follow_the_phones() -> None:
    target = mouth_targets(PHRASE, 100)
    gap, jaw, width, shut, bite, _ = target.mouth.T
    assert shut[15:19].min() > 0.9
    assert shut[33:36].max() > 0.9
    assert shut[24:30].max() == 0.0
    assert gap[27] > 0.8
    assert jaw[27] > 0.7
    assert width[43] < -0.6
    assert width[62] > 0.3
    assert bite[52] > 0.9
    assert gap[:5].max() < 0.05
    assert gap[85:].max() < 0.13  # parted
    assert target.vowel[27] == 2
    assert target.closure.sum() == 2


def test_the_tongue_rises_on_l_and_comes_out_on_th() -> None:
    phones = (
        Phone("", 0.0, 0.3),
        Phone("l", 0.3, 0.4),
        Phone("ɑː", 0.4, 0.8),
        Phone("θ", 0.8, 0.9),
        Phone("t", 1.2, 1.24),
    )
    tongue = mouth_targets(phones, 70).mouth[:, 5]
    assert 0.6 < tongue[17] < 0.7
    assert tongue[42] == 1.0
    assert tongue[29] == 0.0
    assert tongue[58] > 0.5  # a /t/ is marked at its burst, and its closure is before it
    assert mouth_targets(phones, 70, has_bursts=False).mouth[55, 5] == 0.0
    assert 0.0 < np.abs(np.diff(tongue)).max() < 0.4  # it takes its time


def test_texts_are_made_for_every_language() -> None:
    rng = np.random.default_rng(5)
    assert all(len(make_text(language, rng)) > 8 for language in SPELLINGS)


def test_report_keeps_the_written_parts(tmp_path: Path) -> None:
    document = tmp_path / "log.md"
    update_section("one", "first", document)
    document.write_text(document.read_text() + "\nwritten by hand\n")
    update_section("two", "more", document)
    update_section("one", "second", document)
    text = document.read_text()
    assert "second" in text
    assert "first" not in text
    assert "written by hand" in text
    assert text.index("second") < text.index("more")


def test_numpy_net_equals_torch_net(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from tools.assets.audio_net.training import TorchMouthNet, export

    torch.manual_seed(0)
    torch_net = TorchMouthNet(24, torch.full((NUM_FEATURES,), 0.4), torch.full((NUM_FEATURES,), 3.0))
    assert export(torch_net, tmp_path / "net.npz") < 1_000_000
    net = load_net(io.BytesIO((tmp_path / "net.npz").read_bytes()))
    x = np.random.default_rng(1).random((90, NUM_FEATURES)).astype(np.float32)
    with torch.no_grad():
        raw = torch_net(torch.from_numpy(x)[None])[0]
    expected = torch.sigmoid(raw)
    expected[:, 2] = torch.tanh(raw[:, 2])
    ours = net.forward(x)
    assert (net.past_steps, net.future_steps) == (torch_net.past_steps, torch_net.future_steps)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected.numpy()).max() < 2e-3


def test_loss_counts_missed_closures_and_shut_vowels() -> None:
    torch = pytest.importorskip("torch")
    from tools.assets.audio_net.corpus import CLOSURE, VOWEL
    from tools.assets.audio_net.training import mouth_loss

    target = torch.zeros(1, 40, 6)
    target[..., 0], target[0, 18:22, 3] = 0.6, 1.0
    events = torch.zeros(1, 40, dtype=torch.int8)
    events[0, 20], events[0, 30] = CLOSURE, VOWEL
    right = torch.where(target > 0.5, 6.0, -6.0)
    right[..., 0], right[..., 2] = torch.logit(torch.tensor(0.6)), 0.0
    missed, shut = right.clone(), right.clone()
    missed[0, 18:22, 3], shut[0, 28:33, 3] = -6.0, 6.0
    nothing = torch.zeros_like(events)

    def penalty(raw: torch.Tensor) -> float:
        return float(mouth_loss(raw, target, events) - mouth_loss(raw, target, nothing))

    assert penalty(right) < 0.01
    assert penalty(missed) > 0.1
    assert penalty(shut) > 0.05


def test_flicker_is_what_turns_from_frame_to_frame() -> None:
    torch = pytest.importorskip("torch")
    from tools.assets.audio_net.training import _second_difference

    ramp, turning = torch.arange(12.0)[None], torch.tensor([0.0, 0.0, 1.0, 1.0] * 3)[None]
    assert _second_difference(ramp).abs().max() == 0.0
    assert _second_difference(turning).abs().min() == 2.0


@pytest.mark.needs("espeak-ng")
def test_versions_of_a_take_differ_in_audio_alone() -> None:
    """In a process of its own because espeak-ng keeps global state."""
    code = """
import numpy as np
from tools.assets.audio_net.corpus import Recipe, speak_takes
one, two = speak_takes(Recipe("en-us", ("f1",), 1, 7, take_s=3.0, num_versions=2))
assert len(one.samples) == len(two.samples) and not np.array_equal(one.samples, two.samples)
np.testing.assert_array_equal(one.target.mouth, two.target.mouth)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.needs("espeak-ng")
def test_held_out_speech_is_predicted_well() -> None:
    """One held-out voice, in a process of its own because espeak-ng keeps global state."""
    code = """
import numpy as np
from musetalk_cli.engine.models.warp.audio.mouth_shapes import MouthShapePredictor
from tools.assets.audio_net.corpus import Recipe, speak_takes
from tools.assets.audio_net.evaluation import predict_all, target_gap
take = next(speak_takes(Recipe("en-us", ("f4",), 1, 77, is_clean=True)))
mouth = predict_all(MouthShapePredictor.load(), take.samples)
r = np.corrcoef(mouth[:, 0], target_gap(take, len(mouth)))[0, 1]
assert r > 0.8, r
tip = take.target.mouth[:2 * len(mouth), 5].reshape(-1, 2).mean(axis=1)
r = np.corrcoef(mouth[:, 5], tip)[0, 1]
assert r > 0.6, r
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
