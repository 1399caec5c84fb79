"""Checks weight files against the nets' keys and shapes. Needs torch."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from musetalk_cli.engine.models.musetalk.checkpoints.key_mapping import (
    read_unet_config,
    read_vae_config,
    read_whisper_config,
    rename_unet_keys,
    rename_vae_keys,
    rename_whisper_keys,
    select_keys,
)
from musetalk_cli.engine.models.musetalk.checkpoints.loading import build_on_meta
from musetalk_cli.engine.models.musetalk.checkpoints.lora import merge_lora
from musetalk_cli.engine.models.musetalk.checkpoints.weight_files import check_state_dict, read_state_dict
from musetalk_cli.engine.models.musetalk.nets.bisenet import FaceParsingNet
from musetalk_cli.engine.models.musetalk.nets.unet import UNet, UNetConfig
from musetalk_cli.engine.models.musetalk.nets.vae import VaeConfig, VaeDecoder, VaeEncoder
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperConfig, WhisperEncoder
from musetalk_cli.engine.weights.registry import Part

StateDict = dict[str, Tensor]


def read_checked(part: Part, path: Path, settings: Path | None) -> StateDict:
    """A part's state dict with the file's keys, memory-mapped; of Whisper only the encoder's.

    ``settings`` is the part's config file, None for the official sizes. Raises ModelError: the file is damaged, or
    tensors are missing or have another shape.
    """
    state = read_state_dict(path)
    if part.kind == "unet":
        config = read_unet_config(settings) if settings else UNetConfig()
        check_state_dict(rename_unet_keys(state), build_on_meta(UNet, config), path, "MuseTalk's UNet")
    elif part.kind == "vae":
        _check_vae(rename_vae_keys(state), read_vae_config(settings) if settings else VaeConfig(), path)
    elif part.kind == "whisper":
        whisper = read_whisper_config(settings) if settings else WhisperConfig()
        check_state_dict(rename_whisper_keys(state), build_on_meta(WhisperEncoder, whisper), path, "Whisper's encoder")
        prefixes = ("model.encoder.", "encoder.")
        return select_keys(state, *prefixes)
    else:
        check_state_dict(state, build_on_meta(lambda _: FaceParsingNet(), None), path, "the face-parsing net")
    return state


def count_lora_changes(unet: Path, lora: Path) -> int:
    """How many layers a LoRA changes. Raises ModelError when it is damaged or does not fit the UNet."""
    state = rename_unet_keys(read_state_dict(unet))
    merged = merge_lora(state, lora)
    return sum(merged[name] is not tensor for name, tensor in state.items())


def _check_vae(state: StateDict, config: VaeConfig, path: Path) -> None:
    encoder = select_keys(state, "encoder.", "quant_conv.")
    check_state_dict(encoder, build_on_meta(VaeEncoder, config), path, "the VAE's encoder")
    others = {name: tensor for name, tensor in state.items() if name not in encoder}
    check_state_dict(others, build_on_meta(VaeDecoder, config), path, "the VAE's decoder")
