"""The small decoder: against diffusers, in place of the VAE's, and from a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from fixtures.official_files import find_files, write_models  # noqa: E402
from fixtures.small_nets import CONFIGS, CPU, noise, relative_error  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import build_on_meta, load_nets, random_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.random_weights import random_state_dict  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.taesd import TinyConfig, TinyDecoder  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.unet import UNet  # noqa: E402
from musetalk_cli.errors import ModelError  # noqa: E402


@pytest.mark.parametrize("config", [CONFIGS.tiny, TinyConfig()])
def test_it_is_diffusers(config: TinyConfig) -> None:
    pytest.importorskip("diffusers", reason="needs diffusers to compare with")
    from fixtures import references

    net = build_on_meta(TinyDecoder, config)
    net.load_state_dict(random_state_dict(net, seed=3), assign=True)
    reference = references.taesd(config, dict(net.state_dict()))
    latents = 3 * noise(2, 4, 8, 8)
    with torch.inference_mode():
        assert relative_error(net(latents), reference(latents)) < 1e-5


def test_it_takes_the_unets_latents_as_they_are() -> None:
    """The VAE's post_quant_conv is then not folded into the UNet."""
    nets = random_nets("1.5", CPU, seed=2, configs=CONFIGS, is_tiny=True)
    latents, tokens = noise(1, 8, 32, 32), noise(1, 50, CONFIGS.unet.audio_dim, seed=1)
    plain = build_on_meta(UNet, CONFIGS.unet)
    plain.load_state_dict(random_state_dict(plain, 2), assign=True)
    with torch.inference_mode():
        assert relative_error(nets.unet(latents, tokens), plain(latents, tokens)) < 1e-4
        assert nets.decoder(nets.unet(latents, tokens)).shape == (1, 3, 256, 256)


def test_its_file_is_checked_and_used(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    models = write_models(tmp_path / "models", CONFIGS)
    state = random_state_dict(build_on_meta(TinyDecoder, TinyConfig()), 5)
    path = tmp_path / "taesd.safetensors"
    save_file(state | {"encoder.layers.0.weight": torch.zeros(1)}, path)
    files = dataclasses.replace(find_files(models, "1.5"), taesd=path)
    nets = load_nets(files, CPU)
    assert isinstance(nets.decoder, TinyDecoder)
    assert torch.equal(nets.decoder.state_dict()["decoder.layers.0.bias"], state["decoder.layers.0.bias"])
    save_file({name: tensor for name, tensor in state.items() if "layers.18" not in name}, path)
    with pytest.raises(ModelError, match="TAESD's decoder: 2 of"):
        load_nets(files, CPU)
