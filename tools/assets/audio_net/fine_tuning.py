"""A trained mouth net and shards of natural speech → the net trained on; PyTorch on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from musetalk_cli.engine.models.warp.audio.log_mel import NUM_FEATURES
from musetalk_cli.engine.models.warp.audio.mouth_net import OUTPUTS, MouthNet
from tools.assets.audio_net.corpus import Shard
from tools.assets.audio_net.training import (
    BLOCK_TAPS,
    ENTRY_TAPS,
    Log,
    Schedule,
    TapConvolution,
    TorchMouthNet,
    jitter,
    mouth_loss,
    outputs,
    run_updates,
    shown_gap,
    smoothed,
)

_WARM_UPDATES = 30
_LEAST_RATE = 0.03
_UPDATES_PER_LINE = 50
_TONGUE, _TONGUE_AT_FIRST = OUTPUTS.index("T"), -2.0  # its column, and the least of its raw output at first
NUM_TONGUE_CHANNELS = 16


@dataclass(frozen=True)
class FineTuning:
    """Hyperparameters: ``batch`` crops of ``crop_steps`` 20 ms steps an update, ``learning_rate`` at its peak.

    ``num_natural`` crops of a batch are natural speech, one of every second batch is no speech, and the others are
    espeak-ng's. ``kept``: share of the first weights in the final ones. ``surer``: added to the logit of P at the end.
    ``followed``: weight of the teachers' outputs, where there are teachers, against that of the targets.
    """

    num_updates: int = 1200
    batch: int = 16
    num_natural: int = 10
    crop_steps: int = 200
    learning_rate: float = 6e-4
    kept: float = 0.35
    surer: float = 0.0
    followed: float = 2.0
    seed: int = 7


@dataclass(frozen=True)
class Mixture:
    """What is trained on: at least one shard of each kind."""

    natural: Sequence[Shard]
    synthetic: Sequence[Shard]
    non_speech: Sequence[Shard]


def fine_tune(
    start: MouthNet, mixture: Mixture, plan: FineTuning, log: Log, teachers: Sequence[MouthNet] = ()
) -> TorchMouthNet:
    """Train ``start`` on; deterministic for given shards, plan and number of threads.

    Args:
        start: Weights to start from. Its taps may be others than today's.
        mixture: What is trained on.
        plan: Hyperparameters.
        log: Takes the lines of a table.
        teachers: Earlier nets; the mean of their outputs is followed as well as the targets. The mean of several nets
            does better on real voices than each. They may depend on more audio ahead.
    """
    torch.manual_seed(plan.seed)
    net = from_numpy(start)
    schedule = Schedule(plan.learning_rate, plan.num_updates, _WARM_UPDATES, _LEAST_RATE, _UPDATES_PER_LINE)
    if teachers:
        run_updates(net, _taught(mixture, net, plan, teachers), schedule, log, partial(_followed_loss, plan.followed))
    else:
        run_updates(net, _batches(mixture, _Span.of(net), plan), schedule, log)
    _mix(net, from_numpy(start), plan.kept)
    with torch.no_grad():
        net.head.linear.bias[OUTPUTS.index("P")] += plan.surer
    return net


def fit_tongue(start: MouthNet, mixture: Mixture, plan: FineTuning, log: Log) -> TorchMouthNet:
    """Fit the output T alone, with channels of its own that read all others; the other outputs stay as they are."""
    torch.manual_seed(plan.seed)
    net = from_numpy(start)
    tongue = TongueChannels(net)
    optimiser = torch.optim.Adam(tongue.parameters(), lr=plan.learning_rate)
    schedule = Schedule(plan.learning_rate, plan.num_updates, _WARM_UPDATES, _LEAST_RATE)
    falling, running = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule.rate), 0.0
    for update, (x, y, _) in enumerate(_batches(mixture, _Span.of(net), plan), start=1):
        loss = (torch.sigmoid(tongue(net, x)) - y[..., _TONGUE]).square().mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        falling.step()
        running += loss.item()
        if update % _UPDATES_PER_LINE == 0:
            log(f"| {update} | {running / _UPDATES_PER_LINE:.4f} |")
            running = 0.0
    return tongue.added_to(net)


class TongueChannels(nn.Module):
    """Channels that a net gets for T: they read all channels, but none of the net's own reads them."""

    def __init__(self, net: TorchMouthNet) -> None:
        super().__init__()
        self.num_own = net.head.linear.in_features
        num_all = self.num_own + NUM_TONGUE_CHANNELS
        self.entry = TapConvolution(ENTRY_TAPS, NUM_FEATURES, NUM_TONGUE_CHANNELS)
        self.convs = nn.ModuleList(TapConvolution(taps, num_all, NUM_TONGUE_CHANNELS) for taps in BLOCK_TAPS)
        self.mixes = nn.ModuleList(TapConvolution((0,), num_all, NUM_TONGUE_CHANNELS) for _ in BLOCK_TAPS)
        self.head = TapConvolution((0,), num_all, 1)
        with torch.no_grad():
            self.head.linear.weight[0, : self.num_own] = net.head.linear.weight[_TONGUE]
            self.head.linear.bias[0] = net.head.linear.bias[_TONGUE].clamp(min=_TONGUE_AT_FIRST)

    def forward(self, net: TorchMouthNet, features: Tensor) -> Tensor:
        """The raw output T: (batch, n, 80) → (batch, n − past − future). Nothing is learnt by ``net``."""
        scaled = (features - net.mean) * net.scale
        with torch.no_grad():
            x = torch.relu(net.entry(scaled))
        z = torch.relu(self.entry(scaled))
        for index, (conv, mix) in enumerate(zip(net.convs, net.mixes, strict=True)):
            assert isinstance(conv, TapConvolution)
            with torch.no_grad():
                hidden = torch.relu(conv(x))
                y = mix(hidden)
            own = torch.relu(self.convs[index](torch.cat([x, z], dim=2)))
            added = self.mixes[index](torch.cat([hidden, own], dim=2))
            skip = -min(conv.taps)
            x, z = x[:, skip : skip + y.shape[1]] + y, z[:, skip : skip + y.shape[1]] + added
        raw: Tensor = self.head(torch.cat([x, z], dim=2))
        return raw[..., 0]

    def added_to(self, net: TorchMouthNet) -> TorchMouthNet:
        """A net with the channels of both."""
        wide = TorchMouthNet(self.num_own + NUM_TONGUE_CHANNELS, net.mean, net.scale)
        mine = dict(self.named_parameters())
        with torch.no_grad():
            for (name, to), old in zip(wide.named_parameters(), net.parameters(), strict=True):
                own, is_head = mine[name], name.startswith("head.")
                to.zero_()
                if old.ndim == 1:
                    to[: len(old)] = old
                else:
                    taps = 1 if name.startswith("entry.") else old.shape[1] // self.num_own
                    grouped = to.view(len(to), taps, -1)
                    grouped[: len(old), :, : old.shape[1] // taps] = old.view(len(old), taps, -1)
                to[_TONGUE if is_head else len(old) :] = own
        return wide


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


@dataclass(frozen=True)
class _Span:
    """Steps before and after those of a crop that a net needs."""

    past_steps: int
    future_steps: int

    @classmethod
    def of(cls, net: TorchMouthNet | MouthNet) -> _Span:
        return cls(net.past_steps, net.future_steps)


def _taught(
    mixture: Mixture, net: TorchMouthNet, plan: FineTuning, teachers: Sequence[MouthNet]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches whose targets, (batch, n, 12), hold the mean of the teachers' outputs behind the targets."""
    spans = [_Span.of(net), *(_Span.of(teacher) for teacher in teachers)]
    widest = _Span(max(each.past_steps for each in spans), max(each.future_steps for each in spans))

    def cut(x: Tensor, span: _Span) -> Tensor:
        return x[:, widest.past_steps - span.past_steps : x.shape[1] - widest.future_steps + span.future_steps]

    for x, y, marks in _batches(mixture, widest, plan):
        told = [
            np.stack([teacher.forward(crop) for crop in cut(x, span).numpy()])
            for teacher, span in zip(teachers, spans[1:], strict=True)
        ]
        yield cut(x, spans[0]), torch.cat([y, torch.from_numpy(np.mean(told, axis=0))], dim=2), marks


def _followed_loss(followed: float, raw: Tensor, both: Tensor, events: Tensor) -> Tensor:
    """``mouth_loss`` against the targets, and ``followed`` times the distance from what the teachers say.

    ``both`` (batch, n, 12): targets and teachers. The teachers' tongue is not followed: not all of them have one.
    """
    target, told = both[..., : len(OUTPUTS)], both[..., len(OUTPUTS) :]
    mouth = outputs(raw)
    gap, jaw, width = (mouth[..., :3] - told[..., :3]).square().mean(dim=(0, 1))
    shown = (shown_gap(smoothed(mouth)) - shown_gap(smoothed(told))).square().mean()
    closures = nn.functional.binary_cross_entropy_with_logits(raw[..., 3:5], told[..., 3:5])
    distance = gap + 0.7 * (jaw + width) + 1.5 * shown + 0.2 * closures
    return mouth_loss(raw, target, events) + followed * distance


def _batches(mixture: Mixture, span: _Span, plan: FineTuning) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Random crops: features, targets and events."""
    rng = np.random.default_rng(plan.seed)
    past, length = span.past_steps, span.past_steps + plan.crop_steps + span.future_steps
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
