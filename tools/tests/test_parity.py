"""The parity table's comparisons on small nets, with a drawn face and noise in place of speech."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
for library in ("soxr", "diffusers", "transformers"):
    pytest.importorskip(library, reason=f"needs {library}: pip install -e '.[neural,parity]'")

from fixtures.small_nets import CONFIGS, noise  # noqa: E402
from tools.measure.parity import audio, faces, nets  # noqa: E402
from tools.measure.parity.lines import Line  # noqa: E402

# transformers takes windows of 30 s only.
LONG = dataclasses.replace(CONFIGS, whisper=dataclasses.replace(CONFIGS.whisper, num_steps=1500))


def voice(seconds: int = 3) -> torch.Tensor:
    envelope = 0.5 + 0.5 * torch.sin(torch.arange(16_000 * seconds) * (2 * torch.pi * 4 / 16_000))
    return 0.1 * noise(16_000 * seconds, seed=1) * envelope


def missed(lines: list[Line]) -> list[Line]:
    return [line for line in lines if not line.is_met]


def test_the_vaes_encoder_is_within_its_limit_on_a_drawn_face() -> None:
    lines = [*nets.compare_vae(CONFIGS, faces.synthetic_face()), *nets.compare_norms()]
    assert len(lines) == 5
    assert missed(lines) == []
    assert lines[-2].error > 100 * lines[-1].error, "PyTorch's norm of the same"


def test_what_compat_takes_counts_and_cuts_is_upstreams() -> None:
    parts = (audio.compare_samples(voice()), audio.compare_counts(), audio.compare_windows(), faces.compare_masks())
    lines = [line for part in parts for line in part]
    assert len(lines) == 20
    assert missed(lines) == []
    assert sum(line.limit == 0 for line in lines) == 7


def test_features_of_a_file_are_upstreams_across_two_windows_at_three_rates() -> None:
    lines = [*audio.compare_minute(LONG, voice(32)), *audio.compare_first_version(LONG, voice(20))]
    assert len(lines) == 5
    assert missed(lines) == []


def test_pasted_faces_cycles_and_prepared_masks_are_the_scripts() -> None:
    video = faces.synthetic_video()
    lines = [*faces.compare_paste(video), *faces.compare_realtime(video), *faces.compare_blend()]
    assert len(lines) == 10
    assert missed(lines) == []


def test_every_stage_in_16_bits_is_within_its_limit() -> None:
    lines = [*nets.compare_stages(CONFIGS, faces.synthetic_face()), *nets.compare_unet_stage(CONFIGS)]
    assert len(lines) == 8
    assert missed(lines) == []


def test_a_stored_frame_and_a_short_block_are_measured() -> None:
    lines = [*nets.compare_storage(CONFIGS, faces.synthetic_face()), *nets.compare_block_images(CONFIGS, voice(8))]
    assert [line.error > 0 for line in lines] == [True] * 4
