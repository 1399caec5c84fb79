"""What the comparisons share: a line of the table, nets with random weights, distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from musetalk_cli.engine.models.musetalk.checkpoints.loading import NetConfigs, Precision, build_on_meta
from musetalk_cli.engine.models.musetalk.checkpoints.random_weights import random_state_dict
from musetalk_cli.engine.models.musetalk.checkpoints.weight_files import load_into
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperEncoder

SEED = 20
CPU = Precision(torch.device("cpu"), torch.float32)
StateDict = dict[str, Tensor]


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


def random_whisper(configs: NetConfigs) -> tuple[WhisperEncoder, StateDict]:
    """Whisper's encoder with random weights but its own positions, sines, then cosines; and its state dict."""
    num_steps, dim = configs.whisper.num_steps, configs.whisper.dim
    rates = np.exp(-np.log(10_000) / (dim // 2 - 1) * np.arange(dim // 2))
    angles = np.arange(num_steps)[:, None] * rates
    state = random_weights(WhisperEncoder, configs.whisper)
    positions = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    state["embed_positions.weight"] = torch.from_numpy(positions)
    net = load_into(build_on_meta(WhisperEncoder, configs.whisper), dict(state), CPU.device, CPU.dtype)
    return net, state


def to_stream(voice: Tensor) -> np.ndarray:
    """float32 (n,), 16 kHz → int16 (3 n, 1), 48 kHz, as a stream takes it; each sample three times."""
    return (voice.numpy().clip(-1, 1) * 32767).astype(np.int16).repeat(3)[:, None]
