"""Settings → a MuseTalk model: chooses devices, loads weights, encodes the avatar, warms up."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

import torch

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.models.musetalk.audio.silence import SilenceGate, SilenceSettings
from musetalk_cli.engine.models.musetalk.checkpoints.loading import (
    ModelFiles,
    Nets,
    Precision,
    Version,
    load_encoder,
    load_nets,
    random_encoder,
    random_nets,
    read_configs,
    replicate_nets,
)
from musetalk_cli.engine.models.musetalk.checkpoints.random_weights import LABEL
from musetalk_cli.engine.models.musetalk.face.avatar_cache import AvatarCache
from musetalk_cli.engine.models.musetalk.face.boxes import EXTRA_MARGIN_PX
from musetalk_cli.engine.models.musetalk.face.class_maps import ClassMaps
from musetalk_cli.engine.models.musetalk.face.face_parsing import FaceParser
from musetalk_cli.engine.models.musetalk.face.face_parts import FaceParts, PartSettings, face_parts
from musetalk_cli.engine.models.musetalk.face.masks import MaskSettings
from musetalk_cli.engine.models.musetalk.face.parsed_masks import DrawnClasses, ParsedMasks, parse_avatar
from musetalk_cli.engine.models.musetalk.face.upstream import UpstreamMasking
from musetalk_cli.engine.models.musetalk.inference.devices import choose_precisions
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceEncoder
from musetalk_cli.engine.models.musetalk.inference.latents import avatar_latents
from musetalk_cli.engine.models.musetalk.model import MuseTalkModel
from musetalk_cli.engine.runtime.files import hash_file
from musetalk_cli.engine.types.messages import Tell
from musetalk_cli.errors import ModelError
from musetalk_cli.option_names import option

SEED = 0
# Models that are open, by their settings, weights and frame rate: another avatar may use the nets of one.
_OPEN: WeakValueDictionary[Any, MuseTalkModel] = WeakValueDictionary()


@dataclass(frozen=True)
class MuseTalkSettings:
    """What a user chooses.

    ``device`` and ``precision`` as ``choose_precisions`` takes them; ``memory_fraction``: the share of a CUDA device's
    memory that may be used, 0 … 1; ``num_threads`` on a CPU; ``silence`` None generates silent frames too; ``mask``:
    the part of the face that is generated; ``extra_margin_px``: how far boxes reach below the chin, None for what the
    version was trained with. ``follows_upstream`` does everything as the official script does, including silent frames;
    for files only. ``batch_size``: the largest batch to warm up for; ``is_compiled`` as ``ForwardPass`` takes it,
    ``has_half_rate`` as ``FaceBatchGenerator`` does, ``has_detail`` as ``MuseTalkModel``; ``decoder`` taesd needs
    TAESD's weights. ``custom_name``: of the user's own model whose weights these are.
    """

    version: Version
    device: str
    precision: str
    memory_fraction: float
    num_threads: int
    silence: SilenceSettings | None
    mask: MaskSettings = field(default_factory=MaskSettings)
    extra_margin_px: int | None = None
    follows_upstream: bool = False
    batch_size: int = 8
    is_compiled: bool = False
    decoder: Literal["full", "taesd"] = "full"
    has_half_rate: bool = False
    has_detail: bool = True
    custom_name: str = ""


@dataclass(frozen=True)
class AvatarFace:
    """An avatar in its own size, its boxes and its masks from landmarks, and its cache."""

    avatar: Avatar
    parts: FaceParts
    cache: AvatarCache


@dataclass(frozen=True)
class BoundFace:
    """What a model is bound to: a face, its class maps where face parsing is here, and its latents (n, 8, 32, 32)."""

    face: AvatarFace
    maps: ClassMaps | None
    latents: torch.Tensor


def open_model(
    settings: MuseTalkSettings,
    weights: Mapping[str, Path] | None,
    avatar: Avatar,
    folder: Path | None,
    frame_rate: Fraction,
    height_px: int,
    tell: Tell,
    *,
    shares_nets: bool = False,
) -> MuseTalkModel:
    """Build a model for one avatar and warm it up.

    Args:
        settings: how it runs and what it generates.
        weights: the files of unet, vae, whisper and maybe taesd and parsing, by these names; with parsing, masks come
            from face parsing. None for random weights.
        avatar: in its own size.
        folder: the avatar's, where what is derived from its frames is cached; None for a built-in one.
        frame_rate: frames per second of the output.
        height_px: height of the output frames.
        tell: called with the device, the duration of the warm-up, and on a CPU a warning about its speed.
        shares_nets: whether a model that is open for another avatar with the same settings and weights lends its nets.

    Returns:
        A model bound to the avatar, the frame rate and the height.

    Raises:
        ModelError: the device does not exist, a weight file is damaged, or memory is not enough.
        AvatarError: the avatar cannot be read.
    """
    precisions = choose_precisions(settings.device, settings.precision, is_exact=settings.follows_upstream)
    for each in precisions:
        _prepare_device(settings, each.device)
    cache = AvatarCache(folder, tell)
    face = AvatarFace(avatar, face_parts(avatar, part_settings(settings), cache), cache)
    key = (settings, tuple(sorted((weights or {}).items())), frame_rate)
    try:
        maps = _parse(weights, face, precisions[0].device)
        latents = _load_latents(settings, weights, face, _precision_of_encoder(precisions[0]))
        if shares_nets and (lender := _OPEN.get(key)):
            masks = ParsedMasks(maps, face.parts, settings.mask) if maps else None
            return lender.clone_with(avatar, face.parts, latents, height_px, masks)
        nets = _load_nets(settings, weights, precisions[0])
        replicas = [replicate_nets(nets, each.device) for each in precisions[1:]]
    except torch.OutOfMemoryError:
        raise ModelError(
            f"not enough memory on {precisions[0].device} for the weights of MuseTalk {settings.version}",
            hint="close other programs that use it, raise performance.gpu_memory_fraction, "
            f"or choose another {option('--device')}",
        ) from None
    bound = BoundFace(face, maps, latents)
    model = _build(settings, [nets, *replicas], bound, frame_rate, height_px, note=_note(settings, weights))
    _get_ready(model, settings, precisions, bound, frame_rate, tell)
    if not settings.follows_upstream:
        _OPEN[key] = model
    return model


def _build(
    settings: MuseTalkSettings, nets: Sequence[Nets], bound: BoundFace, frame_rate: Fraction, height_px: int, note: str
) -> MuseTalkModel:
    """A model of nets, those of the first device first, and a face, as the settings ask for it."""
    face, maps = bound.face, bound.maps
    upstream = None
    if settings.follows_upstream:
        upstream = UpstreamMasking(maps or DrawnClasses(face.avatar, face.parts.boxes), settings.mask)
    return MuseTalkModel(
        nets[0],
        face.avatar,
        face.parts,
        bound.latents,
        frame_rate,
        height_px,
        SilenceGate(settings.silence) if settings.silence and not upstream else None,
        note=note,
        masks=ParsedMasks(maps, face.parts, settings.mask) if maps else None,
        upstream=upstream,
        replicas=nets[1:],
        is_compiled=settings.is_compiled,
        has_half_rate=settings.has_half_rate,
        has_detail=settings.has_detail,
        batch_size=settings.batch_size,
    )


def _get_ready(
    model: MuseTalkModel,
    settings: MuseTalkSettings,
    precisions: Sequence[Precision],
    bound: BoundFace,
    frame_rate: Fraction,
    tell: Tell,
) -> None:
    """Say what the model runs on, and warm it up or, on a CPU, warn of its speed."""
    devices = " and ".join(map(describe_device, precisions))
    tell(f"{model.name} on {devices}, masks from {'face parsing' if bound.maps else 'landmarks'}")
    if settings.follows_upstream and not bound.maps:
        tell("upstream's masks need face parsing, whose weights are missing: musetalk models download face-parsing")
    device = precisions[0].device
    _warm_up(model, settings, device, tell)
    if device.type == "cpu":
        _warn_of_cpu(model, frame_rate, tell)


def _note(settings: MuseTalkSettings, weights: Mapping[str, Path] | None) -> str:
    if weights is None:
        return LABEL
    return f"the weights of '{settings.custom_name}'" if settings.custom_name else ""


def describe_device(precision: Precision) -> str:
    """``cuda (NVIDIA H200), float16``"""
    device = precision.device
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return f"{device}{name}, {str(precision.dtype).removeprefix('torch.')}"


def _prepare_device(settings: MuseTalkSettings, device: torch.device) -> None:
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.set_per_process_memory_fraction(settings.memory_fraction, index)
        # Batches have a few fixed sizes, so it pays to benchmark the convolutions' kernels.
        torch.backends.cudnn.benchmark = True
    elif device.type == "cpu":
        torch.set_num_threads(settings.num_threads)


def part_settings(settings: MuseTalkSettings) -> PartSettings:
    """What boxes and masks are derived with: as set, else as the version was trained."""
    trained_px = EXTRA_MARGIN_PX if settings.version == "1.5" else 0
    margin_px = settings.extra_margin_px
    return PartSettings(trained_px if margin_px is None else margin_px, settings.mask)


def _parse(weights: Mapping[str, Path] | None, face: AvatarFace, device: torch.device) -> ClassMaps | None:
    """The class maps of the avatar's frames; None where the weights of face parsing are not here."""
    path = (weights or {}).get("parsing")
    if path is None:
        return None
    sha256 = _hash_for_cache(path, face.cache)
    return parse_avatar(face.avatar, face.parts.boxes, lambda: FaceParser.load(path, device), face.cache, sha256)


def _precision_of_encoder(precision: Precision) -> Precision:
    """In bf16 latents are off by 2.5 %, and on a CPU an avatar's are made once: in fp32, whatever the nets' own."""
    return Precision(precision.device, torch.float32) if precision.device.type == "cpu" else precision


def _load_latents(
    settings: MuseTalkSettings, weights: Mapping[str, Path] | None, face: AvatarFace, precision: Precision
) -> torch.Tensor:
    """The avatar's latents. The VAE's encoder, if it is needed, is freed before the nets are loaded."""
    if weights is None:
        nowhere = AvatarCache(None, face.cache.tell)
        return avatar_latents(
            face.avatar,
            face.parts,
            lambda: FaceEncoder(random_encoder(precision, SEED)),
            nowhere,
            "",
            dtype=precision.dtype,
        )
    files = _files(settings, weights)
    sha256 = _hash_for_cache(files.vae, face.cache)
    made_with = {"version": settings.version, **asdict(read_configs(files).vae)}
    return avatar_latents(
        face.avatar,
        face.parts,
        lambda: FaceEncoder(load_encoder(files, precision)),
        face.cache,
        sha256,
        dtype=precision.dtype,
        made_with=made_with,
    )


def _load_nets(settings: MuseTalkSettings, weights: Mapping[str, Path] | None, precision: Precision) -> Nets:
    if weights is None:
        return random_nets(settings.version, precision, SEED, is_tiny=settings.decoder == "taesd")
    return load_nets(_files(settings, weights), precision)


def _files(settings: MuseTalkSettings, weights: Mapping[str, Path]) -> ModelFiles:
    taesd = weights.get("taesd") if settings.decoder == "taesd" else None
    return ModelFiles(
        settings.version,
        weights["unet"],
        weights["vae"],
        weights["whisper"],
        taesd,
        weights.get("lora"),
        is_custom=bool(settings.custom_name),
    )


def _hash_for_cache(weights: Path, cache: AvatarCache) -> str:
    """The SHA-256 of weights; without a cache it is not needed, and reading them takes a second."""
    return "" if cache.folder is None else hash_file(weights)


def _warm_up(model: MuseTalkModel, settings: MuseTalkSettings, device: torch.device, tell: Tell) -> None:
    if device.type != "cuda" and not settings.is_compiled:
        return
    if settings.is_compiled:
        tell("compiling MuseTalk for this machine, which takes minutes the first time")
    started = time.perf_counter()
    if model.warm_up():
        seconds = time.perf_counter() - started
        tell(f"warmed up for batches of up to {settings.batch_size} frames in {seconds:.1f} s")
    else:
        tell(f"not enough memory on {device} to warm up all batch sizes; the others will be slower")


def _warn_of_cpu(model: MuseTalkModel, frame_rate: Fraction, tell: Tell) -> None:
    face_s = model.time_one_face()
    tell(
        f"warning: MuseTalk is slow on a CPU: the first face took {face_s:.1f} s here, "
        f"so 1 s of speech takes about {face_s * float(frame_rate):.0f} s; {option('--model')} warp is made for CPUs"
    )
