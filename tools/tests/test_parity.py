"""The parity table's comparisons on small nets, with a drawn face and noise in place of speech."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
for library in ("soxr", "diffusers", "transformers"):
    pytest.importorskip(library, reason=f"needs {library}: pip install -e '.[neural,parity]'")

from fixtures.small_nets import CONFIGS, noise  # noqa: E402
from tools.measure.parity import comparisons  # noqa: E402


def voice(seconds: int = 3) -> torch.Tensor:
    envelope = 0.5 + 0.5 * torch.sin(torch.arange(16_000 * seconds) * (2 * torch.pi * 4 / 16_000))
    return 0.1 * noise(16_000 * seconds, seed=1) * envelope


def test_the_vaes_encoder_is_within_its_limit_on_a_drawn_face() -> None:
    lines = list(comparisons.compare_vae(CONFIGS, comparisons.synthetic_face()))
    assert len(lines) == 3
    assert [line for line in lines if not line.is_met] == []


def test_what_compat_takes_counts_and_cuts_is_upstreams() -> None:
    parts = (comparisons.compare_samples(voice()), comparisons.compare_counts(), comparisons.compare_jaw())
    lines = [line for part in parts for line in part]
    assert len(lines) == 13
    assert [line for line in lines if not line.is_met] == []
    assert sum(line.limit == 0 for line in lines) == 4


def test_every_stage_in_16_bits_is_within_its_limit() -> None:
    lines = list(comparisons.compare_stages(CONFIGS, comparisons.synthetic_face()))
    assert len(lines) == 8
    assert [line for line in lines if not line.is_met] == []
