"""Measures upsamplings, faces per second of each way to call the nets, threads, a block, the start, and memory."""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musetalk_cli.benchmark.measurements.peak_flops import frames_per_second, measure_tflops
from musetalk_cli.engine.models.musetalk.audio.windows import STEPS_PER_FRAME
from musetalk_cli.engine.models.musetalk.checkpoints.loading import (
    LATENT_PX,
    Nets,
    Precision,
    build_on_meta,
    random_nets,
)
from musetalk_cli.engine.models.musetalk.checkpoints.random_weights import random_state_dict
from musetalk_cli.engine.models.musetalk.checkpoints.weight_files import load_into
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator
from musetalk_cli.engine.models.musetalk.nets.layers import PhaseUpsample, Upsample
from musetalk_cli.engine.models.musetalk.nets.unet import UNet
from musetalk_cli.engine.models.musetalk.nets.vae import SCALE, VaeDecoder, VaeEncoder, to_bgr
from tools.measure.gpu_check.machine import Machine

SEED = 1
SPEED_HEAD = "| | batch | faces/s | ms/face | of peak | peak, GiB |\n|---|---|---|---|---|---|"


def compare_upsamplings(machine: Machine, dtype: torch.dtype) -> str:
    """Upsample against PhaseUpsample, for every shape of the decoder and the UNet."""
    vae, unet = machine.configs.vae.dims[:0:-1], machine.configs.unet.dims[:0:-1]
    shapes = [("decoder", dim, LATENT_PX << level) for level, dim in enumerate(vae)]
    shapes += [("UNet", dim, LATENT_PX >> (len(unet) - level)) for level, dim in enumerate(unet)]
    rows = []
    for net, dim, height in shapes:
        x = torch.randn(machine.batches[-1], dim, height, height, device=machine.device).to(dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        times = [machine.seconds(_Call(_on_device(kind(dim), machine, dtype), x)) for kind in (Upsample, PhaseUpsample)]
        plain, phases = (seconds * 1e3 for seconds in times)
        rows.append(f"| {net} | {dim} × {height}² | {plain:.3f} | {phases:.3f} | {plain / phases:.2f} × |")
    head = f"| batch {machine.batches[-1]} | shape | plain, ms | four phases, ms | phases are |\n|---|---|---|---|---|"
    return "\n".join([head, *rows])


def compare_calls(machine: Machine, nets: Nets, dtype: torch.dtype) -> Iterator[str]:
    """Faces per second of the nets as published and of ours, with and without CUDA graphs."""
    peak_flops = measure_tflops(Precision(machine.device, dtype))
    name = str(dtype).removeprefix("torch.")
    yield f"{name}: a large matrix product reaches {peak_flops:.3g} TFLOP/s.\n\n{SPEED_HEAD}"
    machine.peak_gib()  # reset, without the matrices
    for name, published in _published_nets(machine, dtype):
        for batch in machine.batches:
            yield _speed_row(name, batch, machine, _call_published(machine, batch, dtype, *published), peak_flops)
    eager = FaceGenerator(nets)
    for batch in machine.batches:
        yield _speed_row("ours, eager", batch, machine, _make_call(machine, eager, batch), peak_flops)
    warm = FaceGenerator(nets)
    for batch in machine.batches:
        warm.warm_up(_build_prefix_cache(machine, warm, batch), [batch])
        yield _speed_row("ours, CUDA graphs", batch, machine, _make_call(machine, warm, batch), peak_flops)


def measure_compiled(machine: Machine, nets: Nets, dtype: torch.dtype) -> Iterator[str]:
    """Ours with torch.compile, with and without CUDA graphs, and the duration of compilation and capture."""
    peak_flops, batch = measure_tflops(Precision(machine.device, dtype)), min(8, machine.batches[-1])
    machine.peak_gib()  # reset, without the matrices
    yield SPEED_HEAD
    generator = FaceGenerator(nets, is_compiled=True)
    generate = _make_call(machine, generator, batch)
    compile_s = _time(generate)
    yield _speed_row(f"ours, compiled in {compile_s:.0f} s", batch, machine, generate, peak_flops)
    prefix_cache = _build_prefix_cache(machine, generator, batch)
    capture_s = _time(lambda: generator.warm_up(prefix_cache, [batch]))
    yield _speed_row(f"ours, compiled, captured in {capture_s:.0f} s", batch, machine, generate, peak_flops)


def compare_threads(machine: Machine, nets: Nets) -> str:
    """Batches of 8 or less, submitted by one thread and by several, each waiting for its own."""
    batch = min(8, machine.batches[-1])
    generator = FaceGenerator(nets)
    generator.warm_up(_build_prefix_cache(machine, generator, batch), [batch])
    call = _make_call(machine, generator, batch)
    call()
    count = 4 * machine.repeats
    rows = []
    for num_threads in (1, 2, 4):
        with ThreadPoolExecutor(num_threads) as pool:
            started = time.perf_counter()
            list(pool.map(lambda _: call(), range(count)))
            rows.append(f"| {num_threads} | {count * batch / (time.perf_counter() - started):.1f} |")
    return "\n".join(["| threads | faces/s |\n|---|---|", *rows])


def measure_start_and_block(machine: Machine, dtype: torch.dtype) -> tuple[Nets, str]:
    """Time to the first face, with and without a warm-up; then a block of 2 s, its audio included."""
    started = time.perf_counter()
    nets = random_nets("1.5", Precision(machine.device, dtype), SEED, machine.configs)
    machine.wait()
    loaded_s = time.perf_counter() - started
    first_s = _time(_make_call(machine, FaceGenerator(nets), 1))
    generator = FaceGenerator(nets)
    prefix_cache = _build_prefix_cache(machine, generator, 1)
    warm_up_s = _time(lambda: generator.warm_up(prefix_cache, generator.sizes_up_to(8)))
    warm_first_s = _time(_make_call(machine, generator, 1))
    rows = [
        f"| random weights generated and loaded | {loaded_s:.2f} s |",
        f"| first face, without warm-up | {first_s * 1e3:.0f} ms |",
        f"| warm-up for batches of up to 8 | {warm_up_s:.2f} s |",
        f"| first face after that | {warm_first_s * 1e3:.1f} ms |",
    ]
    for name in ("first", "second"):
        first_ms, last_ms = (1e3 * seconds for seconds in _time_block(machine, nets, generator))
        rows.append(
            f"| {name} block of 2 s: Whisper, then its first faces, its last | {first_ms:.0f}, {last_ms:.0f} ms |"
        )
    rows.append(f"| peak memory of tensors so far | {machine.peak_gib():.2f} GiB |")
    return nets, "\n".join(["| | |\n|---|---|", *rows])


def _call_published(machine: Machine, batch: int, dtype: torch.dtype, unet: Any, decode: Any) -> Callable[[], object]:
    configs = machine.configs
    latents = torch.randn(batch, configs.unet.in_channels, LATENT_PX, LATENT_PX, device=machine.device).to(dtype)
    tokens = torch.randn(batch, _num_tokens(machine), configs.unet.audio_dim, device=machine.device).to(dtype)

    @torch.inference_mode()
    def call() -> Tensor:
        return to_bgr(decode(unet(latents, tokens))).cpu()

    return call


def _published_nets(machine: Machine, dtype: torch.dtype) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """UNet and decoder as published: ours unfolded, and diffusers' where it is installed."""
    configs = machine.configs
    unet_state = random_state_dict(build_on_meta(UNet, configs.unet), SEED)
    vae_state = random_state_dict(build_on_meta(VaeDecoder, configs.vae), SEED)
    unet = load_into(build_on_meta(UNet, configs.unet), dict(unet_state), machine.device, dtype)
    decoder = load_into(build_on_meta(VaeDecoder, configs.vae), dict(vae_state), machine.device, dtype)
    yield "as published, eager", (unet, decoder)
    if importlib.util.find_spec("diffusers") is None:
        return
    from fixtures import references

    vae_state |= random_state_dict(build_on_meta(VaeEncoder, configs.vae), SEED)
    unet_state, vae_state = (
        {key: value.to(machine.device, dtype) for key, value in state.items()} for state in (unet_state, vae_state)
    )
    theirs, vae = references.unet(configs.unet, unet_state), references.vae(configs.vae, vae_state)
    zero = torch.tensor([0], device=machine.device)
    yield (
        "diffusers, eager",
        (lambda x, audio: theirs(x, zero, encoder_hidden_states=audio).sample, lambda x: vae.decode(x / SCALE).sample),
    )


def _speed_row(name: str, batch: int, machine: Machine, call: Callable[[], object], peak_flops: float) -> str:
    rate = batch / machine.seconds(call)
    share = rate / frames_per_second(peak_flops)
    shown = f"{share:.0%}" if machine.device.type == "cuda" else ""
    return f"| {name} | {batch} | {rate:.1f} | {1e3 / rate:.2f} | {shown} | {machine.peak_gib():.2f} |"


def _make_call(machine: Machine, generator: FaceGenerator, batch: int) -> Callable[[], object]:
    """A call that generates a batch on as many avatar frames, from features on the host to bytes on the host."""
    prefix_cache, features = _build_prefix_cache(machine, generator, batch), _features(machine, batch)
    return lambda: generator.submit(prefix_cache, range(batch), features).collect()


def _build_prefix_cache(machine: Machine, generator: FaceGenerator, count: int) -> Any:
    rng = torch.Generator().manual_seed(SEED)
    shape = (count, machine.configs.unet.in_channels, LATENT_PX, LATENT_PX)
    return generator.build_prefix_cache(torch.randn(shape, generator=rng))


def _features(machine: Machine, count: int) -> np.ndarray:
    rng = torch.Generator().manual_seed(SEED)
    return torch.randn(count, _num_tokens(machine) * machine.configs.unet.audio_dim, generator=rng).numpy()


def _num_tokens(machine: Machine) -> int:
    return STEPS_PER_FRAME * machine.configs.whisper.num_levels


def _time_block(machine: Machine, nets: Nets, generator: FaceGenerator) -> tuple[float, float]:
    """Seconds from a block's log-mel spectrogram, a whole window, to its first and to its last faces."""
    whisper = machine.configs.whisper
    mel = torch.randn(1, whisper.num_mels, 2 * whisper.num_steps, device=machine.device)
    prefix_cache, features = _build_prefix_cache(machine, generator, 8), _features(machine, max(machine.block))
    started = time.perf_counter()
    with torch.inference_mode():
        nets.whisper(mel.to(nets.unet.conv_in.weight.dtype)).float().cpu()
    pending = [generator.submit(prefix_cache, range(count), features[:count]) for count in machine.block]
    pending[0].collect()
    first_s = time.perf_counter() - started
    for each in pending[1:]:
        each.collect()
    return first_s, time.perf_counter() - started


def _on_device(layer: Any, machine: Machine, dtype: torch.dtype) -> Any:
    state = layer.state_dict()
    return load_into(layer, state, machine.device, dtype)


def _time(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


@dataclasses.dataclass(frozen=True)
class _Call:
    layer: Any
    x: Tensor

    @torch.inference_mode()
    def __call__(self) -> None:
        self.layer(self.x)
