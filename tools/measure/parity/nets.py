"""The comparisons of the nets by themselves: against diffusers, folded, in 16 bits; and the faces they generate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from fixtures import references
from fixtures.feature_windows import extract_features
from musetalk_cli.engine.avatar.frame_store import JPEG_QUALITY, i420_to_sheet, sheet_to_i420
from musetalk_cli.engine.models.musetalk.audio.whisper_features import WhisperFeatureEncoder
from musetalk_cli.engine.models.musetalk.audio.windows import AnchoredFeatures
from musetalk_cli.engine.models.musetalk.checkpoints.key_mapping import select_keys
from musetalk_cli.engine.models.musetalk.checkpoints.loading import NetConfigs, build_on_meta, random_nets
from musetalk_cli.engine.models.musetalk.checkpoints.weight_files import load_into
from musetalk_cli.engine.models.musetalk.inference.audio_kv import AudioKVProjector
from musetalk_cli.engine.models.musetalk.inference.devices import DTYPES
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator
from musetalk_cli.engine.models.musetalk.nets.folding import fold_decoder, fold_unet
from musetalk_cli.engine.models.musetalk.nets.layers import TwoPassGroupNorm
from musetalk_cli.engine.models.musetalk.nets.unet import UNet, positional_encoding
from musetalk_cli.engine.models.musetalk.nets.vae import VaeDecoder, VaeEncoder, masked_and_reference, to_bgr
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperEncoder
from musetalk_cli.engine.types.colour import ByteArray, as_bytes, bgr_to_planes, i420_to_bgr, planes_to_i420
from tools.measure.parity.audio import both_features
from tools.measure.parity.lines import (
    CPU,
    SEED,
    Line,
    StateDict,
    filled,
    noise,
    random_weights,
    random_whisper,
    relative_error,
    to_stream,
)

FEATURE_SEED = 2
# Frames at 25 per second whose images are compared between the schemes: few, as each takes seconds on a CPU.
SCHEME_FRAMES = {
    "elsewhere": (325, 475, 575, 625),
    "2 s boundaries": (300, 450, 550, 600),
    "where either window moves": (695, 750, 751, 945),
}
BLOCK_FRAMES = (10, 19, 29, 50, 85, 124, 149, 199)


@torch.inference_mode()
def compare_unet(configs: NetConfigs) -> Iterator[Line]:
    state = random_weights(UNet, configs.unet)
    latents, tokens = _inputs(configs, 2)
    mine = filled(UNet, configs.unet, state)(latents, tokens)
    wanted = references.unet(configs.unet, state)(latents, torch.tensor([0]), tokens).sample
    yield Line("UNet, fp32", "diffusers UNet2DConditionModel", relative_error(mine, wanted), "relative", 1e-5)


@torch.inference_mode()
def compare_vae(configs: NetConfigs, face: np.ndarray) -> Iterator[Line]:
    """``face`` uint8 BGR (256, 256, 3). The masked input's lower half is black, which cancels in an inexact norm."""
    state = random_weights(VaeEncoder, configs.vae) | random_weights(VaeDecoder, configs.vae)
    reference = references.vae(configs.vae, state)
    rgb = _to_rgb(face)
    encoder = filled(VaeEncoder, configs.vae, select_keys(state, "encoder.", "quant_conv."))
    for what, images in zip(("masked", "whole"), masked_and_reference(rgb).split(1), strict=True):
        error = relative_error(encoder(images), reference.encode(images).latent_dist.mode() * configs.vae.scale)
        yield Line(f"VAE encoder, fp32, {what} face", "diffusers AutoencoderKL, mode", error, "relative", 1e-5)
    decoder = filled(VaeDecoder, configs.vae, select_keys(state, "decoder.", "post_quant_conv."))
    latents = noise(1, 4, 32, 32, seed=4)
    error = relative_error(decoder(latents), reference.decode(latents / configs.vae.scale).sample)
    yield Line("VAE decoder, fp32", "diffusers AutoencoderKL", error, "relative", 1e-5)


@torch.inference_mode()
def compare_norms() -> Iterator[Line]:
    """Group normalisation of a feature map with a flat half, channels_last, against the same in double precision."""
    x = 1.5 + 0.05 * noise(1, 128, 64, 64, seed=7)
    x[:, :, 32:] = 1.5
    x = x.contiguous(memory_format=torch.channels_last)
    wanted = torch.nn.GroupNorm(32, 128, 1e-6).double()(x.double())
    for who, kind in (("PyTorch's", torch.nn.GroupNorm), ("the VAE encoder's", TwoPassGroupNorm)):
        error = float((kind(32, 128, 1e-6)(x).double() - wanted).abs().max())
        limit = 1e-4 if kind is TwoPassGroupNorm else None
        yield Line(f"group norm of a flat half, {who}", "the same in fp64", error, "most", limit)


@torch.inference_mode()
def compare_storage(configs: NetConfigs, face: ByteArray) -> Iterator[Line]:
    """Latents of a face whose frame was stored as JPEG, as avatars from videos are, against those without loss."""
    encoder = filled(VaeEncoder, configs.vae, random_weights(VaeEncoder, configs.vae))
    sheet = i420_to_sheet(planes_to_i420(bgr_to_planes(face)))
    frames = []
    for kind, options in ((".png", []), (".jpg", [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])):
        stored = cv2.imdecode(cv2.imencode(kind, sheet, options)[1], cv2.IMREAD_GRAYSCALE)
        frames.append(i420_to_bgr(sheet_to_i420(as_bytes(stored))))
    wanted, made = (encoder(masked_and_reference(_to_rgb(frame))) for frame in frames)
    levels = np.abs(frames[0].astype(int) - frames[1]).mean()
    yield Line(f"frame as JPEG {JPEG_QUALITY}", "without loss", float(levels), "levels of 255, mean", None)
    error = float((made - wanted).norm() / wanted.norm())
    yield Line(f"VAE latents of JPEG {JPEG_QUALITY}", "without loss", error, "relative, norm", None)


def compare_stages(configs: NetConfigs, face: ByteArray) -> Iterator[Line]:
    """The VAE's two nets and Whisper's encoder, each by itself in 16 bits against fp32, on the same input."""
    mel = noise(1, configs.whisper.num_mels, 2 * configs.whisper.num_steps, seed=6)
    yield from _compare_narrow("VAE encoder", VaeEncoder, configs.vae, masked_and_reference(_to_rgb(face)))
    yield from _compare_narrow("Whisper encoder", WhisperEncoder, configs.whisper, mel)
    yield from _compare_narrow("VAE decoder", VaeDecoder, configs.vae, noise(1, 4, 32, 32, seed=1))


def compare_unet_stage(configs: NetConfigs) -> Iterator[Line]:
    """The same for the UNet."""
    yield from _compare_narrow("UNet", UNet, configs.unet, *_inputs(configs, 1))


@torch.inference_mode()
def _compare_narrow(what: str, kind: Callable[[Any], Any], config: Any, *inputs: Tensor) -> Iterator[Line]:
    net = load_into(build_on_meta(kind, config), random_weights(kind, config), CPU.device, CPU.dtype)
    wanted = net(*inputs)
    for name in ("fp16", "bf16"):
        narrow = load_into(build_on_meta(kind, config), net.state_dict(), CPU.device, DTYPES[name])
        made = narrow(*(each.to(DTYPES[name]) for each in inputs)).float()
        error = float((made - wanted).norm() / wanted.norm())
        yield Line(f"{what}, {name}", "the same in fp32", error, "relative, norm", 0.02 if name == "fp16" else 0.1)


@torch.inference_mode()
def compare_folds(configs: NetConfigs) -> Iterator[Line]:
    """The folded nets against the unfolded ones in fp32, on the same face."""
    unet_state = random_weights(UNet, configs.unet)
    vae = random_weights(VaeDecoder, configs.vae)
    latents, tokens = _inputs(configs, 1)
    plain = filled(VaeDecoder, configs.vae, vae)(filled(UNet, configs.unet, unet_state)(latents, tokens))
    unet, decoder = _folded(configs, unet_state, vae)
    mine = decoder(unet(latents, tokens))
    yield Line("folded UNet + decoder, fp32", "unfolded ones", relative_error(mine, plain), "relative", 1e-4)
    yield from _compare_images("fp32", "unfolded ones in fp32", mine, plain)
    audio_kv = AudioKVProjector(unet, configs.whisper.num_levels).project(_features_of_one(configs), torch.from_numpy)
    error = relative_error(unet.predict(unet.encode_prefix(latents), unet.unpack_kv(audio_kv)), unet(latents, tokens))
    yield Line("audio projected once for each step", "for every frame", error, "relative", 1e-5)


@torch.inference_mode()
def compare_precision(configs: NetConfigs, name: str) -> Iterator[Line]:
    """The folded nets' face in 16 bits against the same in fp32; bf16, which is never the default, has no limit."""
    latents, tokens = _inputs(configs, 1)
    unet, decoder = _folded(configs, random_weights(UNet, configs.unet), random_weights(VaeDecoder, configs.vae))
    wanted = decoder(unet(latents, tokens))
    dtype = DTYPES[name]
    mine = decoder.to(dtype)(unet.to(dtype)(latents.to(dtype), tokens.to(dtype))).float()
    yield from _compare_images(name, "the same in fp32", mine, wanted, limit=1.0 if name == "fp16" else None)


def _folded(configs: NetConfigs, unet: StateDict, vae: StateDict) -> tuple[UNet, VaeDecoder]:
    folded = build_on_meta(UNet, dataclasses.replace(configs.unet, is_folded=True))
    decoder = build_on_meta(VaeDecoder, dataclasses.replace(configs.vae, is_folded=True))
    decoder_state = fold_decoder(select_keys(vae, "decoder.", "post_quant_conv."), decoder)
    return (
        load_into(folded, fold_unet(unet, folded, vae), CPU.device, CPU.dtype),
        load_into(decoder, decoder_state, CPU.device, CPU.dtype),
    )


def _compare_images(
    name: str, against: str, mine: Tensor, wanted: Tensor, limit: float | None = None
) -> Iterator[Line]:
    # Random weights give images of any contrast; a real face fills the range.
    gain = float(0.5 / wanted.std())
    levels = (to_bgr(mine * gain).float() - to_bgr(wanted * gain).float()).abs()
    for what, error, most in (("mean", levels.mean(), limit), ("most", levels.max(), None)):
        yield Line(f"images, folded, {name}", against, float(error), f"levels of 255, {what}", most)


def compare_scheme_images(configs: NetConfigs, voice: Tensor) -> Iterator[Line]:
    """Faces generated from both schemes' features on one frame of an avatar, with random weights.

    ``voice`` as for ``compare_schemes``. Upstream's window changes at frame 750, where ours has been sliding before.
    """
    both = both_features(configs, voice)
    for where, frames in SCHEME_FRAMES.items():
        picked = [features[list(frames)] for features in both]
        yield from _compare_faces(configs, f"images, {where}", "upstream's whole window", *picked)


def compare_block_images(configs: NetConfigs, voice: Tensor) -> Iterator[Line]:
    """The same from features of blocks of 0.4 s and of the default's, 2 s, at some frames of 8 s."""
    scheme = AnchoredFeatures(WhisperFeatureEncoder(random_whisper(configs)[0], is_version_1_0=False), Fraction(25))
    audio = to_stream(voice[: 8 * 16_000])
    picked = [extract_features(scheme, audio, block_s=block_s)[list(BLOCK_FRAMES)] for block_s in (0.4, 2.0)]
    yield from _compare_faces(configs, "images, blocks of 0.4 s", "blocks of 2 s", *picked)


def _compare_faces(
    configs: NetConfigs, what: str, against: str, made: np.ndarray, wanted: np.ndarray
) -> Iterator[Line]:
    generator = FaceGenerator(random_nets("1.5", CPU, SEED, configs))
    prefix_cache = generator.build_prefix_cache(noise(1, configs.unet.in_channels, 32, 32, seed=1))
    faces = [
        [generator.submit(prefix_cache, [0], row[None]).collect().astype(int) for row in features]
        for features in (made, wanted)
    ]
    errors = np.abs(np.subtract(*faces))
    for unit, error in (("mean", errors.mean()), ("most", errors.max())):
        yield Line(what, against, float(error), f"levels of 255, {unit}", None)


def _features_of_one(configs: NetConfigs) -> np.ndarray:
    """The tokens of ``_inputs`` without their positional encoding."""
    return noise(1, 50, configs.unet.audio_dim, seed=FEATURE_SEED).reshape(1, -1).numpy()


def _to_rgb(face: ByteArray) -> Tensor:
    """uint8 BGR (256, 256, 3) → (1, 3, 256, 256) RGB in 0 … 1."""
    return torch.from_numpy(np.ascontiguousarray(face[:, :, ::-1])).permute(2, 0, 1)[None] / 255.0


def _inputs(configs: NetConfigs, count: int) -> tuple[Tensor, Tensor]:
    tokens = noise(count, 50, configs.unet.audio_dim, seed=FEATURE_SEED) + positional_encoding(
        50, configs.unet.audio_dim
    )
    return noise(count, configs.unet.in_channels, 32, 32, seed=1), tokens
