"""Maps the keys of official checkpoints to those of our nets, and their config files to our configs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from musetalk_cli.engine.models.musetalk.nets.unet import UNetConfig
from musetalk_cli.engine.models.musetalk.nets.vae import VaeConfig
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperConfig
from musetalk_cli.errors import ANOTHER_COPY, ModelError, system_words
from musetalk_cli.system.small_files import read_small_json

StateDict = Mapping[str, Tensor]
Value = TypeVar("Value")

# The VAE's attention in checkpoints older than diffusers 0.18.
_LEGACY_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}

# In front of a UNet's keys, where a net that wraps it was saved.
_WRAPPERS = ("module.", "_orig_mod.", "unet.", "model.", "net.")

# openai-whisper's keys → transformers'.
_OPENAI_KEYS = (
    (r"^positional_embedding$", "embed_positions.weight"),
    (r"^ln_post\.", "layer_norm."),
    (r"^blocks\.", "layers."),
    (r"\.attn_ln\.", ".self_attn_layer_norm."),
    (r"\.attn\.(query|key|value|out)\.", lambda m: f".self_attn.{m[1][0] if m[1] != 'out' else 'out'}_proj."),
    (r"\.mlp_ln\.", ".final_layer_norm."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.2\.", ".fc2."),
)


def rename_vae_keys(state: StateDict) -> dict[str, Tensor]:
    """A VAE's state dict with diffusers' current keys; attention stored as 1 × 1 convolutions becomes linear."""
    renamed = {}
    for name, tensor in state.items():
        head, dot, rest = name.partition(".mid_block.attentions.0.")
        if dot:
            part, _, kind = rest.rpartition(".")
            name = f"{head}{dot}{_LEGACY_ATTENTION.get(part, part)}.{kind}"
            tensor = tensor.flatten(1) if tensor.ndim == 4 else tensor
        renamed[name] = tensor
    return renamed


def rename_unet_keys(state: StateDict) -> dict[str, Tensor]:
    """A UNet's state dict without what training scripts put in front of its keys; a net that holds the UNet and others
    gives its UNet alone."""
    renamed = dict(state)
    while renamed and "conv_in.weight" not in renamed:
        prefix = next((each for each in _WRAPPERS if any(name.startswith(each) for name in renamed)), None)
        if prefix is None:
            break
        renamed = {name.removeprefix(prefix): tensor for name, tensor in renamed.items() if name.startswith(prefix)}
    return renamed


def rename_whisper_keys(state: StateDict) -> dict[str, Tensor]:
    """The encoder's part of openai-whisper's or transformers' state dict, with transformers' keys, without prefix."""
    prefix = "model.encoder." if any(name.startswith("model.encoder.") for name in state) else "encoder."
    renamed = {}
    for name, tensor in state.items():
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            for pattern, new in _OPENAI_KEYS:
                name = re.sub(pattern, new, name)
            renamed[name] = tensor
    return renamed


def select_keys(state: StateDict, *prefixes: str) -> dict[str, Tensor]:
    """The tensors whose keys begin with one of ``prefixes``."""
    return {name: tensor for name, tensor in state.items() if name.startswith(prefixes)}


def read_unet_config(path: Path) -> UNetConfig:
    """``musetalk.json`` as diffusers wrote it. Raises ModelError."""
    values = _read_json(path)
    kinds = _get(values, "down_block_types", list, path)
    dims, num_groups = _read_dims(values, path)
    num_heads = _count(values, "attention_head_dim", path)
    if len(kinds) != len(dims) or any(dim % num_heads for dim in dims):
        raise ModelError(
            f"{path}: 'block_out_channels' {list(dims)} do not fit 'down_block_types' or 'attention_head_dim'",
            hint=ANOTHER_COPY,
        )
    return UNetConfig(
        in_channels=_count(values, "in_channels", path),
        out_channels=_count(values, "out_channels", path),
        dims=dims,
        has_audio=tuple(kind == "CrossAttnDownBlock2D" for kind in kinds),
        num_resnets=_count(values, "layers_per_block", path),
        num_heads=num_heads,
        audio_dim=_count(values, "cross_attention_dim", path),
        num_groups=num_groups,
    )


def read_vae_config(path: Path) -> VaeConfig:
    """The VAE's ``config.json``. Raises ModelError."""
    values = _read_json(path)
    dims, num_groups = _read_dims(values, path)
    return VaeConfig(
        dims=dims,
        num_resnets=_count(values, "layers_per_block", path),
        latent_channels=_count(values, "latent_channels", path),
        num_groups=num_groups,
        scale=_read_scale(values, path),
    )


def _read_dims(values: dict[str, Any], path: Path) -> tuple[tuple[int, ...], int]:
    """The channels of each level, and the groups that a norm divides them into."""
    dims, num_groups = _get(values, "block_out_channels", list, path), _count(values, "norm_num_groups", path)
    if not dims or not all(_is_count(dim) and dim % num_groups == 0 for dim in dims):
        raise ModelError(
            f"{path}: 'block_out_channels' is {dims!r}, must be multiples of 'norm_num_groups', {num_groups}",
            hint=ANOTHER_COPY,
        )
    return tuple(dims), num_groups


def _read_scale(values: dict[str, Any], path: Path) -> float:
    """The official file has none: diffusers' default then, which is that of our config."""
    scale = values.get("scaling_factor")
    if scale is None:
        return VaeConfig().scale
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale < math.inf:
        raise ModelError(f"{path}: 'scaling_factor' is {scale!r}, must be a number above 0", hint=ANOTHER_COPY)
    return float(scale)


def read_whisper_config(path: Path) -> WhisperConfig:
    """Whisper's ``config.json`` in transformers' layout. Raises ModelError."""
    values = _read_json(path)
    dim, num_heads = _count(values, "d_model", path), _count(values, "encoder_attention_heads", path)
    if dim % num_heads:
        raise ModelError(
            f"{path}: 'd_model' is {dim}, must be a multiple of 'encoder_attention_heads', {num_heads}",
            hint=ANOTHER_COPY,
        )
    return WhisperConfig(
        num_mels=_count(values, "num_mel_bins", path),
        num_steps=_count(values, "max_source_positions", path),
        dim=dim,
        num_layers=_count(values, "encoder_layers", path),
        num_heads=num_heads,
        hidden_dim=_count(values, "encoder_ffn_dim", path),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = read_small_json(path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {system_words(error)}") from None
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}", hint=ANOTHER_COPY) from None
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds no settings", hint=ANOTHER_COPY)
    return values


def _get(values: dict[str, Any], key: str, kind: type[Value], path: Path) -> Value:
    value = values.get(key)
    if not isinstance(value, kind):
        raise ModelError(f"{path}: '{key}' is {value!r}, must be of type {kind.__name__}", hint=ANOTHER_COPY)
    return value


def _count(values: dict[str, Any], key: str, path: Path) -> int:
    value = _get(values, key, int, path)
    if not _is_count(value):
        raise ModelError(f"{path}: '{key}' is {value!r}, must be a whole number above 0", hint=ANOTHER_COPY)
    return value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
