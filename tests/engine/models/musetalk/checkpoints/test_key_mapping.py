"""Settings files beside weights: sizes that no net can have are told, and never end in a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from musetalk_cli.engine.models.musetalk.checkpoints.key_mapping import (
    read_unet_config,
    read_vae_config,
    read_whisper_config,
)
from musetalk_cli.engine.models.musetalk.checkpoints.loading import build_on_meta
from musetalk_cli.engine.models.musetalk.nets.unet import UNet
from musetalk_cli.errors import ModelError

UNET = {
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": [32, 64],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "cross_attention_dim": 64,
    "norm_num_groups": 32,
}
VAE = {"block_out_channels": [32, 64], "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 32}
WHISPER = {
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
}


def write(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(values))
    return path


def test_settings_as_they_should_be_are_read(tmp_path: Path) -> None:
    config = read_unet_config(write(tmp_path, UNET))
    assert (config.dims, config.has_audio, config.num_heads) == ((32, 64), (True, False), 8)
    build_on_meta(UNet, config)
    assert read_vae_config(write(tmp_path, VAE)).dims == (32, 64)
    assert read_whisper_config(write(tmp_path, WHISPER)).dim == 384


@pytest.mark.parametrize(
    "changed",
    [
        {"norm_num_groups": 0},
        {"norm_num_groups": 7},
        {"in_channels": -1},
        {"out_channels": True},
        {"layers_per_block": 0},
        {"attention_head_dim": 0},
        {"attention_head_dim": 5},
        {"block_out_channels": []},
        {"block_out_channels": ["a", 2]},
        {"block_out_channels": [32.0, 64]},
        {"down_block_types": []},
    ],
)
def test_sizes_of_no_unet_are_told(changed: dict[str, Any], tmp_path: Path) -> None:
    (key,) = changed
    with pytest.raises(ModelError, match=rf"config\.json: .*'{key}'"):
        read_unet_config(write(tmp_path, UNET | changed))


@pytest.mark.parametrize("changed", [{"block_out_channels": [48]}, {"latent_channels": 0}])
def test_sizes_of_no_vae_are_told(changed: dict[str, Any], tmp_path: Path) -> None:
    (key,) = changed
    with pytest.raises(ModelError, match=rf"config\.json: .*'{key}'"):
        read_vae_config(write(tmp_path, VAE | changed))


@pytest.mark.parametrize("changed", [{"encoder_attention_heads": 5}, {"d_model": 0}, {"encoder_layers": -1}])
def test_sizes_of_no_whisper_are_told(changed: dict[str, Any], tmp_path: Path) -> None:
    (key,) = changed
    with pytest.raises(ModelError, match=rf"config\.json: .*'{key}'"):
        read_whisper_config(write(tmp_path, WHISPER | changed))
