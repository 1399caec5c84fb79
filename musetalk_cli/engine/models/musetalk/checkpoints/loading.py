"""Checkpoints or random weights → folded nets on a device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import nn

from musetalk_cli.engine.models.musetalk.checkpoints.key_mapping import (
    StateDict,
    read_unet_config,
    read_vae_config,
    read_whisper_config,
    rename_unet_keys,
    rename_vae_keys,
    rename_whisper_keys,
    select_keys,
)
from musetalk_cli.engine.models.musetalk.checkpoints.lora import merge_lora
from musetalk_cli.engine.models.musetalk.checkpoints.random_weights import RandomStateDict
from musetalk_cli.engine.models.musetalk.checkpoints.weight_files import check_state_dict, load_into, read_state_dict
from musetalk_cli.engine.models.musetalk.nets.folding import fold_decoder, fold_unet
from musetalk_cli.engine.models.musetalk.nets.taesd import TinyConfig, TinyDecoder
from musetalk_cli.engine.models.musetalk.nets.unet import UNet, UNetConfig
from musetalk_cli.engine.models.musetalk.nets.upsampling import choose_phases
from musetalk_cli.engine.models.musetalk.nets.vae import VaeConfig, VaeDecoder, VaeEncoder
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperConfig, WhisperEncoder
from musetalk_cli.errors import ModelError
from musetalk_cli.option_names import option

Version = Literal["1.5", "1.0"]
Config = TypeVar("Config")
Net = TypeVar("Net", bound=nn.Module)

LATENT_PX = 32  # height and width of the latents

# The two UNets have the same tensors; the official files differ in size.
_UNET_BYTES = {3_400_074_924: "1.5", 3_400_076_549: "1.0"}


@dataclass(frozen=True)
class Precision:
    """The nets' device and dtype."""

    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class ModelFiles:
    """One version's weight files, with their config files beside them. ``taesd``: TAESD's, to decode with it; ``lora``:
    what changes the UNet. ``is_custom``: a user's own, which no size is expected of."""

    version: Version
    unet: Path
    vae: Path
    whisper: Path
    taesd: Path | None = None
    lora: Path | None = None
    is_custom: bool = False


@dataclass(frozen=True)
class Nets:
    """The nets of one model in one precision: a folded UNet, a folded VaeDecoder or a TinyDecoder, and Whisper's
    encoder."""

    version: Version
    unet: UNet
    decoder: VaeDecoder | TinyDecoder
    whisper: WhisperEncoder


@dataclass(frozen=True)
class NetConfigs:
    """Sizes of all nets; the defaults are the official ones."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    vae: VaeConfig = field(default_factory=VaeConfig)
    whisper: WhisperConfig = field(default_factory=WhisperConfig)
    tiny: TinyConfig = field(default_factory=TinyConfig)


def load_nets(files: ModelFiles, precision: Precision) -> Nets:
    """Read, check and fold the checkpoints, and load them onto the device. Raises ModelError for a damaged file."""
    unet_state = rename_unet_keys(read_state_dict(files.unet))
    actual = files.version if files.is_custom else _UNET_BYTES.get(files.unet.stat().st_size, files.version)
    if actual != files.version:
        raise ModelError(
            f"{files.unet} is the UNet of MuseTalk {actual}, not {files.version}",
            hint=f"use {option('--model')} musetalk-{actual}",
        )
    vae_state = rename_vae_keys(read_state_dict(files.vae))
    whisper_state = rename_whisper_keys(read_state_dict(files.whisper))
    configs = read_configs(files)
    _check_all(files, configs, unet_state, vae_state, whisper_state)
    if files.lora:
        unet_state = merge_lora(unet_state, files.lora)
    tiny_state = _read_tiny(files.taesd, configs.tiny) if files.taesd else None
    return assemble(files.version, configs, precision, unet_state, vae_state, whisper_state, tiny_state)


def load_encoder(files: ModelFiles, precision: Precision) -> VaeEncoder:
    """The VAE's encoder, which avatars are prepared with. Raises ModelError."""
    state = select_keys(rename_vae_keys(read_state_dict(files.vae)), "encoder.", "quant_conv.")
    net = build_on_meta(VaeEncoder, read_configs(files).vae)
    check_state_dict(state, net, files.vae, "the VAE's encoder")
    return load_into(net, state, precision.device, precision.dtype)


def read_configs(files: ModelFiles) -> NetConfigs:
    """Configs from the files beside the weights, the official ones where there are none. Raises ModelError."""
    unet, vae, whisper = (
        path.parent / name
        for path, name in ((files.unet, "musetalk.json"), (files.vae, "config.json"), (files.whisper, "config.json"))
    )
    return NetConfigs(
        unet=read_unet_config(unet) if unet.exists() else UNetConfig(),
        vae=read_vae_config(vae) if vae.exists() else VaeConfig(),
        whisper=read_whisper_config(whisper) if whisper.exists() else WhisperConfig(),
    )


def random_nets(
    version: Version,
    precision: Precision,
    seed: int,
    configs: NetConfigs | None = None,
    *,
    is_tiny: bool = False,
) -> Nets:
    """The same nets with random weights.

    Args:
        version: named in the result; the nets are the same.
        precision: device and dtype.
        seed: the same seed gives the same weights on any device.
        configs: None for the official sizes.
        is_tiny: TAESD decodes instead of the VAE.
    """
    configs = configs or NetConfigs()
    states = (
        RandomStateDict(build_on_meta(UNet, configs.unet), seed),
        RandomStateDict(build_on_meta(VaeDecoder, configs.vae), seed),
        RandomStateDict(build_on_meta(WhisperEncoder, configs.whisper), seed),
    )
    tiny = RandomStateDict(build_on_meta(TinyDecoder, configs.tiny), seed) if is_tiny else None
    return assemble(version, configs, precision, *states, tiny)


def random_encoder(precision: Precision, seed: int, configs: NetConfigs | None = None) -> VaeEncoder:
    net = build_on_meta(VaeEncoder, (configs or NetConfigs()).vae)
    return load_into(net, dict(RandomStateDict(net, seed)), precision.device, precision.dtype)


def assemble(
    version: Version,
    configs: NetConfigs,
    precision: Precision,
    unet: StateDict,
    vae: StateDict,
    whisper: StateDict,
    tiny: StateDict | None = None,
) -> Nets:
    """Fold official state dicts and load them onto the device, the largest first, which keeps peak memory low.

    Args:
        version: named in the result.
        configs: the unfolded sizes that the state dicts have.
        precision: device and dtype.
        unet: the UNet's state dict.
        vae: that of the VAE's decoder, with ``post_quant_conv``; further keys are ignored.
        whisper: that of Whisper's encoder.
        tiny: TAESD's, to decode with it instead of the VAE.

    Raises:
        ModelError: the device's memory is not enough.
    """
    device, dtype = precision.device, precision.dtype
    folded = build_on_meta(UNet, folded_unet_config(configs.unet, precision))
    encoder = build_on_meta(WhisperEncoder, configs.whisper)
    return Nets(
        version=version,
        unet=load_into(
            folded, fold_unet(unet, folded, vae if tiny is None else None, configs.vae.scale), device, dtype
        ),
        decoder=_place_decoder(configs, precision, vae, tiny),
        whisper=load_into(encoder, dict(whisper), device, dtype),
    )


def replicate_nets(nets: Nets, device: torch.device) -> Nets:
    """The UNet and the decoder on another device; Whisper is shared, as one device encodes the audio for all.

    They are copied tensor by tensor, which needs no further memory on the first device. Raises ModelError.
    """
    return dataclasses.replace(nets, unet=_copy(nets.unet, device), decoder=_copy(nets.decoder, device))


def _copy(net: Net, device: torch.device) -> Net:
    state = net.state_dict()
    dtype = next(iter(state.values())).dtype
    return load_into(build_on_meta(type(net), net.config), dict(state), device, dtype)


def folded_unet_config(config: UNetConfig, precision: Precision) -> UNetConfig:
    heights = [LATENT_PX >> level for level in range(len(config.dims) - 1, 0, -1)]
    shapes = tuple(zip(config.dims[:0:-1], heights, strict=True))
    has_phases = choose_phases(shapes, precision.device, precision.dtype, on_cpu=False)
    return dataclasses.replace(config, is_folded=True, has_phases=has_phases)


def folded_vae_config(config: VaeConfig, precision: Precision) -> VaeConfig:
    shapes = tuple((dim, LATENT_PX << level) for level, dim in enumerate(config.dims[:0:-1]))
    has_phases = choose_phases(shapes, precision.device, precision.dtype, on_cpu=True)
    return dataclasses.replace(config, is_folded=True, has_phases=has_phases)


def _place_decoder(
    configs: NetConfigs, precision: Precision, vae: StateDict, tiny: StateDict | None
) -> VaeDecoder | TinyDecoder:
    if tiny is not None:
        return load_into(build_on_meta(TinyDecoder, configs.tiny), dict(tiny), precision.device, precision.dtype)
    net = build_on_meta(VaeDecoder, folded_vae_config(configs.vae, precision))
    state = fold_decoder(select_keys(vae, "decoder.", "post_quant_conv."), net)
    return load_into(net, state, precision.device, precision.dtype)


def _read_tiny(path: Path, config: TinyConfig) -> StateDict:
    state = select_keys(read_state_dict(path), "decoder.")
    check_state_dict(state, build_on_meta(TinyDecoder, config), path, "TAESD's decoder")
    return state


def build_on_meta(kind: Callable[[Config], Net], config: Config) -> Net:
    """A net on the meta device: keys and shapes without values."""
    with torch.device("meta"):
        return kind(config)


def _check_all(files: ModelFiles, configs: NetConfigs, unet: StateDict, vae: StateDict, whisper: StateDict) -> None:
    check_state_dict(unet, build_on_meta(UNet, configs.unet), files.unet, "MuseTalk's UNet")
    decoder = select_keys(vae, "decoder.", "post_quant_conv.")
    check_state_dict(decoder, build_on_meta(VaeDecoder, configs.vae), files.vae, "the VAE's decoder")
    check_state_dict(whisper, build_on_meta(WhisperEncoder, configs.whisper), files.whisper, "Whisper's encoder")
