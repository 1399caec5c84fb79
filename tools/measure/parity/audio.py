"""The comparisons of what becomes of audio: samples, counts, log-mel, Whisper, the features of each frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import soxr
import torch
from torch import Tensor

from fixtures import references
from fixtures.feature_windows import (
    IndexFeatureEncoder,
    extract_features,
    first_version_by_hand,
    selected_steps,
    upstream_by_hand,
)
from musetalk_cli.engine.audio.blocks import BlockCutter
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
from musetalk_cli.engine.models.musetalk.checkpoints.loading import NetConfigs
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperEncoder
from musetalk_cli.engine.types.audio import LONG_LOW_PASS
from musetalk_cli.engine.types.messages import AudioBlock, WholeVoice
from tools.measure.parity.lines import (
    SEED,
    Line,
    StateDict,
    filled,
    random_weights,
    random_whisper,
    relative_error,
    to_stream,
)

RATE_HZ = 16_000
WINDOW_S = 30
RATES = (25, 30, 50)  # frames per second


def compare_samples(voice: Tensor) -> Iterator[Line]:
    """What features are made of: log-mel of the default's samples and of ``--compat``'s, against soxr's."""
    for rate_hz in (48_000, 44_100):
        source = _resample_up(0.9 * voice[: 30 * RATE_HZ].numpy(), rate_hz)
        source += np.random.default_rng(SEED).normal(0, 1e-4, len(source)).astype(np.float32)  # up to all bands
        wanted = soxr.resample(source, rate_hz, RATE_HZ, quality="soxr_hq")
        error = np.abs(resample_as_librosa(source, rate_hz)[: len(wanted)] - wanted).max()
        yield Line(f"samples of {rate_hz} Hz, --compat", "librosa's soxr_hq", float(error), "most", 0.0)
        resampler, decimator = Resampler(rate_hz, 1), Decimator(LONG_LOW_PASS)
        made = np.concatenate([decimator.push(resampler.push(source[:, None])), decimator.finish()])
        yield from _compare_bands(f"log-mel of {rate_hz} Hz", made, wanted, 0.01)
    wanted = voice[: 30 * RATE_HZ].numpy()
    decimator = Decimator(LONG_LOW_PASS)
    source = np.asarray(Resampler(RATE_HZ, 1).push(wanted[:, None]))
    made = np.concatenate([decimator.push(source), decimator.finish()])
    yield from _compare_bands("log-mel of 16000 Hz", made, wanted, None, "librosa's samples")


def _compare_bands(
    what: str, made: np.ndarray, wanted: np.ndarray, limit: float | None, against: str = "librosa's soxr_hq"
) -> Iterator[Line]:
    length = min(len(made), len(wanted)) // 160 * 160
    filters = mel_filters(80)
    mine, theirs = (log_mel(torch.from_numpy(each[:length].copy()), filters) for each in (made, wanted))
    errors = (mine - theirs).abs()[:, 3:-3]
    for bands, part in (("0–69", errors[:70]), ("70–79", errors[70:])):
        yield Line(f"{what}, bands {bands}", against, float(part.mean()), "mean", limit)
        yield Line(f"{what}, bands {bands}", against, float(part.max()), "most", None)


def compare_counts() -> Iterator[Line]:
    """Steps and frames of all 3,000 whole-step lengths up to a minute, by the script's own expressions."""
    apart = lost = 0
    for num_steps in range(1, 3001):
        samples = num_steps * 320
        block = AudioBlock(0, np.zeros(0, np.float32), 0.0, np.zeros((0, 1), np.int16), 0, range(1), samples * 3)
        theirs = math.floor((samples / 16000) * 50)
        apart += count_upstream_steps(block) != theirs
        for rate in RATES:
            apart += count_upstream_frames(samples, Fraction(rate)) != math.floor((samples / 16000) * rate)
        lost += count_steps(block) != theirs
    what = "steps, and frames at 25, 30 and 50 fps, of 3,000 lengths, --compat"
    yield Line(what, "upstream's floating point", float(apart), "lengths", 0.0)
    yield Line("steps of 3,000 lengths, default", "upstream's floating point", float(lost), "lengths", None)


@torch.inference_mode()
def compare_whisper(configs: NetConfigs, voice: Tensor) -> Iterator[Line]:
    samples = voice[: WINDOW_S * RATE_HZ]
    padded = torch.nn.functional.pad(samples, (0, WINDOW_S * RATE_HZ - len(samples)))
    mel = log_mel(padded, mel_filters(configs.whisper.num_mels))
    wanted_mel = references.log_mel(samples, window_s=WINDOW_S, num_mels=configs.whisper.num_mels)
    error = relative_error(mel, wanted_mel)
    yield Line("log-mel of speech", "transformers WhisperFeatureExtractor", error, "relative", 1e-5)
    state = random_weights(WhisperEncoder, configs.whisper)
    levels = filled(WhisperEncoder, configs.whisper, state)(mel[None])
    error = relative_error(levels, _reference_levels(configs, state, mel))
    yield Line("Whisper, all five levels, fp32", "transformers WhisperEncoder", error, "relative", 1e-5)


def compare_windows() -> Iterator[Line]:
    """The steps of each frame by upstream's rule, across one of its window boundaries, at several frame rates."""
    for what, against, rates in (
        ("12 to 48 fps", "upstream's slicing, step by step", (12, 15, 20, 24, 25, 30, 48)),
        ("50 and 60 fps", "the same, with zeros where it ends with an error", (50, 60)),
    ):
        apart = 0
        for rate in rates:
            mine = selected_steps(UpstreamFeatures(IndexFeatureEncoder(), Fraction(rate)), 1900, Fraction(rate))
            apart = max(apart, int(np.abs(mine - upstream_by_hand(1900, rate, len(mine))).max()))
        yield Line(f"feature windows, {what}", against, float(apart), "steps, most", 0.0)


def compare_minute(configs: NetConfigs, voice: Tensor) -> Iterator[Line]:
    """The features of up to a minute from a file at 44.1 kHz with ``--compat``, against transformers' on librosa's
    samples, sliced by hand."""
    source = _resample_up(0.9 * voice[: 60 * RATE_HZ].numpy(), 44_100)
    net, state = random_whisper(configs)
    wanted = torch.from_numpy(soxr.resample(source, 44_100, RATE_HZ, quality="soxr_hq"))
    levels = _levels_of_file(configs, state, wanted)[: math.floor(len(wanted) / RATE_HZ * 50)]
    samples = resample_as_librosa(source, 44_100)
    for rate in RATES:
        scheme = UpstreamFeatures(WhisperFeatureEncoder(net, is_version_1_0=False), Fraction(rate))
        mine = _features_of_file(scheme, samples, Fraction(rate))
        steps = upstream_by_hand(len(levels), rate, len(mine))
        theirs = np.where((steps < 0)[:, :, None, None], 0, levels[steps]).reshape(len(mine), -1)
        error = float(np.abs(mine - theirs).max() / np.abs(theirs).max())
        what = f"features of a file of {len(samples) / RATE_HZ:.0f} s, {rate} fps, --compat"
        yield Line(what, "transformers on librosa's samples, sliced by hand", error, "relative", 1e-5)


def compare_first_version(configs: NetConfigs, voice: Tensor) -> Iterator[Line]:
    """MuseTalk 1.0 as it was trained, in one window: its zeros behind the file's log-mel, Whisper's last level without
    its norm, and its steps, which repeat the nearest one at the ends."""
    samples = voice[: 20 * RATE_HZ]
    net, state = random_whisper(configs)
    mel = references.log_mel(samples, window_s=None, num_mels=configs.whisper.num_mels)
    mel = torch.nn.functional.pad(mel, (0, 2 * configs.whisper.num_steps - mel.shape[1]))
    wanted = _reference_levels(configs, state, mel, has_final_norm=False)[0]
    mine = WhisperFeatureEncoder(net, is_version_1_0=True).encode(samples.numpy())
    error = relative_error(torch.from_numpy(mine), wanted)
    yield Line("Whisper of 1.0, not normalised", "transformers without its last norm", error, "relative", 1e-5)
    apart = 0
    for rate in RATES:
        encoder = IndexFeatureEncoder()
        encoder.clamps_ends = True
        steps = selected_steps(AnchoredFeatures(encoder, Fraction(rate)), 1300, Fraction(rate))
        apart = max(apart, int(np.abs(steps - first_version_by_hand(1300, rate, len(steps))).max()))
    yield Line("feature windows of 1.0, 25, 30 and 50 fps", "its slicing, step by step", float(apart), "steps, most", 0)


def compare_blocks(configs: NetConfigs, voice: Tensor) -> Iterator[Line]:
    """Features of other block lengths against those of the default, 2 s, with which ``render`` works."""
    net, _ = random_whisper(configs)
    scheme = AnchoredFeatures(WhisperFeatureEncoder(net, is_version_1_0=False), Fraction(25))
    audio = to_stream(voice[: 8 * RATE_HZ])
    usual = extract_features(scheme, audio)
    for block_s in (0.4, 1.0, 4.0):
        made = extract_features(scheme, audio, block_s=block_s)
        errors = np.linalg.norm(made - usual, axis=1) / np.linalg.norm(usual, axis=1)
        for what, error in (("mean", errors.mean()), ("most", errors.max())):
            yield Line(f"features, blocks of {block_s:g} s", "blocks of 2 s", float(error), f"relative, {what}", None)


def compare_schemes(configs: NetConfigs, voice: Tensor) -> Iterator[Line]:
    """Anchored features against upstream's whole windows: their difference, and how smooth each is at its boundaries.

    ``voice`` should last 45 s or more. Positions are Whisper's own. The other weights are random and attend to all
    steps alike, where trained ones attend to near ones, so the differences are upper bounds.
    """
    ours, theirs = both_features(configs, voice)
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


def both_features(configs: NetConfigs, voice: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Ours and upstream's, float32 (frames, …)."""
    encoder = WhisperFeatureEncoder(random_whisper(configs)[0], is_version_1_0=False)
    rate = Fraction(25)
    schemes = (AnchoredFeatures(encoder, rate), UpstreamFeatures(encoder, rate))
    ours, theirs = (extract_features(scheme, to_stream(voice)) for scheme in schemes)
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


def _resample_up(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    return np.asarray(soxr.resample(samples, RATE_HZ, rate_hz, quality="soxr_hq"), np.float32)


@torch.inference_mode()
def _reference_levels(configs: NetConfigs, state: StateDict, mel: Tensor, *, has_final_norm: bool = True) -> Tensor:
    """transformers' hidden states of a log-mel window: (1, steps, levels, dim)."""
    net = references.whisper(configs.whisper, state)
    if not has_final_norm:
        net.layer_norm = torch.nn.Identity()
    return torch.stack(net(mel[None], output_hidden_states=True).hidden_states, dim=2)


def _levels_of_file(configs: NetConfigs, state: StateDict, samples: Tensor) -> np.ndarray:
    """The hidden states of adjacent windows of 30 s, float32 (steps, levels, dim)."""
    mels = [
        references.log_mel(window, window_s=WINDOW_S, num_mels=configs.whisper.num_mels)
        for window in samples.split(WINDOW_S * RATE_HZ)
    ]
    return np.concatenate([_reference_levels(configs, state, mel)[0].numpy() for mel in mels])


def _features_of_file(scheme: UpstreamFeatures, samples: np.ndarray, rate: Fraction) -> np.ndarray:
    """As ``render --compat upstream`` makes them of a file's samples."""
    voice = WholeVoice(samples, count_upstream_frames(len(samples), rate))
    cutter = BlockCutter(2.0, scheme.before_s, scheme.after_s, rate, voice=voice)
    audio = np.zeros((3 * len(samples), 1), np.int16)
    blocks: Sequence[AudioBlock] = [*cutter.push(audio), *cutter.finish()]
    return np.concatenate([scheme.features(block) for block in blocks])
