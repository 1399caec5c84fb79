"""The comparisons of the parity table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import cv2
import numpy as np
import soxr
import torch
from torch import Tensor

from fixtures import references
from fixtures.feature_windows import IndexFeatureEncoder, extract_features, selected_steps, upstream_by_hand
from musetalk_cli.engine.audio.decimation import Decimator
from musetalk_cli.engine.audio.resampling import Resampler
from musetalk_cli.engine.audio.whole_voice import resample_as_librosa
from musetalk_cli.engine.models.musetalk.audio.mel import log_mel, mel_filters
from musetalk_cli.engine.models.musetalk.audio.whisper_features import WhisperFeatureEncoder
from musetalk_cli.engine.models.musetalk.audio.windows import (
    AnchoredFeatures,
    UpstreamFeatures,
    count_steps,
    count_upstream_frames,
    count_upstream_steps,
)
from musetalk_cli.engine.models.musetalk.checkpoints.key_mapping import select_keys
from musetalk_cli.engine.models.musetalk.checkpoints.loading import NetConfigs, Precision, build_on_meta, random_nets
from musetalk_cli.engine.models.musetalk.checkpoints.random_weights import random_state_dict
from musetalk_cli.engine.models.musetalk.checkpoints.weight_files import load_into
from musetalk_cli.engine.models.musetalk.face.blend import Box, JawBlend, crop_box, jaw_mask
from musetalk_cli.engine.models.musetalk.face.pillow_resize import resize_bicubic, resize_bilinear
from musetalk_cli.engine.models.musetalk.inference.audio_kv import AudioKVProjector
from musetalk_cli.engine.models.musetalk.inference.devices import DTYPES
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator
from musetalk_cli.engine.models.musetalk.nets.folding import fold_decoder, fold_unet
from musetalk_cli.engine.models.musetalk.nets.unet import UNet, positional_encoding
from musetalk_cli.engine.models.musetalk.nets.vae import VaeDecoder, VaeEncoder, masked_and_reference, to_bgr
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperEncoder
from musetalk_cli.engine.types.audio import LONG_LOW_PASS
from musetalk_cli.engine.types.colour import as_bytes
from musetalk_cli.engine.types.messages import AudioBlock

SEED = 20
FEATURE_SEED = 2
CPU = Precision(torch.device("cpu"), torch.float32)
StateDict = dict[str, Tensor]
# Frames at 25 per second whose images are compared between the schemes: few, as each takes seconds on a CPU.
SCHEME_FRAMES = {
    "elsewhere": (325, 475, 575, 625),
    "2 s boundaries": (300, 450, 550, 600),
    "where either window moves": (695, 750, 751, 945),
}


class Line(NamedTuple):
    """One line of the table; ``error`` must not exceed ``limit``, None without a limit."""

    what: str
    against: str
    error: float
    unit: str
    limit: float | None

    @property
    def is_met(self) -> bool:
        return self.limit is None or self.error <= self.limit


def relative_error(mine: Tensor, wanted: Tensor) -> float:
    """Largest difference ÷ largest value."""
    return float((mine - wanted).abs().max() / wanted.abs().max())


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(kind: Callable[[Any], Any], config: Any, state: StateDict) -> Any:
    """A net that shares its tensors with ``state``, as full-size nets do not fit into memory twice."""
    net = build_on_meta(kind, config)
    net.load_state_dict(state, assign=True)
    return net.eval().requires_grad_(False)


def random_weights(kind: Callable[[Any], Any], config: Any) -> StateDict:
    return random_state_dict(build_on_meta(kind, config), SEED)


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
    rgb = torch.from_numpy(np.ascontiguousarray(face[:, :, ::-1])).permute(2, 0, 1)[None] / 255.0
    encoder = filled(VaeEncoder, configs.vae, select_keys(state, "encoder.", "quant_conv."))
    for what, images in zip(("masked", "whole"), masked_and_reference(rgb).split(1), strict=True):
        error = relative_error(encoder(images), reference.encode(images).latent_dist.mode() * configs.vae.scale)
        yield Line(f"VAE encoder, fp32, {what} face", "diffusers AutoencoderKL, mode", error, "relative", 1e-5)
    decoder = filled(VaeDecoder, configs.vae, select_keys(state, "decoder.", "post_quant_conv."))
    latents = noise(1, 4, 32, 32, seed=4)
    error = relative_error(decoder(latents), reference.decode(latents / configs.vae.scale).sample)
    yield Line("VAE decoder, fp32", "diffusers AutoencoderKL", error, "relative", 1e-5)


def synthetic_face() -> np.ndarray:
    """A stand-in for a face: uint8 BGR (256, 256, 3), an even skin with a mouth before an even wall."""
    image = np.full((256, 256, 3), (200, 205, 210), np.uint8)
    cv2.ellipse(image, (128, 120), (90, 125), 0, 0, 360, (150, 175, 215), -1, cv2.LINE_AA)
    cv2.ellipse(image, (128, 195), (32, 12), 0, 0, 360, (80, 70, 160), -1, cv2.LINE_AA)
    for x in (90, 166):
        cv2.circle(image, (x, 95), 9, (60, 50, 50), -1, cv2.LINE_AA)
    return as_bytes(cv2.GaussianBlur(image, (5, 5), 0))


def compare_samples(voice: Tensor) -> Iterator[Line]:
    """What features are made of: log-mel of the default's samples and of ``--compat``'s, against soxr's."""
    wide = 0.9 * voice[: 30 * 16_000].numpy()
    for rate_hz in (48_000, 44_100):
        source = np.asarray(soxr.resample(wide, 16_000, rate_hz, quality="soxr_hq"), np.float32)
        source += np.random.default_rng(SEED).normal(0, 1e-4, len(source)).astype(np.float32)  # up to all bands
        wanted = soxr.resample(source, rate_hz, 16_000, quality="soxr_hq")
        error = np.abs(resample_as_librosa(source, rate_hz)[: len(wanted)] - wanted).max()
        yield Line(f"samples of {rate_hz} Hz, --compat", "librosa's soxr_hq", float(error), "most", 0.0)
        resampler, decimator = Resampler(rate_hz, 1), Decimator(LONG_LOW_PASS)
        made = np.concatenate([decimator.push(resampler.push(source[:, None])), decimator.finish()])
        length = min(len(made), len(wanted)) // 160 * 160
        filters = mel_filters(80)
        mine, theirs = (log_mel(torch.from_numpy(each[:length].copy()), filters) for each in (made, wanted))
        errors = (mine - theirs).abs()[:, 3:-3]
        for bands, part in (("0–69", errors[:70]), ("70–79", errors[70:])):
            yield Line(f"log-mel of {rate_hz} Hz, bands {bands}", "librosa's soxr_hq", float(part.mean()), "mean", 0.01)
            yield Line(f"log-mel of {rate_hz} Hz, bands {bands}", "librosa's soxr_hq", float(part.max()), "most", None)


def compare_counts() -> Iterator[Line]:
    """Steps and frames of all 3,000 whole-step lengths up to a minute, by the script's own expressions."""
    apart = lost = 0
    for num_steps in range(1, 3001):
        samples = num_steps * 320
        block = AudioBlock(0, np.zeros(0, np.float32), 0.0, np.zeros((0, 1), np.int16), 0, range(1), samples * 3)
        theirs = math.floor((samples / 16000) * 50)
        apart += count_upstream_steps(block) != theirs
        apart += count_upstream_frames(samples, Fraction(25)) != math.floor((samples / 16000) * 25)
        lost += count_steps(block) != theirs
    yield Line("steps and frames of 3,000 lengths, --compat", "upstream's floating point", float(apart), "lengths", 0.0)
    yield Line("steps of 3,000 lengths, default", "upstream's floating point", float(lost), "lengths", None)


def compare_jaw() -> Iterator[Line]:
    """The jaw's mask, with the cheeks as rectangles of OpenCV's."""
    classes = np.zeros((512, 512), np.uint8)
    cv2.ellipse(classes, (256, 260), (150, 190), 0, 0, 360, 1, -1)
    cv2.ellipse(classes, (256, 350), (60, 25), 0, 0, 360, 11, -1)
    element = np.zeros((33, 33), np.uint8)
    for row in range(10, 33):
        half = min(row - 10, 10)
        element[row, 16 - half : 17 + half] = 1
    grown = cv2.dilate(np.where(classes == 1, 255, 0).astype(np.uint8), element)
    eroded = cv2.erode(grown, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (35, 3)), iterations=2)
    cheeks = np.zeros((512, 512), np.uint8)
    cv2.rectangle(cheeks, (0, 0), (256 - 90, 512), 255, -1)
    cv2.rectangle(cheeks, (256 + 90, 0), (512, 512), 255, -1)
    wanted = (np.where(cheeks == 255, eroded, grown) == 255) | (classes == 11)
    apart = int((jaw_mask(classes) != np.where(wanted, 255, 0)).sum())
    yield Line("jaw mask", "OpenCV's rectangles", float(apart), "pixels", 0.0)


@torch.inference_mode()
def compare_stages(configs: NetConfigs, face: np.ndarray) -> Iterator[Line]:
    """Each net by itself in 16 bits against fp32, on the same input."""
    rgb = torch.from_numpy(np.ascontiguousarray(face[:, :, ::-1])).permute(2, 0, 1)[None] / 255.0
    latents, tokens = _inputs(configs, 1)
    nets = (
        ("VAE encoder", VaeEncoder, configs.vae, (masked_and_reference(rgb),)),
        (
            "Whisper encoder",
            WhisperEncoder,
            configs.whisper,
            (noise(1, configs.whisper.num_mels, 2 * configs.whisper.num_steps, seed=6),),
        ),
        ("UNet", UNet, configs.unet, (latents, tokens)),
        ("VAE decoder", VaeDecoder, configs.vae, (latents[:, :4],)),
    )
    for what, kind, config, inputs in nets:
        net = load_into(build_on_meta(kind, config), random_weights(kind, config), CPU.device, CPU.dtype)
        wanted = net(*inputs)
        for name in ("fp16", "bf16"):
            narrow = net.to(DTYPES[name])
            made = narrow(*(each.to(DTYPES[name]) for each in inputs)).float()
            error = float((made - wanted).norm() / wanted.norm())
            yield Line(f"{what}, {name}", "the same in fp32", error, "relative, norm", 0.01 if name == "fp16" else 0.1)
            net.load_state_dict(random_weights(kind, config), assign=False)
            net = net.to(CPU.dtype)


def compare_blocks(configs: NetConfigs, voice: Tensor) -> Iterator[Line]:
    """Features of other block lengths against those of the default, 2 s, with which ``render`` works."""
    state = random_weights(WhisperEncoder, configs.whisper)
    state["embed_positions.weight"] = _whisper_positions(configs.whisper.num_steps, configs.whisper.dim)
    net = load_into(build_on_meta(WhisperEncoder, configs.whisper), state, CPU.device, CPU.dtype)
    scheme = AnchoredFeatures(WhisperFeatureEncoder(net, is_version_1_0=False), Fraction(25))
    audio = (voice[: 8 * 16_000].numpy().clip(-1, 1) * 32767).astype(np.int16).repeat(3)[:, None]
    usual = extract_features(scheme, audio)
    for block_s in (0.4, 1.0, 4.0):
        made = extract_features(scheme, audio, block_s=block_s)
        errors = np.linalg.norm(made - usual, axis=1) / np.linalg.norm(usual, axis=1)
        for what, error in (("mean", errors.mean()), ("most", errors.max())):
            yield Line(f"features, blocks of {block_s:g} s", "blocks of 2 s", float(error), f"relative, {what}", None)


@torch.inference_mode()
def compare_whisper(configs: NetConfigs, voice: Tensor) -> Iterator[Line]:
    samples = voice[: 30 * 16_000]
    padded = torch.nn.functional.pad(samples, (0, 480_000 - len(samples)))
    mel = log_mel(padded, mel_filters(configs.whisper.num_mels))
    wanted_mel = references.log_mel(samples, window_s=30, num_mels=configs.whisper.num_mels)
    error = relative_error(mel, wanted_mel)
    yield Line("log-mel of speech", "transformers WhisperFeatureExtractor", error, "relative", 1e-5)
    state = random_weights(WhisperEncoder, configs.whisper)
    reference = references.whisper(configs.whisper, state)(mel[None], output_hidden_states=True)
    levels = filled(WhisperEncoder, configs.whisper, state)(mel[None])
    error = relative_error(levels, torch.stack(reference.hidden_states, dim=2))
    yield Line("Whisper, all five levels, fp32", "transformers WhisperEncoder", error, "relative", 1e-5)


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


def compare_blend() -> Iterator[Line]:
    from PIL import Image

    rng = np.random.default_rng(SEED)
    frame = rng.integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    face = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    box = Box(430, 160, 811, 600)
    crop = crop_box(box)
    mask = rng.integers(0, 256, (crop.height, crop.width), dtype=np.uint8)
    blend = JawBlend(frame, box, crop, mask)
    mine = frame.copy()
    mine[blend.region.top : blend.region.bottom, blend.region.left : blend.region.right] = blend.blend(face)
    body = Image.fromarray(frame)
    large = body.crop(tuple(crop))
    resized = cv2.resize(face, (box.width, box.height), interpolation=cv2.INTER_LINEAR)
    large.paste(Image.fromarray(resized), (box.left - crop.left, box.top - crop.top))
    body.paste(large, (crop.left, crop.top), Image.fromarray(mask))
    error = np.abs(mine.astype(int) - np.array(body)).max()
    yield Line("jaw blend, 1280 × 720", "Pillow's crop, paste and paste", float(error), "levels of 255, most", 0.0)
    frame_sized = cv2.resize(frame, (700, 700), interpolation=cv2.INTER_NEAREST)
    wanted = np.array(Image.fromarray(frame_sized).resize((512, 512), Image.Resampling.BILINEAR))
    error = np.abs(resize_bilinear(frame_sized, 512, 512).astype(int) - wanted).max()
    yield Line("face for parsing resized", "Pillow's bilinear", float(error), "levels of 255, most", 0.0)
    wanted = np.array(Image.fromarray(mask).resize((512, 512)))
    error = np.abs(resize_bicubic(mask, 512, 512).astype(int) - wanted).max()
    yield Line("mask resized", "Pillow's bicubic", float(error), "levels of 255, most", 0.0)


def compare_windows() -> Iterator[Line]:
    """The steps of each frame by upstream's rule, across one of its window boundaries, at several frame rates."""
    apart = 0
    for rate in (12, 15, 20, 24, 25, 30, 48):
        mine = selected_steps(UpstreamFeatures(IndexFeatureEncoder(), Fraction(rate)), 1900, Fraction(rate))
        apart = max(apart, int(np.abs(mine - upstream_by_hand(1900, rate, len(mine))).max()))
    yield Line("feature windows, 12 to 48 fps", "upstream's slicing, step by step", float(apart), "steps, most", 0.0)


def compare_schemes(configs: NetConfigs, voice: Tensor) -> Iterator[Line]:
    """Anchored features against upstream's whole windows: their difference, and how smooth each is at its boundaries.

    ``voice`` should last 45 s or more. Positions are Whisper's own. The other weights are random and attend to all
    steps alike, where trained ones attend to near ones, so the differences are upper bounds.
    """
    ours, theirs = _both_features(configs, voice)
    differences = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    for what, frames in (
        ("2 s of the window filled", slice(0, 50)),
        ("14 s of it filled", slice(300, 350)),
        ("26 s of it filled", slice(600, 650)),
        ("window moved by 10 s, so other positions", slice(700, None)),
    ):
        error = float(differences[frames].mean())
        yield Line(f"features, {what}", "upstream's whole window", error, "relative, mean", None)
    for who, features in (("ours", ours), ("upstream's", theirs)):
        yield from _measure_boundaries(who, features)


def compare_scheme_images(configs: NetConfigs, voice: Tensor) -> Iterator[Line]:
    """Faces generated from both schemes' features on one frame of an avatar, with random weights.

    ``voice`` as for ``compare_schemes``. Upstream's window changes at frame 750, where ours has been sliding before.
    """
    generator = FaceGenerator(random_nets("1.5", CPU, SEED, configs))
    prefix_cache = generator.build_prefix_cache(noise(1, configs.unet.in_channels, 32, 32, seed=1))
    both = _both_features(configs, voice)
    for where, frames in SCHEME_FRAMES.items():
        faces = [
            [generator.submit(prefix_cache, [0], features[frame : frame + 1]).collect().astype(int) for frame in frames]
            for features in both
        ]
        errors = np.abs(np.subtract(*faces))
        for what, error in (("mean", errors.mean()), ("most", errors.max())):
            yield Line(f"images, {where}", "upstream's whole window", float(error), f"levels of 255, {what}", None)


def _both_features(configs: NetConfigs, voice: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Ours and upstream's, float32 (frames, …)."""
    state = random_weights(WhisperEncoder, configs.whisper)
    state["embed_positions.weight"] = _whisper_positions(configs.whisper.num_steps, configs.whisper.dim)
    net = load_into(build_on_meta(WhisperEncoder, configs.whisper), state, CPU.device, CPU.dtype)
    encoder = WhisperFeatureEncoder(net, is_version_1_0=False)
    audio = (voice.numpy().clip(-1, 1) * 32767).astype(np.int16).repeat(3)[:, None]
    rate = Fraction(25)
    schemes = (AnchoredFeatures(encoder, rate), UpstreamFeatures(encoder, rate))
    ours, theirs = (extract_features(scheme, audio) for scheme in schemes)
    return ours, theirs


def _measure_boundaries(who: str, features: np.ndarray) -> Iterator[Line]:
    """The mean change of features from frame to frame at block and window boundaries, ÷ the same elsewhere."""
    changes = np.linalg.norm(np.diff(features, axis=0), axis=1)
    frames = np.arange(1, len(features))
    # Ours fade from one window into the next for 10 frames every 10 s, up to 28 s for the first time.
    is_slide = (frames > 690) & ((frames - 691) % 250 < 10) if who == "ours" else frames % 750 == 0
    is_boundary = (frames % 50 == 0) & ~is_slide
    is_usual = ~(is_boundary | is_slide)
    usual = changes[is_usual].mean()
    for what, chosen in (("2 s boundaries", is_boundary), ("where the window moves", is_slide)):
        yield Line(f"change from frame to frame, {who}", what, float(changes[chosen].mean() / usual), "× usual", None)
    for what, chosen in (("where the window moves", is_slide), ("elsewhere", is_usual)):
        yield Line(f"largest change, {who}", what, float(changes[chosen].max() / usual), "× usual", None)


def _whisper_positions(num_steps: int, dim: int) -> Tensor:
    """Sines, then cosines, as in Whisper's checkpoints."""
    rates = np.exp(-np.log(10_000) / (dim // 2 - 1) * np.arange(dim // 2))
    angles = np.arange(num_steps)[:, None] * rates
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32))


def _features_of_one(configs: NetConfigs) -> np.ndarray:
    """The tokens of ``_inputs`` without their positional encoding."""
    return noise(1, 50, configs.unet.audio_dim, seed=FEATURE_SEED).reshape(1, -1).numpy()


def _inputs(configs: NetConfigs, count: int) -> tuple[Tensor, Tensor]:
    tokens = noise(count, 50, configs.unet.audio_dim, seed=FEATURE_SEED) + positional_encoding(
        50, configs.unet.audio_dim
    )
    return noise(count, configs.unet.in_channels, 32, 32, seed=1), tokens
