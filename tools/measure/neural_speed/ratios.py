"""One frame of ours against diffusers' eager nets with the same weights, alternating in one process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from musetalk_cli.engine.models.musetalk.audio.windows import STEPS_PER_FRAME
from musetalk_cli.engine.models.musetalk.checkpoints.loading import (
    LATENT_PX,
    NetConfigs,
    Nets,
    Precision,
    assemble,
    build_on_meta,
    random_nets,
)
from musetalk_cli.engine.models.musetalk.checkpoints.random_weights import random_state_dict
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator
from musetalk_cli.engine.models.musetalk.nets.unet import UNet, positional_encoding
from musetalk_cli.engine.models.musetalk.nets.vae import SCALE, VaeDecoder, VaeEncoder, to_bgr
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperEncoder

SEED = 1
HEAD = (
    "| precision, ours | diffusers, s/frame | ours, s/frame | ratio | goal | levels apart, mean · most | ready, s |\n"
    "|---|---|---|---|---|---|---|"
)


@dataclass
class Turns:
    """CPU seconds of each call, ours and theirs."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median of the turns' ratios: what slows both down cancels out."""
        return statistics.median(mine / other for mine, other in zip(self.ours, self.theirs, strict=True))


class Result(NamedTuple):
    what: str
    turns: Turns
    goal: float | None
    mean_levels: float
    most_levels: int
    ready_s: float


def compare(configs: NetConfigs, dtype: torch.dtype, repeats: int, *, is_compiled: bool, goal: float | None) -> Result:
    """Take ``repeats`` turns of one frame each, in CPU seconds of this process, after a warm-up of both.

    Args:
        configs: sizes of the nets.
        dtype: precision of both.
        repeats: number of turns.
        is_compiled: ours with torch.compile.
        goal: the ratio to reach, None without one.
    """
    ours, theirs = make_both(configs, dtype)
    generator = FaceGenerator(ours, is_compiled=is_compiled)
    latents, features = inputs(configs)
    prefix_cache = generator.build_prefix_cache(latents)
    started = time.perf_counter()
    generator.warm_up(prefix_cache, generator.sizes_up_to(1))
    generate = _make_call(generator, prefix_cache, features)
    mine = generate()
    ready_s = time.perf_counter() - started
    reference = _reference(theirs, latents.to(dtype), features, configs)
    levels = np.abs(mine.astype(int) - to_bgr(reference()).numpy())
    turns = Turns()
    for _ in range(repeats):
        turns.ours.append(cpu_seconds(generate))
        turns.theirs.append(cpu_seconds(reference))
    what = f"{str(dtype).removeprefix('torch.')}, {'compiled' if is_compiled else 'eager'}"
    return Result(what, turns, goal, float(levels.mean()), int(levels.max()), ready_s)


def compare_precisions(configs: NetConfigs, repeats: int) -> str:
    """A table of our nets in fp32 and in bf16, both eager, taking turns of one frame each."""
    latents, features = inputs(configs)
    calls = {}
    for dtype in (torch.float32, torch.bfloat16):
        generator = FaceGenerator(random_nets("1.5", Precision(torch.device("cpu"), dtype), SEED, configs))
        prefix_cache = generator.build_prefix_cache(latents)
        generator.warm_up(prefix_cache, generator.sizes_up_to(1))
        calls[dtype] = _make_call(generator, prefix_cache, features)
    exact, short = (call().astype(int) for call in calls.values())
    turns = Turns()
    for _ in range(repeats):
        turns.theirs.append(cpu_seconds(calls[torch.float32]))
        turns.ours.append(cpu_seconds(calls[torch.bfloat16]))
    levels = np.abs(short - exact)
    fp32_s, bf16_s = statistics.median(turns.theirs), statistics.median(turns.ours)
    return (
        "| float32, s/frame | bfloat16, s/frame | ratio | levels apart, mean · most |\n|---|---|---|---|\n"
        f"| {fp32_s:.2f} | {bf16_s:.2f} | {turns.ratio:.2f} | {levels.mean():.2f} · {levels.max()} |"
    )


def describe(result: Result) -> str:
    theirs, ours = (statistics.median(each) for each in (result.turns.theirs, result.turns.ours))
    apart = f"{result.mean_levels:.3f} · {result.most_levels}"
    goal = "" if result.goal is None else f"≤ {result.goal:.2f}"
    times = f"{theirs:.2f} | {ours:.2f} | {result.turns.ratio:.2f}"
    return f"| {result.what} | {times} | {goal} | {apart} | {result.ready_s:.0f} |"


def make_both(configs: NetConfigs, dtype: torch.dtype) -> tuple[Nets, tuple[Any, Any]]:
    """Our nets, and diffusers' UNet and VAE, with the same random weights."""
    from fixtures import references

    unet = random_state_dict(build_on_meta(UNet, configs.unet), SEED)
    vae = random_state_dict(build_on_meta(VaeDecoder, configs.vae), SEED)
    whisper = random_state_dict(build_on_meta(WhisperEncoder, configs.whisper), SEED)
    ours = assemble("1.5", configs, Precision(torch.device("cpu"), dtype), unet, vae, whisper)
    unet = {name: unet.pop(name).to(dtype) for name in list(unet)}
    encoder = random_state_dict(build_on_meta(VaeEncoder, configs.vae), SEED)
    vae = {name: tensor.to(dtype) for name, tensor in (vae | encoder).items()}
    theirs = references.unet(configs.unet, unet), references.vae(configs.vae, vae)
    gc.collect()
    return ours, theirs


def inputs(configs: NetConfigs) -> tuple[Tensor, np.ndarray]:
    """One avatar frame's latents and one frame's features."""
    rng = torch.Generator().manual_seed(SEED)
    latents = torch.randn(1, configs.unet.in_channels, LATENT_PX, LATENT_PX, generator=rng)
    features = torch.randn(1, num_tokens(configs) * configs.unet.audio_dim, generator=rng)
    return latents, features.numpy()


def num_tokens(configs: NetConfigs) -> int:
    return STEPS_PER_FRAME * configs.whisper.num_levels


def cpu_seconds(call: Callable[[], object]) -> float:
    """Of one call, on all of this process's threads."""
    started = time.process_time()
    call()
    return time.process_time() - started


def _make_call(generator: FaceGenerator, prefix_cache: Any, features: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: generator.submit(prefix_cache, [0], features).collect()


def _reference(theirs: tuple[Any, Any], latents: Tensor, features: np.ndarray, configs: NetConfigs) -> Any:
    unet, vae = theirs
    dim = configs.unet.audio_dim
    tokens = torch.from_numpy(features).view(1, -1, dim).to(latents.dtype)
    tokens = tokens + positional_encoding(tokens.shape[1], dim).to(latents.dtype)
    zero = torch.tensor([0])

    @torch.inference_mode()
    def call() -> Tensor:
        latent = unet(latents, zero, encoder_hidden_states=tokens).sample
        images: Tensor = vae.decode(latent / SCALE).sample
        return images

    return call
