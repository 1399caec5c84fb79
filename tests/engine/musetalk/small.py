"""The neural model's nets at a size that tests can afford: same structure, few channels, windows of 6 s."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.boxes import drawn_face_box
from musetalk_cli.engine.avatar.masks import face_mask
from musetalk_cli.engine.avatar.parts import FaceParts
from musetalk_cli.engine.models.musetalk.latents import avatar_latents
from musetalk_cli.engine.models.musetalk.loading import NetConfigs, Precision, random_encoder, random_nets
from musetalk_cli.engine.models.musetalk.model import MuseTalkModel
from musetalk_cli.engine.models.musetalk.painting import FaceEncoder
from musetalk_cli.engine.models.musetalk.silence import SilenceGate, SilenceSettings
from musetalk_cli.engine.models.musetalk.taesd import TinyConfig
from musetalk_cli.engine.models.musetalk.unet import UNetConfig
from musetalk_cli.engine.models.musetalk.upstream import UpstreamLook
from musetalk_cli.engine.models.musetalk.vae import VaeConfig
from musetalk_cli.engine.models.musetalk.whisper import WhisperConfig

CONFIGS = NetConfigs(
    unet=UNetConfig(dims=(16, 24, 32, 32), num_groups=8, num_heads=4, audio_dim=32),
    vae=VaeConfig(dims=(8, 16, 16, 16), num_groups=8),
    whisper=WhisperConfig(num_steps=300, dim=32, num_layers=4, num_heads=4, hidden_dim=64),
    tiny=TinyConfig(dim=8, num_blocks=(2, 1, 1, 1)),
)
CPU = Precision(torch.device("cpu"), torch.float32)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative_error(mine: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference ÷ largest value."""
    return float((mine - wanted).abs().max() / wanted.abs().max())


def face_parts(avatar: Avatar) -> FaceParts:
    """Boxes and masks of every frame, from its landmarks."""
    boxes = np.stack([drawn_face_box(face, (avatar.width, avatar.height)) for face in avatar.landmarks])
    masks = np.stack([face_mask(face, box) for face, box in zip(avatar.landmarks, boxes, strict=True)])
    return FaceParts(boxes, masks)


def small_latents(avatar: Avatar, parts: FaceParts) -> torch.Tensor:
    """Every frame's, from a small encoder with weights by lot."""
    return avatar_latents(avatar, parts, lambda: FaceEncoder(random_encoder(CPU, 2, CONFIGS)), None, str)


def small_model(
    avatar: Avatar, frame_rate: Fraction, height_px: int, *, has_gate: bool = True, upstream: UpstreamLook | None = None
) -> MuseTalkModel:
    """The whole model on small nets with weights by lot; with ``upstream`` it has no gate."""
    torch.set_num_threads(1)
    parts = face_parts(avatar)
    latents = small_latents(avatar, parts)
    gate = SilenceGate(SilenceSettings()) if has_gate and not upstream else None
    nets = random_nets("1.5", CPU, seed=2, configs=CONFIGS)
    return MuseTalkModel(nets, avatar, parts, latents, frame_rate, height_px, gate, upstream=upstream)
