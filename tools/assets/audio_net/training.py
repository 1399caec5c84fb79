"""Shards of the corpus → trained mouth net and its npz file; PyTorch on the CPU."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musetalk_cli.engine.models.warp.audio.log_mel import HOPS_PER_STEP, NUM_BANDS, NUM_FEATURES
from musetalk_cli.engine.models.warp.audio.mouth_net import FORMAT, OUTPUTS
from musetalk_cli.engine.models.warp.audio.mouth_shapes import LEAST_OPEN, NEIGHBOUR_WEIGHTS, GapMap
from tools.assets.audio_net.corpus import CLOSURE, VOWEL, Shard

Log = Callable[[str], None]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

# Tap offsets of each block, in 20 ms steps. With the entry's 2, the look-ahead is 11 steps; a live stream waits for it,
# and for the frame that is smoothed with. (Until 2026-11-26 it was 13 steps, two taps being 4 instead of 3.)
ENTRY_TAPS = (-2, -1, 0, 1, 2)
BLOCK_TAPS = ((-1, 0, 1), (-2, 0, 2), (-4, 0, 3), (-8, 0, 3), (-16, -8, 0), (-32, -16, 0))

# Positive weights of P and F in the cross-entropy: a closure is short and rare, and a missed one is the most visible.
CLOSURE_WEIGHTS = (4.0, 2.5)
# Gaps below which a closure and above which a vowel costs nothing, and the weights of the remainders in the loss.
_SHUT_GAP, _SHUT_WEIGHT = 0.06, 0.8
_OPEN_GAP, _OPEN_WEIGHT = 0.18, 1.0
_TONGUE_WEIGHT = 1.0
# Weight of errors of the shown gap's second difference from frame to frame: flicker that the speaker does not have.
_FLICKER_WEIGHT = 0.5


@dataclass(frozen=True)
class Plan:
    """Hyperparameters: ``batch`` crops of ``crop_steps`` 20 ms steps an update, ``learning_rate`` at its peak."""

    channels: int = 128
    num_updates: int = 6500
    batch: int = 16
    crop_steps: int = 288
    learning_rate: float = 2e-3
    seed: int = 1


class TapConvolution(nn.Module):
    """A dilated convolution as one linear layer, whose weights are laid out as those of the numpy net."""

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
    """``models.warp.audio.mouth_net.MouthNet`` in PyTorch; its output are the logits, before sigmoid and tanh."""

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
        """(batch, n, 80) → (batch, n − past − future, 6)."""
        x = torch.relu(self.entry((features - self.mean) * self.scale))
        for conv, mix in zip(self.convs, self.mixes, strict=True):
            assert isinstance(conv, TapConvolution)
            y = mix(torch.relu(conv(x)))
            skip = -min(conv.taps)
            x = x[:, skip : skip + y.shape[1]] + y
        raw: Tensor = self.head(x)
        return raw


def train(shards: Sequence[Shard], plan: Plan, log: Log) -> TorchMouthNet:
    """Train a net; deterministic for given shards, plan and number of threads."""
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    features = np.concatenate([shard.features for shard in shards])
    mouths = np.concatenate([shard.mouths for shard in shards])
    events = np.concatenate([shard.events for shard in shards])
    sample = features[:: max(1, len(features) // 100_000)].astype(np.float32)
    net = TorchMouthNet(
        plan.channels, torch.from_numpy(sample.mean(axis=0)), torch.from_numpy(1.0 / (sample.std(axis=0) + 1e-3))
    )
    batches = _batches((features, mouths, events), net, plan, rng)
    run_updates(net, batches, Schedule(plan.learning_rate, plan.num_updates), log)
    return net


def mouth_loss(raw: Tensor, target: Tensor, events: Tensor) -> Tensor:
    """Loss: squared errors of gap, jaw, width, tongue and shown gap, cross-entropy of closures, penalties.

    ``raw`` and ``target`` (batch, n, 6), ``events`` int8 (batch, n).
    """
    mouth = outputs(raw)
    gap_error, jaw_error, width_error = (mouth[..., :3] - target[..., :3]).square().mean(dim=(0, 1))
    entropy = nn.functional.binary_cross_entropy_with_logits(
        raw[..., 3:5], target[..., 3:5], pos_weight=raw.new_tensor(CLOSURE_WEIGHTS)
    )
    shown, wanted = shown_gap(smoothed(mouth)), shown_gap(target[:, 1:-1])
    tongue_error = (mouth[..., 5] - target[..., 5]).square().mean()
    error = gap_error + 0.7 * (jaw_error + width_error) + 1.5 * (shown - wanted).square().mean()
    error = error + _TONGUE_WEIGHT * tongue_error
    flicker = _second_difference(shown - wanted).square().mean()
    return error + 0.2 * entropy + _FLICKER_WEIGHT * flicker + _missed(shown, wanted, events)


def outputs(raw: Tensor) -> Tensor:
    """The mouth of logits (batch, n, 6)."""
    return torch.cat([torch.sigmoid(raw[..., :2]), torch.tanh(raw[..., 2:3]), torch.sigmoid(raw[..., 3:])], dim=2)


def smoothed(mouth: Tensor) -> Tensor:
    """(batch, n, 6) → (batch, n − 2, 6): as the steps are smoothed before frames are made of them."""
    weights = mouth.new_tensor(NEIGHBOUR_WEIGHTS)
    return mouth[:, 1:-1] + weights * (mouth[:, :-2] + mouth[:, 2:] - 2.0 * mouth[:, 1:-1])


def shown_gap(mouth: Tensor) -> Tensor:
    """(batch, n, 6) → (batch, n − 1): the gap shown by a 40 ms frame over steps k and k + 1, mapped as people's."""
    is_free = (1.0 - mouth[..., 3]) * (1.0 - mouth[..., 4])
    gap = torch.maximum(mouth[..., 0] + GapMap().spread_opens * mouth[..., 2] * is_free, LEAST_OPEN * mouth[..., 0])
    first, second = mouth[:, :-1], mouth[:, 1:]
    shut, bite = torch.maximum(first[..., 3], second[..., 3]), torch.maximum(first[..., 4], second[..., 4])
    return (gap[:, :-1] + gap[:, 1:]) / 2.0 * (1.0 - shut) * (1.0 - 0.75 * bite)


def _second_difference(gap: Tensor) -> Tensor:
    """(batch, n) per 20 ms step → (batch, n − 4): the second difference over frames of 40 ms."""
    return gap[:, :-4] + gap[:, 4:] - 2.0 * gap[:, 2:-2]


def _missed(shown: Tensor, wanted: Tensor, events: Tensor) -> Tensor:
    """Penalty for closures that stay open in the frames around their middle, and vowels closed in the frame of theirs.

    ``shown[:, k]`` covers steps k + 1 and k + 2 of ``events``.
    """
    lowest = -nn.functional.max_pool1d(-shown, 4, 1)
    is_closure = events[:, 3:-3] == CLOSURE
    open_by = torch.relu(lowest - _SHUT_GAP) * is_closure
    at_vowel = -nn.functional.max_pool1d(-shown, 2, 1)
    is_vowel = (events[:, 2:-2] == VOWEL) & (-nn.functional.max_pool1d(-wanted, 2, 1) > 2.0 * _SHUT_GAP)
    shut_by = torch.relu(_OPEN_GAP - at_vowel) * is_vowel
    closures, vowels = is_closure.sum().clamp(min=1), is_vowel.sum().clamp(min=1)
    return _SHUT_WEIGHT * open_by.sum() / closures + _OPEN_WEIGHT * shut_by.sum() / vowels


def export(net: TorchMouthNet, path: Path) -> int:
    """Write the weights as float16 npz (no pickle) and return the file's size in bytes."""
    middle = [layer for block in zip(net.convs, net.mixes, strict=True) for layer in block]
    layers = [net.entry, *middle, net.head]
    linears = [layer.linear for layer in layers]
    weights = [part.detach().numpy().ravel() for each in linears for part in (each.weight.T, each.bias)]
    arrays: dict[str, NDArray[np.generic]] = {
        "format": np.array(FORMAT, np.int32),
        "mean": net.mean.numpy().astype(np.float32),
        "scale": net.scale.numpy().astype(np.float32),
        "shapes": np.array(
            [
                (len(layer.taps), each.in_features // len(layer.taps), each.out_features)
                for layer, each in zip(layers, linears, strict=True)
            ],
            np.int32,
        ),
        "taps": np.concatenate([layer.taps for layer in layers]).astype(np.int32),
        "weights": np.concatenate(weights).astype(np.float16),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return path.stat().st_size


@dataclass(frozen=True)
class Schedule:
    """``learning_rate`` at its highest: it warms up for ``num_warm`` of ``num_updates`` updates, and falls in a half
    cosine to the share ``least``. The log has a line for every ``updates_per_line`` updates."""

    learning_rate: float
    num_updates: int
    num_warm: int = 100
    least: float = 0.02
    updates_per_line: int = 250

    def rate(self, step: int) -> float:
        """Factor of the learning rate."""
        warm = min(1.0, (step + 1) / self.num_warm)
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / self.num_updates)))
        return warm * (self.least + (1.0 - self.least) * cosine)


def run_updates(
    net: TorchMouthNet,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    schedule: Schedule,
    log: Log,
    loss_of: Loss = mouth_loss,
) -> None:
    """Train ``net`` on batches of features, targets and events, with AdamW.

    Args:
        net: What is trained.
        batches: Features, targets and events, as ``loss_of`` takes the last two.
        schedule: How often and how fast.
        log: Takes a line of a table every ``schedule.updates_per_line`` updates.
        loss_of: The loss of raw outputs, targets and events.
    """
    optimiser = torch.optim.AdamW(net.parameters(), lr=schedule.learning_rate, weight_decay=1e-3)
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule.rate)
    started_s, running = time.perf_counter(), 0.0
    for update, (x, y, marks) in enumerate(batches, start=1):
        loss = loss_of(net(x), y, marks)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        falling.step()
        running += loss.item()
        if update % schedule.updates_per_line == 0:
            log(f"| {update} | {running / schedule.updates_per_line:.4f} | {time.perf_counter() - started_s:.0f} |")
            running = 0.0


def _batches(
    corpus: tuple[NDArray[np.float16], NDArray[np.float16], NDArray[np.int8]],
    net: TorchMouthNet,
    plan: Plan,
    rng: np.random.Generator,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Random crops: features, targets and events. A crop may span two takes, which the net must tolerate anyway."""
    features, mouths, events = corpus
    past, length = net.past_steps, net.past_steps + plan.crop_steps + net.future_steps
    for _ in range(plan.num_updates):
        starts = rng.integers(0, len(features) - length, plan.batch)
        x = np.stack([features[s : s + length] for s in starts]).astype(np.float32)
        y = np.stack([mouths[s + past : s + past + plan.crop_steps] for s in starts]).astype(np.float32)
        marks = np.stack([events[s + past : s + past + plan.crop_steps] for s in starts])
        yield torch.from_numpy(jitter(x, rng)), torch.from_numpy(y), torch.from_numpy(marks)


def jitter(x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Shift each crop's reference level by a few dB and tilt its spectrum: another microphone at almost no cost."""
    waves = np.cos(np.pi * np.arange(4)[:, None] * (np.arange(NUM_BANDS) + 0.5) / NUM_BANDS)
    offset = (rng.normal(0.0, 0.05, (len(x), 4)) / np.arange(1, 5)) @ waves
    offset = np.tile(offset, HOPS_PER_STEP)[:, None].astype(np.float32)
    return np.where(x > 0.0, np.maximum(x + offset, 0.0), 0.0).astype(np.float32)
