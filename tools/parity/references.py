"""The same nets as diffusers and transformers build them, filled with the same values."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from musetalk_cli.engine.models.musetalk.taesd import TinyConfig
from musetalk_cli.engine.models.musetalk.unet import UNetConfig
from musetalk_cli.engine.models.musetalk.vae import VaeConfig
from musetalk_cli.engine.models.musetalk.whisper import WhisperConfig

State = dict[str, Tensor]


def unet(config: UNetConfig, state: State) -> nn.Module:
    """diffusers' UNet2DConditionModel; loading is strict, so every name and shape must be the same."""
    from diffusers import UNet2DConditionModel

    down = ["CrossAttnDownBlock2D" if has_sound else "DownBlock2D" for has_sound in config.has_sound]
    net = _on_meta(
        UNet2DConditionModel,
        sample_size=64,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        down_block_types=tuple(down),
        up_block_types=tuple(kind.replace("Down", "Up") for kind in reversed(down)),
        block_out_channels=config.dims,
        layers_per_block=config.num_resnets,
        attention_head_dim=config.num_heads,
        cross_attention_dim=config.audio_dim,
        norm_num_groups=config.num_groups,
    )
    return _fill(net, state)


def vae(config: VaeConfig, state: State) -> Any:
    """diffusers' AutoencoderKL."""
    from diffusers import AutoencoderKL

    net = _on_meta(
        AutoencoderKL,
        down_block_types=("DownEncoderBlock2D",) * len(config.dims),
        up_block_types=("UpDecoderBlock2D",) * len(config.dims),
        block_out_channels=config.dims,
        layers_per_block=config.num_resnets,
        latent_channels=config.latent_channels,
        norm_num_groups=config.num_groups,
    )
    return _fill(net, state)


def taesd(config: TinyConfig, state: State) -> Any:
    """The decoder of diffusers' AutoencoderTiny."""
    from diffusers import AutoencoderTiny

    net = _on_meta(
        AutoencoderTiny,
        encoder_block_out_channels=(config.dim,) * len(config.num_blocks),
        decoder_block_out_channels=(config.dim,) * len(config.num_blocks),
        num_encoder_blocks=config.num_blocks[::-1],
        num_decoder_blocks=config.num_blocks,
        latent_channels=config.latent_channels,
    )
    return _fill(net.decoder, {name.removeprefix("decoder."): tensor for name, tensor in state.items()})


def whisper(config: WhisperConfig, state: State) -> Any:
    """The encoder of transformers' WhisperModel."""
    from transformers import WhisperConfig as Settings
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    settings = Settings(
        num_mel_bins=config.num_mels,
        max_source_positions=config.num_steps,
        d_model=config.dim,
        encoder_layers=config.num_layers,
        encoder_attention_heads=config.num_heads,
        encoder_ffn_dim=config.hidden_dim,
    )
    return _fill(_on_meta(WhisperEncoder, settings), state)


def log_mel(samples: Tensor, window_s: int, num_mels: int) -> Tensor:
    """transformers' WhisperFeatureExtractor: (num_mels, frames) of a window padded with silence."""
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=num_mels, chunk_length=window_s)
    features = extractor(samples.numpy(), sampling_rate=16_000, return_tensors="pt")["input_features"]
    mel: Tensor = features[0]
    return mel


def _on_meta(kind: Any, *args: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.device("meta"):
            return kind(*args, **options)


def _fill(net: nn.Module, state: State) -> nn.Module:
    net.load_state_dict(state, assign=True)
    return net.eval().requires_grad_(False)
