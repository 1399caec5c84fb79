"""Upsamplings are computed as four phases where that is faster."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from fixtures.small_nets import CONFIGS, CPU, noise  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import build_on_meta, random_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.upsampling import choose_phases, pick_faster  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.vae import VaeDecoder  # noqa: E402

UNET, LEVELS = CONFIGS.unet, CONFIGS.whisper.num_levels
LATENTS = noise(4, 8, 32, 32)


def test_the_faster_upsampling_is_taken_shape_by_shape() -> None:
    asked: list[tuple[str, tuple[int, ...]]] = []

    def timer(layer, x) -> float:
        asked.append((type(layer).__name__, tuple(x.shape[1:])))
        return {"Upsample": 2.0, "PhaseUpsample": float(x.shape[2])}[type(layer).__name__]

    assert pick_faster([(4, 1), (6, 3)], torch.device("cpu"), torch.float32, timer) == (True, False)
    assert asked == [
        ("Upsample", (4, 1, 1)),
        ("PhaseUpsample", (4, 1, 1)),
        ("Upsample", (6, 3, 3)),
        ("PhaseUpsample", (6, 3, 3)),
    ]


@pytest.mark.parametrize("on_cpu", [True, False])
def test_on_a_cpu_nothing_is_timed(on_cpu: bool) -> None:
    choice = choose_phases(((8, 32), (8, 64)), torch.device("cpu"), torch.float32, on_cpu)
    assert choice == (on_cpu, on_cpu)


def test_the_nets_are_built_with_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    from musetalk_cli.engine.models.musetalk.checkpoints import loading

    asked = []

    def choose(shapes, device, dtype, on_cpu):
        asked.append(shapes)
        return (False, True, False)

    monkeypatch.setattr(loading, "choose_phases", choose)
    nets = random_nets("1.5", CPU, seed=2, configs=CONFIGS)
    assert nets.unet.config.has_phases == nets.decoder.config.has_phases == (False, True, False)
    assert asked == [((32, 4), (32, 8), (24, 16)), ((16, 32), (16, 64), (16, 128))]
    other = build_on_meta(VaeDecoder, dataclasses.replace(CONFIGS.vae, is_folded=True))
    assert nets.decoder.state_dict().keys() == other.state_dict().keys()
