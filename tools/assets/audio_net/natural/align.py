"""Utterances with coarse phone times → the same with refined ones.

A Gaussian model of each third of each phone is fitted to the coarse times, the best path of these models through the
audio moves the boundaries, and so on for a few rounds. Boundaries stay near their coarse places.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.audio.log_mel import SAMPLE_RATE_HZ
from tools.assets.audio_net.espeak import Phone
from tools.assets.audio_net.natural.shards import Utterance

FloatArray = NDArray[np.float64]

HOP_S = 0.005
_HOP, _WINDOW, _FFT = 80, 320, 512
_NUM_BANDS, _NUM_CEPSTRA, _SLOPE = 26, 13, 3
_REACH = 12  # hops by which a boundary may move
_NUM_ROUNDS = 3
_THIRDS = 3
_PRIOR = 20.0  # hops of the average phone's variance that each variance includes


@dataclass(frozen=True)
class _Gaussian:
    mean: FloatArray
    variance: FloatArray

    def log_likelihood(self, x: FloatArray) -> FloatArray:
        distance = (np.square(x - self.mean) / self.variance).sum(axis=1)
        return np.asarray(-0.5 * (distance + np.log(self.variance).sum()))


@dataclass(frozen=True)
class _Item:
    """One utterance: ``cepstra`` (hops, 26), its phones' ``names`` and coarse ``edges`` (names + 1,), hops."""

    cepstra: FloatArray
    names: tuple[str, ...]
    edges: NDArray[np.int64]


_Models = dict[tuple[str, int], _Gaussian]


def refine(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Refine all phones' times. The utterances should be of one language and make up six minutes or more."""
    items = [_item(utterance) for utterance in utterances]
    edges = [item.edges for item in items]
    for _ in range(_NUM_ROUNDS):
        models, other = _fit(items, edges)
        edges = [_best_edges(item, models, other) for item in items]
    return [_with_edges(*pair) for pair in zip(utterances, edges, strict=True)]


def _item(utterance: Utterance) -> _Item:
    cepstra = _cepstra(utterance.samples.astype(np.float64))
    starts_s = np.array([phone.start_s for phone in utterance.phones])
    edges = np.append(np.round(starts_s / HOP_S), len(cepstra)).astype(np.int64)
    return _Item(cepstra, tuple(phone.name for phone in utterance.phones), np.minimum(edges, len(cepstra)))


def _cepstra(samples: FloatArray) -> FloatArray:
    """13 mel cepstra and their slopes per 5 ms, without the utterance's mean; row i is centred at i · 5 ms."""
    sharp = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])
    padded = np.pad(sharp, (_WINDOW // 2, _WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[: len(samples) : _HOP] * np.hamming(_WINDOW)
    power = np.square(np.abs(np.fft.rfft(frames, _FFT, axis=1))) @ _mel_filters()
    k = np.arange(_NUM_BANDS)
    cosines = np.cos(np.pi * np.arange(_NUM_CEPSTRA)[:, None] * (k + 0.5) / _NUM_BANDS) * np.sqrt(2.0 / _NUM_BANDS)
    cepstra = np.log(power + 1e-6 * power.max()) @ cosines.T
    cepstra -= cepstra.mean(axis=0)
    slopes = np.zeros_like(cepstra)
    slopes[_SLOPE:-_SLOPE] = cepstra[2 * _SLOPE :] - cepstra[: -2 * _SLOPE]
    return np.concatenate([cepstra, slopes], axis=1)


def _mel_filters() -> FloatArray:
    mel = np.linspace(2595.0 * np.log10(1.0 + 80.0 / 700.0), 2595.0 * np.log10(1.0 + 7600.0 / 700.0), _NUM_BANDS + 2)
    edges_hz = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    hz = np.arange(_FFT // 2 + 1)[:, None] * SAMPLE_RATE_HZ / _FFT
    rise = (hz - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    fall = (edges_hz[2:] - hz) / np.diff(edges_hz)[1:]
    return np.asarray(np.clip(np.minimum(rise, fall), 0.0, None))


def _fit(items: Sequence[_Item], edges: Sequence[NDArray[np.int64]]) -> tuple[_Models, _Gaussian]:
    """The Gaussian of each third of each phone, and that of everything."""
    rows: defaultdict[tuple[str, int], list[FloatArray]] = defaultdict(list)
    for item, own in zip(items, edges, strict=True):
        for name, start, end in zip(item.names, own[:-1], own[1:], strict=True):
            cuts = np.round(np.linspace(start, end, _THIRDS + 1)).astype(np.int64)
            for third in range(_THIRDS):
                rows[name, third].append(item.cepstra[cuts[third] : max(cuts[third] + 1, cuts[third + 1])])
    everything = np.concatenate([item.cepstra for item in items])
    overall = _Gaussian(everything.mean(axis=0), everything.var(axis=0))
    models: _Models = {}
    for key, parts in rows.items():
        x = np.concatenate(parts)
        if len(x):
            variance = (x.var(axis=0) * len(x) + overall.variance * _PRIOR) / (len(x) + _PRIOR)
            models[key] = _Gaussian(x.mean(axis=0), variance)
    return models, overall


def _best_edges(item: _Item, models: _Models, other: _Gaussian) -> NDArray[np.int64]:
    """Viterbi: the best monotonic path through the thirds of all phones, each allowed only near its coarse place."""
    num_hops, num_phones = len(item.cepstra), len(item.names)
    scores = np.full((num_hops, _THIRDS * num_phones), -1e9)
    for state, (phone, third) in enumerate(_states(num_phones)):
        low, high = max(0, item.edges[phone] - _REACH), min(num_hops, item.edges[phone + 1] + _REACH)
        model = models.get((item.names[phone], third), other)
        if high > low:
            scores[low:high, state] = model.log_likelihood(item.cepstra[low:high])
    best = np.full(scores.shape[1], -1e9)
    best[0] = scores[0, 0]
    has_moved = np.zeros(scores.shape, dtype=bool)
    for hop in range(1, num_hops):
        before = np.append(-1e9, best[:-1])
        has_moved[hop] = before > best
        best = np.where(has_moved[hop], before, best) + scores[hop]
    path = np.empty(num_hops, np.int64)
    path[-1] = scores.shape[1] - 1
    for hop in range(num_hops - 1, 0, -1):
        path[hop - 1] = path[hop] - has_moved[hop, path[hop]]
    return np.append(np.searchsorted(path // _THIRDS, np.arange(num_phones)), num_hops)


def _states(num_phones: int) -> Iterator[tuple[int, int]]:
    return ((phone, third) for phone in range(num_phones) for third in range(_THIRDS))


def _with_edges(utterance: Utterance, edges: NDArray[np.int64]) -> Utterance:
    """The utterance with its phones between ``edges``; where no path was found, as it was."""
    starts_s = edges[:-1] * HOP_S
    if np.any(np.diff(edges) <= 0):
        return utterance
    ends_s = np.append(starts_s[1:], utterance.phones[-1].end_s)
    phones = [
        Phone(phone.name, float(start_s), float(end_s))
        for phone, start_s, end_s in zip(utterance.phones, starts_s, ends_s, strict=True)
    ]
    return replace(utterance, phones=tuple(phones))
