"""What a weight file must hold: the nets themselves say it, made without values. Needs torch."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from musetalk_cli.engine.models.musetalk.checkpoints.key_mapping import (
    name_vae,
    name_whisper,
    pick,
    read_unet_config,
    read_vae_config,
    read_whisper_config,
)
from musetalk_cli.engine.models.musetalk.checkpoints.loading import build
from musetalk_cli.engine.models.musetalk.checkpoints.weight_files import check_state, read_state
from musetalk_cli.engine.models.musetalk.nets.bisenet import FaceParsingNet
from musetalk_cli.engine.models.musetalk.nets.unet import UNet, UNetConfig
from musetalk_cli.engine.models.musetalk.nets.vae import VaeConfig, VaeDecoder, VaeEncoder
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperConfig, WhisperEncoder
from musetalk_cli.engine.weights.registry import Part

State = dict[str, Tensor]


def read_checked(part: Part, path: Path, settings: Path | None) -> State:
    """A part's tensors as its file names them, mapped, not read; of Whisper only the encoder's.

    ``settings`` is the file with the part's sizes, None for the official ones. Raises ModelError that says what is
    wrong with the file, or which tensors are missing or have another shape.
    """
    state = read_state(path)
    if part.kind == "unet":
        config = read_unet_config(settings) if settings else UNetConfig()
        check_state(state, build(UNet, config), path, "MuseTalk's UNet")
    elif part.kind == "vae":
        _check_vae(name_vae(state), read_vae_config(settings) if settings else VaeConfig(), path)
    elif part.kind == "whisper":
        whisper = read_whisper_config(settings) if settings else WhisperConfig()
        check_state(name_whisper(state), build(WhisperEncoder, whisper), path, "Whisper's encoder")
        prefixes = ("model.encoder.", "encoder.")
        return pick(state, *prefixes)
    else:
        check_state(state, build(lambda _: FaceParsingNet(), None), path, "the face-parsing net")
    return state


def _check_vae(state: State, config: VaeConfig, path: Path) -> None:
    encoder = pick(state, "encoder.", "quant_conv.")
    check_state(encoder, build(VaeEncoder, config), path, "the VAE's encoder")
    others = {name: tensor for name, tensor in state.items() if name not in encoder}
    check_state(others, build(VaeDecoder, config), path, "the VAE's decoder")
