"""From files or from chance to nets on a device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import nn

from musetalk_cli.engine.models.musetalk.checkpoints.key_mapping import (
    State,
    name_vae,
    name_whisper,
    pick,
    read_unet_config,
    read_vae_config,
    read_whisper_config,
)
from musetalk_cli.engine.models.musetalk.checkpoints.random_weights import RandomState
from musetalk_cli.engine.models.musetalk.checkpoints.weight_files import check_state, place, read_state
from musetalk_cli.engine.models.musetalk.nets.folding import fold_decoder, fold_unet
from musetalk_cli.engine.models.musetalk.nets.taesd import TinyConfig, TinyDecoder
from musetalk_cli.engine.models.musetalk.nets.unet import UNet, UNetConfig
from musetalk_cli.engine.models.musetalk.nets.upsampling import choose_phases
from musetalk_cli.engine.models.musetalk.nets.vae import VaeConfig, VaeDecoder, VaeEncoder
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperConfig, WhisperEncoder
from musetalk_cli.errors import ModelError

Version = Literal["1.5", "1.0"]
Config = TypeVar("Config")
Net = TypeVar("Net", bound=nn.Module)

LATENT_PX = 32  # height and width of what the nets paint

# The two UNets have the same tensors; the official files differ in size.
_UNET_BYTES = {3_400_074_924: "1.5", 3_400_076_549: "1.0"}

# For each version: file names by part, the first that exists is taken, the first of all is named when none does.
UNET_FILES = {
    "1.5": ("musetalkV15/unet.safetensors", "musetalkV15/unet.pth"),
    "1.0": ("musetalk/pytorch_model.safetensors", "musetalk/pytorch_model.bin"),
}
VAE_FILES = tuple(
    f"{folder}/diffusion_pytorch_model{suffix}"
    for folder in ("sd-vae", "sd-vae-ft-mse")
    for suffix in (".safetensors", ".bin")
)
WHISPER_FILES = {
    "1.5": ("whisper/model.safetensors", "whisper/pytorch_model.bin", "whisper/tiny.pt"),
    "1.0": ("whisper/tiny.pt", "whisper/model.safetensors", "whisper/pytorch_model.bin"),
}


@dataclass(frozen=True)
class Precision:
    """Where the nets are, and in what numbers."""

    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class ModelFiles:
    """One version's weight files; the settings files lie beside them. ``taesd``: TAESD's, to decode with it."""

    version: Version
    unet: Path
    vae: Path
    whisper: Path
    taesd: Path | None = None


@dataclass(frozen=True)
class Nets:
    """What makes faces: a folded UNet, its decoder and Whisper's encoder, one precision for all.

    ``decoder`` is a folded VaeDecoder, or a TinyDecoder.
    """

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


def find_files(folder: Path, version: Version) -> ModelFiles:
    """A version's files in a folder laid out as upstream's ``models``. Raises ModelError that names what is missing."""
    found = {
        what: next((folder / name for name in names if (folder / name).is_file()), None)
        for what, names in (("unet", UNET_FILES[version]), ("vae", VAE_FILES), ("whisper", WHISPER_FILES[version]))
    }
    if None in found.values():
        wanted = {"unet": UNET_FILES[version][-1], "vae": VAE_FILES[1], "whisper": WHISPER_FILES[version][-1]}
        missing = ", ".join(wanted[what] for what, path in found.items() if path is None)
        raise ModelError(f"the weights of MuseTalk {version} are not all in {folder}: {missing} missing")
    paths = {what: path for what, path in found.items() if path is not None}
    return ModelFiles(version, **paths)


def load_nets(files: ModelFiles, precision: Precision) -> Nets:
    """Read, check, fold and place. Raises ModelError that names the file and what is wrong with it."""
    unet_state = read_state(files.unet)
    actual = _UNET_BYTES.get(files.unet.stat().st_size, files.version)
    if actual != files.version:
        raise ModelError(
            f"{files.unet} is the UNet of MuseTalk {actual}, not {files.version}", hint=f"use --model musetalk-{actual}"
        )
    vae_state = name_vae(read_state(files.vae))
    whisper_state = name_whisper(read_state(files.whisper))
    configs = read_configs(files)
    _check_all(files, configs, unet_state, vae_state, whisper_state)
    tiny_state = _read_tiny(files.taesd, configs.tiny) if files.taesd else None
    return assemble(files.version, configs, precision, unet_state, vae_state, whisper_state, tiny_state)


def load_encoder(files: ModelFiles, precision: Precision) -> VaeEncoder:
    """The VAE's encoder, for preparing avatars. Raises ModelError."""
    state = pick(name_vae(read_state(files.vae)), "encoder.", "quant_conv.")
    net = build(VaeEncoder, read_configs(files).vae)
    check_state(state, net, files.vae, "the VAE's encoder")
    return place(net, state, precision.device, precision.dtype)


def read_configs(files: ModelFiles) -> NetConfigs:
    """Sizes from the settings beside the weights, official ones where there are none. Raises ModelError."""
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
    """The same nets with random weights; ``is_tiny``: decoded by TAESD."""
    configs = configs or NetConfigs()
    states = (
        RandomState(build(UNet, configs.unet), seed),
        RandomState(build(VaeDecoder, configs.vae), seed),
        RandomState(build(WhisperEncoder, configs.whisper), seed),
    )
    tiny = RandomState(build(TinyDecoder, configs.tiny), seed) if is_tiny else None
    return assemble(version, configs, precision, *states, tiny)


def random_encoder(precision: Precision, seed: int, configs: NetConfigs | None = None) -> VaeEncoder:
    net = build(VaeEncoder, (configs or NetConfigs()).vae)
    return place(net, dict(RandomState(net, seed)), precision.device, precision.dtype)


def assemble(
    version: Version,
    configs: NetConfigs,
    precision: Precision,
    unet: State,
    vae: State,
    whisper: State,
    tiny: State | None = None,
) -> Nets:
    """Fold checked official states and place them, the largest first, so that the peak stays low."""
    device, dtype = precision.device, precision.dtype
    folded = build(UNet, folded_unet_config(configs.unet, precision))
    listener = build(WhisperEncoder, configs.whisper)
    return Nets(
        version=version,
        unet=place(folded, fold_unet(unet, folded, vae if tiny is None else None), device, dtype),
        decoder=_place_decoder(configs, precision, vae, tiny),
        whisper=place(listener, dict(whisper), device, dtype),
    )


def copy_nets(nets: Nets, device: torch.device) -> Nets:
    """The same painting nets on another device; Whisper's is shared, as one device hears for all.

    Tensor by tensor, so that nothing is there twice on the first device meanwhile. Raises ModelError.
    """
    return dataclasses.replace(nets, unet=_copy(nets.unet, device), decoder=_copy(nets.decoder, device))


def _copy(net: Net, device: torch.device) -> Net:
    state = net.state_dict()
    dtype = next(iter(state.values())).dtype
    return place(build(type(net), net.config), dict(state), device, dtype)


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
    configs: NetConfigs, precision: Precision, vae: State, tiny: State | None
) -> VaeDecoder | TinyDecoder:
    if tiny is not None:
        return place(build(TinyDecoder, configs.tiny), dict(tiny), precision.device, precision.dtype)
    net = build(VaeDecoder, folded_vae_config(configs.vae, precision))
    state = fold_decoder(pick(vae, "decoder.", "post_quant_conv."), net)
    return place(net, state, precision.device, precision.dtype)


def _read_tiny(path: Path, config: TinyConfig) -> State:
    state = pick(read_state(path), "decoder.")
    check_state(state, build(TinyDecoder, config), path, "TAESD's decoder")
    return state


def build(kind: Callable[[Config], Net], config: Config) -> Net:
    """A net without values, on the meta device: its names and shapes."""
    with torch.device("meta"):
        return kind(config)


def _check_all(files: ModelFiles, configs: NetConfigs, unet: State, vae: State, whisper: State) -> None:
    check_state(unet, build(UNet, configs.unet), files.unet, "MuseTalk's UNet")
    decoder = pick(vae, "decoder.", "post_quant_conv.")
    check_state(decoder, build(VaeDecoder, configs.vae), files.vae, "the VAE's decoder")
    check_state(whisper, build(WhisperEncoder, configs.whisper), files.whisper, "Whisper's encoder")
