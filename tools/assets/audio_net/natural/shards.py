"""Shards of natural speech on disk: a minute of clean utterances with coarse phone times each, made one at a time.

A shard's number decides its content, and it appears on disk when it is whole. So generation may be stopped at any time
and continued, by any number of processes: each makes what is missing of its own share.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.audio.log_mel import SAMPLE_RATE_HZ
from tools.assets.audio_net import augment
from tools.assets.audio_net.espeak import Phone
from tools.assets.audio_net.texts import SPELLINGS, make_text

FloatArray = NDArray[np.float32]
Rng = np.random.Generator

SEED = 2026
UTTERANCES_PER_SHARD = 10


@dataclass(frozen=True)
class Utterance:
    """Samples float32 (n,) at 16 kHz, peak 0.7, and the phones in them ("" is a pause), in order and without gaps."""

    language: str
    speaker: str
    samples: FloatArray
    phones: tuple[Phone, ...]


Maker = Callable[[Rng], Utterance]


def make_missing(folder: Path, name: str, numbers: Sequence[int], make: Maker, log: Callable[[str], None]) -> None:
    """Write the shards ``name``-NNNNN of ``numbers`` that are not in ``folder`` yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        path = folder / f"{name}-{number:05d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([SEED, number, *name.encode()])
        utterances = [made for made in (_try(make, rng) for _ in range(UTTERANCES_PER_SHARD)) if made is not None]
        if utterances:
            write_shard(path, utterances)
            seconds = sum(len(each.samples) for each in utterances) / SAMPLE_RATE_HZ
            log(f"{path.name}: {len(utterances)} utterances, {seconds / 60.0:.1f} minutes")


def _try(make: Maker, rng: Rng) -> Utterance | None:
    """An utterance, or None where the synthesiser cannot speak what was drawn."""
    try:
        return make(rng)
    except ValueError:
        return None


def write_shard(path: Path, utterances: Sequence[Utterance]) -> None:
    """Write an npz without pickles: all samples as int16 end to end, and the rest as JSON."""
    notes = [
        {
            "language": each.language,
            "speaker": each.speaker,
            "num_samples": len(each.samples),
            "phones": [[p.name, round(p.start_s, 4), round(p.end_s, 4)] for p in each.phones],
        }
        for each in utterances
    ]
    samples = np.concatenate([np.round(each.samples * 32767.0).astype(np.int16) for each in utterances])
    text = np.frombuffer(json.dumps(notes, ensure_ascii=False).encode(), np.uint8)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, samples=samples, notes=text)
    partial.replace(path)


def read_shard(path: Path) -> list[Utterance]:
    """The utterances of one shard."""
    with np.load(path) as arrays:
        samples, notes = arrays["samples"], json.loads(arrays["notes"].tobytes().decode())
    ends = np.cumsum([note["num_samples"] for note in notes])
    return [
        Utterance(
            note["language"],
            note["speaker"],
            samples[end - note["num_samples"] : end].astype(np.float32) / np.float32(32767.0),
            tuple(Phone(*phone) for phone in note["phones"]),
        )
        for note, end in zip(notes, ends.tolist(), strict=True)
    ]


def read_folder(folder: Path) -> Iterator[Utterance]:
    """All utterances in ``folder``, in the order of the shards' names."""
    for path in sorted(folder.glob("*.npz")):
        yield from read_shard(path)


def spoken(
    language: str, speaker: str, samples: FloatArray, phones: Sequence[Phone], rate_hz: int, stretch: float
) -> Utterance:
    """A synthesiser's speech as an utterance. Raises ValueError when it is silent.

    Args:
        language: What was spoken, an espeak-ng language.
        speaker: The speaker's name, for the record.
        samples: float32 (n,) at ``rate_hz``.
        phones: The phones in them.
        rate_hz: Samples a second.
        stretch: Resampling beside: above 1, everything is longer and lower, as from a longer vocal tract.
    """
    resampled, ratio = augment.resample(samples, SAMPLE_RATE_HZ / rate_hz * stretch)
    loudest = float(np.abs(resampled).max())
    if not 1e-3 < loudest < np.inf:
        raise ValueError("no audio")
    longer = ratio * rate_hz / SAMPLE_RATE_HZ
    timed = tuple(Phone(p.name, p.start_s * longer, p.end_s * longer) for p in phones)
    return Utterance(language, speaker, resampled * np.float32(0.7 / loudest), timed)


def sometimes_made_up(language: str, sentence: Callable[[str, Rng], str], rng: Rng, share: float = 0.2) -> str:
    """A sentence, or in a ``share`` of the cases made-up words, which have phones that the sentences seldom have."""
    return make_text(language, rng) if language in SPELLINGS and rng.random() < share else sentence(language, rng)
