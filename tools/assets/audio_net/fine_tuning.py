"""A trained mouth net and shards of natural speech → the net trained on; PyTorch on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from musetalk_cli.engine.models.warp.audio.mouth_net import OUTPUTS, MouthNet
from tools.assets.audio_net.corpus import Shard
from tools.assets.audio_net.training import Log, Schedule, TapConvolution, TorchMouthNet, jitter, run_updates

_WARM_UPDATES = 30
_LEAST_RATE = 0.03


@dataclass(frozen=True)
class FineTuning:
    """Hyperparameters: ``batch`` crops of ``crop_steps`` 20 ms steps an update, ``learning_rate`` at its peak.

    ``num_natural`` crops of a batch are natural speech, one of every second batch is no speech, and the others are
    espeak-ng's. ``kept``: share of the first weights in the final ones. ``surer``: added to the logit of P at the end.
    """

    num_updates: int = 1200
    batch: int = 16
    num_natural: int = 10
    crop_steps: int = 200
    learning_rate: float = 6e-4
    kept: float = 0.35
    surer: float = 0.3
    seed: int = 7


@dataclass(frozen=True)
class Mixture:
    """What is trained on: at least one shard of each kind."""

    natural: Sequence[Shard]
    synthetic: Sequence[Shard]
    non_speech: Sequence[Shard]


def fine_tune(start: MouthNet, mixture: Mixture, plan: FineTuning, log: Log) -> TorchMouthNet:
    """Train ``start`` on; deterministic for given shards, plan and number of threads."""
    torch.manual_seed(plan.seed)
    net = from_numpy(start)
    schedule = Schedule(plan.learning_rate, plan.num_updates, _WARM_UPDATES, _LEAST_RATE, updates_per_line=50)
    run_updates(net, _batches(mixture, net, plan), schedule, log)
    _mix(net, from_numpy(start), plan.kept)
    with torch.no_grad():
        net.head.linear.bias[OUTPUTS.index("P")] += plan.surer
    return net


def from_numpy(net: MouthNet) -> TorchMouthNet:
    """The packaged net as a PyTorch net."""
    torch_net = TorchMouthNet(net.entry.weight.shape[1], torch.from_numpy(net.mean), torch.from_numpy(net.scale))
    middle = (part for pair in zip(torch_net.convs, torch_net.mixes, strict=True) for part in pair)
    sources = (net.entry, *(part for block in net.blocks for part in block), net.head)
    with torch.no_grad():
        for layer, source in zip((torch_net.entry, *middle, torch_net.head), sources, strict=True):
            assert isinstance(layer, TapConvolution)
            layer.linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(source.weight.T)))
            layer.linear.bias.copy_(torch.from_numpy(source.bias))
    return torch_net


def _mix(net: TorchMouthNet, start: TorchMouthNet, kept: float) -> None:
    """Move the weights back by ``kept`` of the way that they have come.

    Two nets of which one was trained on from the other may be averaged weight by weight. The mean forgets less of what
    the first could do, and does better on voices that neither was trained on.
    """
    with torch.no_grad():
        for own, old in zip(net.parameters(), start.parameters(), strict=True):
            own.lerp_(old, kept)


def _batches(mixture: Mixture, net: TorchMouthNet, plan: FineTuning) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Random crops: features, targets and events."""
    rng = np.random.default_rng(plan.seed)
    past, length = net.past_steps, net.past_steps + plan.crop_steps + net.future_steps
    for update in range(plan.num_updates):
        num_silent = update % 2
        num_synthetic = plan.batch - plan.num_natural - num_silent
        kinds = [
            (mixture.natural, plan.num_natural),
            (mixture.synthetic, num_synthetic),
            (mixture.non_speech, num_silent),
        ]
        crops = []
        for shards, count in kinds:
            sizes = np.array([len(shard.features) - length for shard in shards], dtype=np.float64)
            for index in rng.choice(len(shards), count, p=sizes / sizes.sum()).tolist():
                start = int(rng.integers(0, len(shards[index].features) - length))
                crops.append((shards[index], start))
        x = np.stack([shard.features[s : s + length] for shard, s in crops]).astype(np.float32)
        inside = [(shard, slice(s + past, s + past + plan.crop_steps)) for shard, s in crops]
        y = np.stack([shard.mouths[span] for shard, span in inside]).astype(np.float32)
        marks = np.stack([shard.events[span] for shard, span in inside])
        yield torch.from_numpy(jitter(x, rng)), torch.from_numpy(y), torch.from_numpy(marks)
