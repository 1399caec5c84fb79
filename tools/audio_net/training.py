"""Fits the mouth net with PyTorch on the CPU and writes the weights the package ships."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musetalk_cli.engine.models.warp.acoustics import NUM_FEATURES
from musetalk_cli.engine.models.warp.net import FORMAT, OUTPUTS
from tools.audio_net.corpus import Shard

Log = Callable[[str], None]

# One taps tuple per block, in 20 ms steps. The look-ahead adds up to 9 steps with the entry's 2: a live stream pays it.
ENTRY_TAPS = (-2, -1, 0, 1, 2)
BLOCK_TAPS = ((-1, 0, 1), (-2, 0, 2), (-4, 0, 2), (-8, 0, 2), (-16, -8, 0))

# A closure is short and rare, and the eye notices a missed one first.
CLOSURE_WEIGHTS = (4.0, 2.5)


@dataclass(frozen=True)
class Plan:
    """How to train: net width, number of optimiser steps, crops per step and their length in 20 ms steps, peak rate."""

    channels: int = 128
    num_updates: int = 6000
    batch: int = 24
    crop_steps: int = 192
    learning_rate: float = 2e-3
    seed: int = 1


class TapConvolution(nn.Module):
    """A convolution over given taps as one linear map, so that its weights are those of the numpy net."""

    def __init__(self, taps: Sequence[int], num_in: int, num_out: int) -> None:
        super().__init__()
        self.taps = tuple(taps)
        self.linear = nn.Linear(len(self.taps) * num_in, num_out)

    def forward(self, x: Tensor) -> Tensor:
        first, last = min(self.taps), max(self.taps)
        length = x.shape[1] - (last - first)
        columns = [x[:, tap - first : tap - first + length] for tap in self.taps]
        joined: Tensor = self.linear(torch.cat(columns, dim=2) if len(columns) > 1 else columns[0])
        return joined


class TorchMouthNet(nn.Module):
    """The trainable twin of ``musetalk_cli.engine.models.warp.net.MouthNet``; answers before the final squashing."""

    def __init__(self, channels: int, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.mean, self.scale = nn.Buffer(mean), nn.Buffer(scale)
        self.entry = TapConvolution(ENTRY_TAPS, NUM_FEATURES, channels)
        self.convs = nn.ModuleList(TapConvolution(taps, channels, channels) for taps in BLOCK_TAPS)
        self.mixes = nn.ModuleList(TapConvolution((0,), channels, channels) for _ in BLOCK_TAPS)
        self.head = TapConvolution((0,), channels, len(OUTPUTS))

    @property
    def past_steps(self) -> int:
        return -sum(min(taps) for taps in (ENTRY_TAPS, *BLOCK_TAPS))

    @property
    def future_steps(self) -> int:
        return sum(max(taps) for taps in (ENTRY_TAPS, *BLOCK_TAPS))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, n, 80) → (batch, n − past − future, 5)."""
        x = torch.relu(self.entry((features - self.mean) * self.scale))
        for conv, mix in zip(self.convs, self.mixes, strict=True):
            assert isinstance(conv, TapConvolution)
            y = mix(torch.relu(conv(x)))
            skip = -min(conv.taps)
            x = x[:, skip : skip + y.shape[1]] + y
        raw: Tensor = self.head(x)
        return raw


def train(shards: Sequence[Shard], plan: Plan, log: Log) -> TorchMouthNet:
    """Fit a net; deterministic for given shards, plan and number of threads."""
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    features = np.concatenate([shard.features for shard in shards])
    mouths = np.concatenate([shard.mouths for shard in shards])
    sample = features[:: max(1, len(features) // 100_000)].astype(np.float32)
    net = TorchMouthNet(
        plan.channels, torch.from_numpy(sample.mean(axis=0)), torch.from_numpy(1.0 / (sample.std(axis=0) + 1e-3))
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=plan.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, plan.num_updates))
    started_s, running = time.perf_counter(), 0.0
    for update, (x, y) in enumerate(_batches(features, mouths, net, plan, rng), start=1):
        loss = mouth_loss(net(x), y)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        running += loss.item()
        if update % 250 == 0:
            log(f"| {update} | {running / 250:.4f} | {time.perf_counter() - started_s:.0f} |")
            running = 0.0
    return net


def mouth_loss(raw: Tensor, target: Tensor) -> Tensor:
    """Squared error of gap, jaw, width and of the gap after closures; cross-entropy of the closures."""
    gap, jaw, width = torch.sigmoid(raw[..., 0]), torch.sigmoid(raw[..., 1]), torch.tanh(raw[..., 2])
    shut, bite = torch.sigmoid(raw[..., 3]), torch.sigmoid(raw[..., 4])
    final = gap * (1.0 - shut) * (1.0 - 0.75 * bite)
    wanted = target[..., 0] * (1.0 - target[..., 3]) * (1.0 - 0.75 * target[..., 4])
    entropy = nn.functional.binary_cross_entropy_with_logits(
        raw[..., 3:], target[..., 3:], pos_weight=raw.new_tensor(CLOSURE_WEIGHTS)
    )
    error = (
        (gap - target[..., 0]).square().mean()
        + 0.7 * (jaw - target[..., 1]).square().mean()
        + 0.7 * (width - target[..., 2]).square().mean()
        + 1.5 * (final - wanted).square().mean()
    )
    return error + 0.2 * entropy


def export(net: TorchMouthNet, path: Path) -> int:
    """Write the weights as float16 npz (no pickle) and return the file's size in bytes."""
    arrays: dict[str, NDArray[np.generic]] = {
        "format": np.array(FORMAT, np.int32),
        "num_blocks": np.array(len(BLOCK_TAPS), np.int32),
        "mean": net.mean.numpy().astype(np.float32),
        "scale": net.scale.numpy().astype(np.float32),
    }
    named = [("entry", net.entry), ("head", net.head)]
    for i, (conv, mix) in enumerate(zip(net.convs, net.mixes, strict=True)):
        named += [(f"block{i}.conv", conv), (f"block{i}.mix", mix)]  # type: ignore[list-item]
    for name, layer in named:
        arrays[f"{name}.taps"] = np.array(layer.taps, np.int32)
        arrays[f"{name}.weight"] = layer.linear.weight.detach().numpy().T.astype(np.float16)
        arrays[f"{name}.bias"] = layer.linear.bias.detach().numpy().astype(np.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return path.stat().st_size


def _rate(step: int, num_updates: int) -> float:
    """Warm up over 100 steps, then a half cosine down to 2 %."""
    warm = min(1.0, (step + 1) / 100.0)
    return warm * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / num_updates))))


def _batches(
    features: NDArray[np.float16], mouths: NDArray[np.float16], net: TorchMouthNet, plan: Plan, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Random crops; one may run across two takes, which the net should bear anyway."""
    past, length = net.past_steps, net.past_steps + plan.crop_steps + net.future_steps
    for _ in range(plan.num_updates):
        starts = rng.integers(0, len(features) - length, plan.batch)
        x = np.stack([features[s : s + length] for s in starts]).astype(np.float32)
        y = np.stack([mouths[s + past : s + past + plan.crop_steps] for s in starts]).astype(np.float32)
        yield torch.from_numpy(_jitter(x, rng)), torch.from_numpy(y)


def _jitter(x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Shift each crop's level reference by a few dB: after a click or at a stream's start it is off, too."""
    offset = rng.normal(0.0, 0.05, (len(x), 1, 1)).astype(np.float32)
    return np.where(x > 0.0, np.maximum(x + offset, 0.0), 0.0).astype(np.float32)
