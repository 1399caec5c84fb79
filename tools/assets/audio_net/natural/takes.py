"""Shards of natural speech → augmented training takes, as corpus.py makes them of espeak-ng's speech."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.audio.log_mel import SAMPLE_RATE_HZ
from tools.assets.audio_net import augment
from tools.assets.audio_net.corpus import Recipe, Shard, Take, as_shard, join_phrases
from tools.assets.audio_net.espeak import Phone
from tools.assets.audio_net.natural.align import refine
from tools.assets.audio_net.natural.shards import Rng, Utterance, read_folder
from tools.assets.audio_net.singing import shout, sing

FloatArray = NDArray[np.float32]

# Engines whose phone times come from a model's durations, and are refined. The others' are exact.
_COARSE = frozenset({"kokoro", "held-out"})
# Augmented versions of each engine's takes: Kokoro's are most like people's, of the most speakers.
VERSIONS = {"kokoro": 6, "flite": 2, "festival": 2}
_WHISPERED, _SHOUTED, _SUNG, _TRANSMITTED = 0.05, 0.06, 0.08, 0.25


def natural_shards(folder: Path, versions: Mapping[str, int], seed: int) -> Iterator[Shard]:
    """A training shard of each engine's utterances, every take in as many augmented versions as ``versions`` says."""
    for engine, num_versions in versions.items():
        rng = np.random.default_rng([seed, *engine.encode()])
        takes = [
            Take(_augmented(take.samples, rng), take.target)
            for take in speech_takes(folder / engine, is_coarse=engine in _COARSE, is_clean=False, rng=rng, sung=_SUNG)
            for _ in range(num_versions)
        ]
        if takes:
            yield as_shard(takes)


def _augmented(samples: FloatArray, rng: Rng) -> FloatArray:
    """Some whispered or shouted, all from some room and microphone, some through a codec."""
    kind = rng.random()
    if kind < _WHISPERED:
        samples = augment.add_breathiness(samples, 1.0, rng)
    elif kind < _WHISPERED + _SHOUTED:
        samples = shout(samples, rng)
    samples = augment.augment(samples, rng)
    return augment.transmit(samples, rng) if rng.random() < _TRANSMITTED else samples


def held_out_takes(folder: Path, seed: int, sung: float = 0.0) -> list[Take]:
    """Clean takes of the voice and the language that nothing is trained on; a share of the phrases is ``sung``."""
    rng = np.random.default_rng(seed)
    return list(speech_takes(folder / "held-out", is_coarse=True, is_clean=True, rng=rng, sung=sung))


def speech_takes(folder: Path, *, is_coarse: bool, is_clean: bool, rng: Rng, sung: float = 0.0) -> Iterator[Take]:
    """Half a minute of phrases with pauses between them each. Consecutive phrases have different speakers.

    A recipe's speaker would be one; but what the net may know about a speaker is his level, and that is drawn anew for
    each phrase in either case.
    """
    recipe = Recipe("", (), 1, 0, is_clean=is_clean)
    queue = list(_refined(read_folder(folder)) if is_coarse else read_folder(folder))
    while queue:
        phrases: list[tuple[np.ndarray, list[Phone]]] = []
        while queue and sum(len(samples) for samples, _ in phrases) < recipe.take_s * SAMPLE_RATE_HZ:
            utterance = queue.pop()
            samples, phones = utterance.samples, list(utterance.phones)
            phrases.append(sing(samples, phones, rng) if rng.random() < sung else (samples, phones))
        yield join_phrases(phrases, recipe, rng, has_bursts=False)


def _refined(utterances: Iterable[Utterance]) -> Iterator[Utterance]:
    """Aligned language by language, because phones of one name differ between languages."""
    by_language: defaultdict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        by_language[utterance.language.split("-")[0]].append(utterance)
    for group in by_language.values():
        yield from refine(group)
