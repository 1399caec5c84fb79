"""Recipes → training and held-out takes: half a minute of one synthetic speaker each, with its mouth targets.

Training takes are augmented with noise and rooms.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.audio.log_mel import SAMPLE_RATE_HZ, STEP_S, extract_features
from tools.assets.audio_net import augment
from tools.assets.audio_net.espeak import SAMPLE_RATE_HZ as ESPEAK_RATE_HZ
from tools.assets.audio_net.espeak import Phone, Synthesiser, Voice
from tools.assets.audio_net.phonemes import Target, mouth_targets
from tools.assets.audio_net.texts import TRAINING_LANGUAGES, make_text

FloatArray = NDArray[np.float32]
Rng = np.random.Generator
T = TypeVar("T")

TRAINING_VARIANTS = (
    "", "m1", "m2", "m3", "m5", "m6", "m8", "f1", "f2", "f3", "f5",
    "klatt", "klatt2", "klatt4", "klatt6", "Alex", "Alicia", "Andrea", "Andy", "Denis", "Diogo", "Gene",
    "Jacky", "Lee", "Marco", "Mario", "Michael", "adam", "anika", "antonio", "aunty", "belinda", "benjamin",
    "boris", "caleb", "david", "ed", "edward", "grandma", "gustave", "iven", "iven3", "john", "kaukovalta",
    "linda", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob",
    "sandro", "shelby", "steph2", "travis", "victor", "whisper", "whisperf",
)  # fmt: skip
CLOSURE, VOWEL = 1, 2
HELD_OUT_VARIANTS = ("f4", "m4", "m7", "Annie", "Hugo", "klatt3", "Mike", "steph")


@dataclass(frozen=True)
class Take:
    """Audio float32 (n,) at 16 kHz and its mouth targets, one row per 20 ms."""

    samples: FloatArray
    target: Target


@dataclass(frozen=True)
class Recipe:
    """Which takes to make: ``num_takes`` of a language, spoken by ``variants``, from ``seed``.

    ``language`` "" makes non-speech. Each spoken take is augmented in ``num_versions`` ways, which takes less time than
    synthesis.
    """

    language: str
    variants: tuple[str, ...]
    num_takes: int
    seed: int
    take_s: float = 24.0
    is_clean: bool = False
    num_versions: int = 1


@dataclass(frozen=True)
class Shard:
    """Net inputs float16 (n, 80), targets float16 (n, 6) and events int8 (n,) of consecutive takes.

    ``events`` is CLOSURE at the middle step of a bilabial, VOWEL at that of a full vowel, 0 elsewhere.
    """

    features: NDArray[np.float16]
    mouths: NDArray[np.float16]
    events: NDArray[np.int8]


def make_shards(recipes: Sequence[Recipe], num_workers: int) -> Iterator[Shard]:
    """Shards in the recipes' order, made in parallel."""
    return _in_fresh_processes(_make_shard, recipes, num_workers)


def make_takes(recipes: Sequence[Recipe], num_workers: int) -> list[list[Take]]:
    """The takes themselves, one list per recipe."""
    return list(_in_fresh_processes(_make_list, recipes, num_workers))


def _in_fresh_processes(make: Callable[[Recipe], T], recipes: Sequence[Recipe], num_workers: int) -> Iterator[T]:
    """Run each recipe in a process of its own, because espeak-ng is deterministic only from its first call on.

    There is an executor per recipe because espeak-ng 1.51 sometimes crashes (seen in Vietnamese), and not always on the
    same text. The recipe is then tried again; after three crashes it is left out with a message.
    """

    def run(recipe: Recipe) -> T | None:
        for _ in range(3):
            try:
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                    return process.submit(make, recipe).result()
            except BrokenProcessPool:
                print(f"espeak-ng crashed while speaking {recipe.language!r}", file=sys.stderr)
        print(f"{recipe.num_takes} takes of {recipe.language!r} are left out", file=sys.stderr)
        return None

    with ThreadPoolExecutor(num_workers) as threads:
        yield from (made for made in threads.map(run, recipes) if made is not None)


def speak_takes(recipe: Recipe) -> Iterator[Take]:
    """The recipe's takes, in this process."""
    rng = np.random.default_rng(recipe.seed)
    synthesiser = Synthesiser() if recipe.language else None
    for _ in range(recipe.num_takes):
        if synthesiser is None:
            yield _non_speech_take(recipe, rng)
        else:
            spoken = _speech_take(recipe, synthesiser, rng)
            for _ in range(recipe.num_versions):
                yield spoken if recipe.is_clean else Take(augment.augment(spoken.samples, rng), spoken.target)


def as_shard(takes: Iterable[Take]) -> Shard:
    """The features, targets and events of takes, end to end."""
    features, mouths, events = [], [], []
    for take in takes:
        features.append(extract_features(take.samples, 0, 0, len(take.target.mouth)).bands.astype(np.float16))
        mouths.append(take.target.mouth.astype(np.float16))
        vowels = np.where(take.target.vowel > 0, VOWEL, 0)
        events.append(np.where(take.target.closure == 1, CLOSURE, vowels).astype(np.int8))
    return Shard(np.concatenate(features), np.concatenate(mouths), np.concatenate(events))


def _make_shard(recipe: Recipe) -> Shard:
    return as_shard(speak_takes(recipe))


def _make_list(recipe: Recipe) -> list[Take]:
    return list(speak_takes(recipe))


def _speech_take(recipe: Recipe, synthesiser: Synthesiser, rng: Rng) -> Take:
    """Phrases of one espeak-ng speaker, not yet augmented."""
    variant = str(rng.choice(recipe.variants))
    stretch = float(np.exp(rng.uniform(np.log(0.87), np.log(1.18))))
    return join_phrases(_phrases(recipe, variant, stretch, synthesiser, rng), recipe, rng, has_bursts=True)


def _phrases(
    recipe: Recipe, variant: str, stretch: float, synthesiser: Synthesiser, rng: Rng
) -> Iterator[tuple[FloatArray, list[Phone]]]:
    """Endless phrases of one speaker."""
    while True:
        voice = Voice(
            recipe.language, variant, int(rng.uniform(105, 250)), int(rng.uniform(20, 80)), int(rng.uniform(30, 90))
        )
        speech = synthesiser.speak(make_text(recipe.language, rng), voice)
        audio, ratio = augment.resample(speech.samples, SAMPLE_RATE_HZ / ESPEAK_RATE_HZ * stretch)
        longer = ratio * ESPEAK_RATE_HZ / SAMPLE_RATE_HZ
        yield audio, [Phone(p.name, p.start_s * longer, p.end_s * longer) for p in speech.phones]


def join_phrases(
    phrases: Iterable[tuple[FloatArray, list[Phone]]], recipe: Recipe, rng: Rng, *, has_bursts: bool
) -> Take:
    """Phrases with pauses before each, until the take is full or there are no more; not yet augmented.

    ``has_bursts``: the phones are espeak-ng's, which mark the burst of a /p/ and not its closure.
    """
    parts: list[FloatArray] = []
    phones: list[Phone] = []
    now_s = 0.0
    waiting = iter(phrases)
    while now_s < recipe.take_s:
        pause = _pause(recipe, rng)
        audio, spoken = next(waiting, (None, []))
        if audio is None:
            break
        phones.append(Phone("", now_s, now_s + len(pause) / SAMPLE_RATE_HZ))
        now_s = phones[-1].end_s
        parts += [pause, audio * np.float32(10.0 ** (rng.uniform(-4.0, 4.0) / 20.0))]
        phones += [Phone(p.name, now_s + p.start_s, now_s + p.end_s) for p in spoken]
        now_s += len(audio) / SAMPLE_RATE_HZ
    samples = _whole_seconds(np.concatenate(parts), 0.5)
    phones.append(Phone("", now_s, len(samples) / SAMPLE_RATE_HZ))
    return Take(samples, mouth_targets(phones, int(len(samples) / SAMPLE_RATE_HZ / STEP_S), has_bursts=has_bursts))


def _whole_seconds(samples: FloatArray, tail_s: float) -> FloatArray:
    """Append at least ``tail_s`` of silence, up to a full second, because FFTs of round lengths are fast."""
    length = -(-(len(samples) + int(tail_s * SAMPLE_RATE_HZ)) // SAMPLE_RATE_HZ) * SAMPLE_RATE_HZ
    return np.pad(samples, (0, length - len(samples)))


def _pause(recipe: Recipe, rng: Rng) -> FloatArray:
    """A pause between two phrases: silence, sometimes with a breath or clicks in it."""
    length = int(rng.uniform(0.1, 1.3) * SAMPLE_RATE_HZ)
    kind = rng.random()
    if recipe.is_clean or kind < 0.6:
        return np.zeros(length, np.float32)
    audio = augment.breath(length, rng) if kind < 0.85 else augment.clicks(length, rng)
    return np.asarray(audio * rng.uniform(0.3, 1.5), dtype=np.float32)


def _non_speech_take(recipe: Recipe, rng: Rng) -> Take:
    """A sequence of hum, noise, music, breaths and clicks; the mouth is closed throughout."""
    parts: list[FloatArray] = []
    while sum(len(audio) for audio in parts) < recipe.take_s * SAMPLE_RATE_HZ:
        length = int(rng.integers(2, 17)) * 8000
        kind = str(rng.choice(("noise", "hum", "music", "breath", "clicks", "silence", "swell")))
        parts.append(_non_speech(kind, length, rng) * np.float32(10.0 ** (rng.uniform(-35.0, 5.0) / 20.0)))
    samples = augment.equalise(_whole_seconds(np.concatenate(parts), 0.0), rng)
    if rng.random() < 0.5:
        samples = augment.reverberate(samples, float(rng.uniform(0.12, 0.8)), float(rng.uniform(-3.0, 14.0)), rng)
    num_steps = int(len(samples) / SAMPLE_RATE_HZ / STEP_S)
    none = np.zeros(num_steps, np.int8)
    return Take(np.clip(samples, -1.0, 1.0), Target(np.zeros((num_steps, 6), np.float32), none, none, none))


def _non_speech(kind: str, length: int, rng: Rng) -> FloatArray:
    if kind == "noise":
        return augment.coloured_noise(length, float(rng.uniform(-2.0, 0.5)), rng)
    if kind == "swell":
        speed_hz, phase = rng.uniform(0.2, 4.0), rng.random()
        swell = 0.5 + 0.5 * np.sin(2.0 * np.pi * (speed_hz * np.arange(length) / SAMPLE_RATE_HZ + phase))
        return np.asarray(augment.coloured_noise(length, float(rng.uniform(-2.0, 0.5)), rng) * swell, dtype=np.float32)
    if kind == "silence":
        return np.asarray(augment.coloured_noise(length, -1.0, rng) * 1e-3, dtype=np.float32)
    makers = {"hum": augment.hum, "music": augment.music, "breath": augment.breath, "clicks": augment.clicks}
    return makers[kind](length, rng)


def training_recipes(num_takes: int, num_versions: int, seed: int = 100) -> list[Recipe]:
    """``num_takes`` of every training language, three times as many of English, and a tenth of it all non-speech.

    Each take comes in ``num_versions`` augmented versions.
    """
    languages = [
        Recipe(
            language,
            TRAINING_VARIANTS,
            num_takes * (3 if language.startswith("en") else 1),
            seed + i,
            num_versions=num_versions,
        )
        for i, language in enumerate(TRAINING_LANGUAGES)
    ]
    return [*languages, Recipe("", (), 3 * num_takes * num_versions, seed - 1)]
