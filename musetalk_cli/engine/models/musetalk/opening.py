"""From settings to a MuseTalk model: the device, the weights, the avatar's latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.parts import FaceParts
from musetalk_cli.engine.models.musetalk.devices import choose_precision
from musetalk_cli.engine.models.musetalk.latents import LatentStore, Tell, avatar_latents, hash_file
from musetalk_cli.engine.models.musetalk.loading import (
    ModelFiles,
    Nets,
    Precision,
    Version,
    load_encoder,
    load_nets,
    random_encoder,
    random_nets,
)
from musetalk_cli.engine.models.musetalk.model import MuseTalkModel
from musetalk_cli.engine.models.musetalk.painting import FaceEncoder
from musetalk_cli.engine.models.musetalk.random_weights import LABEL
from musetalk_cli.engine.models.musetalk.silence import SilenceGate, SilenceSettings
from musetalk_cli.errors import ModelError

SEED = 0


@dataclass(frozen=True)
class MuseTalkSettings:
    """``device`` and ``precision`` as ``choose_precision`` takes them; ``memory_fraction`` is how much of a CUDA
    device's memory may be used, 0 … 1; ``num_threads`` on a CPU; ``silence`` None lets the network paint silence too.
    """

    version: Version
    device: str
    precision: str
    memory_fraction: float
    num_threads: int
    silence: SilenceSettings | None


@dataclass(frozen=True)
class AvatarFace:
    """An avatar in its own size, what the network needs of each frame, and its folder, if it has one."""

    avatar: Avatar
    parts: FaceParts
    folder: Path | None


def open_model(
    settings: MuseTalkSettings,
    weights: Mapping[str, Path] | None,
    face: AvatarFace,
    frame_rate: Fraction,
    height_px: int,
    tell: Tell,
) -> MuseTalkModel:
    """A model with the ``weights`` of unet, vae and whisper, or None for ones by lot.

    Raises ModelError for the device or the weights, AvatarError for the avatar. ``tell`` is told where it runs, and on
    a CPU how fast that is going to be.
    """
    precision = choose_precision(settings.device, settings.precision)
    _prepare_device(settings, precision.device)
    try:
        nets, latents = _load(settings, weights, face, precision, tell)
    except torch.OutOfMemoryError:
        raise ModelError(
            f"not enough memory on {precision.device} for the weights of MuseTalk {settings.version}",
            hint="close other programs that use it, raise performance.gpu_memory_fraction, or choose another --device",
        ) from None
    gate = SilenceGate(settings.silence) if settings.silence else None
    note = "" if weights else LABEL
    model = MuseTalkModel(nets, face.avatar, face.parts, latents, frame_rate, height_px, gate, note=note)
    tell(f"{model.name} on {describe_device(precision)}")
    if precision.device.type == "cpu":
        _warn_of_cpu(model, frame_rate, tell)
    return model


def describe_device(precision: Precision) -> str:
    """``cuda (NVIDIA H200), float16``"""
    device = precision.device
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return f"{device}{name}, {str(precision.dtype).removeprefix('torch.')}"


def _prepare_device(settings: MuseTalkSettings, device: torch.device) -> None:
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.set_per_process_memory_fraction(settings.memory_fraction, index)
    elif device.type == "cpu":
        torch.set_num_threads(settings.num_threads)


def _load(
    settings: MuseTalkSettings, weights: Mapping[str, Path] | None, face: AvatarFace, precision: Precision, tell: Tell
) -> tuple[Nets, torch.Tensor]:
    """The nets, and the avatar's latents; the VAE's encoder, which those may need, is dropped first."""
    if weights is None:
        latents = avatar_latents(
            face.avatar, face.parts, lambda: FaceEncoder(random_encoder(precision, SEED)), None, tell
        )
        return random_nets(settings.version, precision, SEED), latents
    files = ModelFiles(settings.version, weights["unet"], weights["vae"], weights["whisper"])
    store = LatentStore(face.folder, hash_file(files.vae)) if face.folder else None
    latents = avatar_latents(face.avatar, face.parts, lambda: FaceEncoder(load_encoder(files, precision)), store, tell)
    return load_nets(files, precision), latents


def _warn_of_cpu(model: MuseTalkModel, frame_rate: Fraction, tell: Tell) -> None:
    face_s = model.time_one_face()
    tell(
        f"warning: MuseTalk is slow on a CPU: the first face took {face_s:.1f} s here, "
        f"so 1 s of speech takes about {face_s * float(frame_rate):.0f} s; --model warp is made for CPUs"
    )
