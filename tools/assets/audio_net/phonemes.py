"""Timed phones → training targets: co-articulated mouth shapes float32 (steps, 6), 50 steps a second."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.audio.log_mel import STEP_S
from tools.assets.audio_net.espeak import Phone

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Viseme:
    """Target gap 0..1 and width −1..1 of a speech sound, and their weights against those of its neighbours."""

    gap: float
    width: float
    gap_weight: float = 1.0
    width_weight: float = 1.0


@dataclass(frozen=True)
class Target:
    """Mouth shape per 20 ms step: ``mouth`` float32 (n, 6) as O J W P F T, O before closures.

    For evaluation, int8 (n,) each: ``vowel`` is 1 at the middle step of a full vowel of at least 50 ms, 2 at that of an
    open "a", 0 elsewhere. ``closure`` is 1 at the middle step of a bilabial. ``speech`` is 1 during any phone.
    """

    mouth: FloatArray
    vowel: NDArray[np.int8]
    closure: NDArray[np.int8]
    speech: NDArray[np.int8]


_VOWELS: dict[str, tuple[float, float]] = {
    "a": (1.0, 0.25), "ɑ": (0.88, 0.1), "æ": (0.85, 0.45), "ɐ": (0.75, 0.15), "ʌ": (0.62, 0.1), "ɛ": (0.6, 0.35),
    "e": (0.52, 0.4), "ə": (0.35, 0.0), "ɜ": (0.34, -0.2), "ɪ": (0.38, 0.3), "i": (0.37, 0.45), "o": (0.38, -0.6),
    "ɔ": (0.55, -0.5), "ɒ": (0.68, -0.3), "u": (0.18, -0.75), "ʊ": (0.18, -0.5), "y": (0.19, -0.8), "ø": (0.38, -0.65),
    "œ": (0.5, -0.5), "ʏ": (0.24, -0.6), "ɨ": (0.32, 0.3), "ɯ": (0.28, 0.2), "ɤ": (0.42, 0.1), "ɘ": (0.38, 0.15),
    "ɵ": (0.32, -0.5), "ʉ": (0.2, -0.75), "ɶ": (0.8, -0.3), "ɚ": (0.28, -0.2), "ɝ": (0.34, -0.25), "ᵻ": (0.33, 0.25),
}  # fmt: skip
_CONSONANTS: dict[str, tuple[float, float, float, float]] = {
    "f": (0.03, 0.1, 1.2, 0.4), "v": (0.06, 0.1, 1.0, 0.4), "ʋ": (0.12, 0.0, 0.9, 0.4), "w": (0.04, -0.75, 1.3, 1.3),
    "ʍ": (0.04, -0.75, 1.3, 1.3), "ɥ": (0.1, -0.8, 0.9, 1.0), "ɹ": (0.18, -0.4, 0.8, 0.6), "ɻ": (0.18, -0.4, 0.8, 0.6),
    "ʃ": (0.17, -0.55, 0.9, 0.9), "ʒ": (0.17, -0.55, 0.9, 0.9),
    "ʂ": (0.17, -0.4, 0.9, 0.7), "ʐ": (0.17, -0.4, 0.9, 0.7),
    "ɕ": (0.17, 0.0, 0.9, 0.5), "ʑ": (0.17, 0.0, 0.9, 0.5), "s": (0.22, 0.25, 0.9, 0.5), "z": (0.28, 0.25, 0.9, 0.5),
    "t": (0.26, 0.12, 0.6, 0.3), "d": (0.27, 0.12, 0.6, 0.3), "n": (0.28, 0.12, 0.6, 0.3), "l": (0.32, 0.05, 0.6, 0.5),
    "θ": (0.22, 0.1, 0.8, 0.3), "ð": (0.38, 0.1, 0.8, 0.3), "k": (0.36, 0.0, 0.5, 0.15), "ɡ": (0.36, 0.0, 0.5, 0.15),
    "ŋ": (0.36, 0.0, 0.5, 0.15), "x": (0.32, 0.0, 0.4, 0.15), "h": (0.5, 0.15, 0.5, 0.2), "j": (0.3, 0.45, 0.6, 0.6),
    "r": (0.28, 0.0, 0.5, 0.2), "ɲ": (0.26, 0.25, 0.6, 0.4), "ʎ": (0.28, 0.25, 0.6, 0.4), "c": (0.26, 0.2, 0.6, 0.3),
    "p": (0.0, -0.2, 0.7, 0.4), "b": (0.0, -0.2, 0.7, 0.4), "m": (0.0, -0.2, 0.7, 0.4), "ɸ": (0.1, -0.3, 0.9, 0.4),
    "β": (0.1, -0.1, 0.8, 0.3), "ʔ": (0.35, 0.0, 0.05, 0.05),
}  # fmt: skip
_ALIASES = {
    "ʈ": "t", "ɖ": "d", "ɗ": "d", "ɳ": "n", "ɭ": "l", "ɫ": "l", "ɬ": "s", "ɮ": "z", "g": "ɡ", "q": "k", "ɢ": "ɡ",
    "ɣ": "x", "χ": "x", "ʁ": "x", "ʀ": "r", "ɾ": "r", "ɽ": "r", "ɦ": "h", "ħ": "h", "ʕ": "x", "ç": "x", "ʝ": "j",
    "ɟ": "c", "ɓ": "b", "ɱ": "v", "ɴ": "ŋ", "ʦ": "s", "ʧ": "ʃ", "ʤ": "ʒ", "ʣ": "z", "ɺ": "r", "ɰ": "ŋ", "ɧ": "ʃ",
    "ɠ": "ɡ", "ʟ": "l", "ε": "ɛ",
}  # fmt: skip
_MODIFIERS = {"ʲ": "", "ʷ": "", "ʰ": "", "ʱ": "", "ˈ": "", "ˌ": "", "ˠ": "", "ˤ": "", "ʼ": "", "ᵝ": "", "˞": ""}

PAUSE = Viseme(0.0, 0.0, 1.2, 0.5)
_UNKNOWN = Viseme(0.3, 0.0, 0.3, 0.1)
# The tongue's tip: 0 down, two thirds behind the upper teeth, 1 between the teeth. Of the others it shows little.
_TONGUE = {
    "l": 0.66, "n": 0.62, "t": 0.58, "d": 0.6, "θ": 1.0, "ð": 1.0, "r": 0.4, "s": 0.25, "z": 0.25, "ɲ": 0.3, "ʎ": 0.35,
}  # fmt: skip
# The tip takes this long to rise and to fall.
_TONGUE_RISE_S = 0.06
_BILABIAL, _LABIODENTAL, _OPEN_VOWELS = frozenset("pbm"), frozenset("fv"), frozenset("aɑæ")
_VOWEL_WEIGHT, _SCHWA_WEIGHT = 1.6, 1.0
# Rounding and spreading reach further into the neighbours than opening does.
_GAP_REACH_S, _WIDTH_REACH_S = 0.04, 0.06
# Jaws and lips are slow: the gap that is aimed at is averaged with weights exp(−distance / this). With about this much
# smoothing, a net's gap follows people's own best.
_INERTIA_S = 0.03
_VOICELESS_CLOSURE_S = 0.055
_BURST_S = 0.03
# In a pause the lips stay parted, as people's do, and only shut when it becomes long. They part before speech.
PARTED_GAP = 0.12
_PARTED_FOR_S, _SHUT_AFTER_S = 0.6, 0.85
_PARTED_BEFORE_S, _SHUT_BEFORE_S = 0.1, 0.2
_MARGIN_S = 0.012
_SHORT_PAUSE_S = 0.06
_SHORTEST_VOWEL_S = 0.05


@dataclass(frozen=True)
class _Letter:
    symbol: str
    start_s: float
    end_s: float
    is_long: bool


def viseme_of(symbol: str) -> Viseme:
    """The viseme of one IPA letter ("" for a pause); an unknown letter gets a half-open one of small weight."""
    if not symbol:
        return PAUSE
    symbol = _ALIASES.get(symbol, symbol)
    if symbol in _VOWELS:
        return Viseme(*_VOWELS[symbol], gap_weight=_SCHWA_WEIGHT if symbol == "ə" else _VOWEL_WEIGHT)
    return Viseme(*_CONSONANTS[symbol]) if symbol in _CONSONANTS else _UNKNOWN


def is_vowel(name: str) -> bool:
    """Whether a phone begins with a vowel."""
    letters = [c for c in unicodedata.normalize("NFD", name) if _is_letter(c)]
    return bool(letters) and _ALIASES.get(letters[0], letters[0]) in _VOWELS


def mouth_targets(phones: Sequence[Phone], num_steps: int, *, has_bursts: bool = True) -> Target:
    """Co-articulated mouth shapes of a phone sequence: each phone weighs weight · exp(−distance / reach).

    ``has_bursts``: a /p/ is marked at its burst, as espeak-ng does, and not from the start of its closure.
    """
    all_letters = [letter for phone in phones for letter in _split(phone)]
    centres_s = (np.arange(num_steps, dtype=np.float64) + 0.5) * STEP_S
    gap, width = _blend(all_letters, centres_s)
    gap = np.maximum(_slow(gap), _parted(all_letters, centres_s))
    bilabial, labiodental, tongue = np.zeros(num_steps), np.zeros(num_steps), np.zeros(num_steps)
    marks = {name: np.zeros(num_steps, np.int8) for name in ("vowel", "closure", "speech")}
    for letter in all_letters:
        symbol = _ALIASES.get(letter.symbol, letter.symbol)
        if symbol in _BILABIAL:
            start_s, end_s = _closure(symbol, letter, has_bursts)
            np.maximum(bilabial, _plateau(centres_s, start_s, end_s), out=bilabial)
            _mark(marks["closure"], (start_s + end_s) / 2.0, 1)
        elif symbol in _LABIODENTAL:
            np.maximum(labiodental, _plateau(centres_s, letter.start_s, letter.end_s), out=labiodental)
        elif symbol in _VOWELS and symbol != "ə" and letter.end_s - letter.start_s > _SHORTEST_VOWEL_S:
            _mark(marks["vowel"], (letter.start_s + letter.end_s) / 2.0, 2 if symbol in _OPEN_VOWELS else 1)
        if symbol in _TONGUE:
            start_s = letter.start_s - (_VOICELESS_CLOSURE_S if symbol == "t" and has_bursts else 0.0)
            height = _TONGUE[symbol] * _plateau(centres_s, start_s, letter.end_s, _TONGUE_RISE_S)
            np.maximum(tongue, height, out=tongue)
        if letter.symbol:
            marks["speech"][int(letter.start_s / STEP_S) : int(letter.end_s / STEP_S) + 1] = 1
    jaw = gap * (1.0 - 0.25 * np.maximum(width, 0.0)) + 0.1 * np.maximum(-width, 0.0)
    mouth = np.stack([gap, jaw, width, bilabial, labiodental, tongue], axis=1).astype(np.float32)
    return Target(mouth, **marks)


def _split(phone: Phone) -> list[_Letter]:
    """A phone as single IPA letters that share its time, so that a diphthong glides from one to the next."""
    letters = [c for c in unicodedata.normalize("NFD", phone.name) if _is_letter(c)]
    if not letters:
        return [_Letter("", phone.start_s, phone.end_s, False)]
    edges = np.linspace(phone.start_s, phone.end_s, len(letters) + 1)
    is_long = "ː" in phone.name
    return [_Letter(c, float(edges[i]), float(edges[i + 1]), is_long) for i, c in enumerate(letters)]


def _is_letter(character: str) -> bool:
    return unicodedata.category(character) in ("Ll", "Lo", "Lm") and character not in _MODIFIERS and character != "ː"


def _blend(
    all_letters: Sequence[_Letter], centres_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gap and width per step: the mean of all letters' targets, with weights that fall off with distance in time."""
    totals = np.full((4, len(centres_s)), 1e-6)
    totals[::2] = 0.0
    for letter in all_letters:
        viseme = viseme_of(letter.symbol)
        if not letter.symbol and letter.end_s - letter.start_s < _SHORT_PAUSE_S:
            continue
        goals = ((viseme.gap, viseme.gap_weight, _GAP_REACH_S), (viseme.width, viseme.width_weight, _WIDTH_REACH_S))
        for row, (goal, weight, reach_s) in enumerate(goals):
            low = max(0, int((letter.start_s - 8.0 * reach_s) / STEP_S))
            high = min(len(centres_s), int((letter.end_s + 8.0 * reach_s) / STEP_S) + 1)
            near = centres_s[low:high]
            distance_s = np.maximum(0.0, np.maximum(letter.start_s - near, near - letter.end_s))
            share = weight * np.exp(-distance_s / reach_s)
            totals[2 * row, low:high] += share * goal
            totals[2 * row + 1, low:high] += share
    return totals[0] / totals[1], totals[2] / totals[3]


def _slow(gap: NDArray[np.float64]) -> NDArray[np.float64]:
    """(steps,) as a mouth of some inertia follows it."""
    reach = round(5.0 * _INERTIA_S / STEP_S)
    weights = np.exp(-np.abs(np.arange(-reach, reach + 1)) * STEP_S / _INERTIA_S)
    return np.asarray(np.convolve(np.pad(gap, reach, mode="edge"), weights / weights.sum(), "valid"))


def _parted(all_letters: Sequence[_Letter], centres_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least gap per step: small from before a phone until some time after it."""
    starts_s = np.array([letter.start_s for letter in all_letters if letter.symbol] or [np.inf])
    ends_s = np.array([letter.end_s for letter in all_letters if letter.symbol] or [-np.inf])
    index = np.searchsorted(starts_s, centres_s)
    since_s = centres_s - np.where(index > 0, ends_s[np.maximum(index - 1, 0)], -np.inf)
    until_s = np.where(index < len(starts_s), starts_s[np.minimum(index, len(starts_s) - 1)], np.inf) - centres_s
    after = np.interp(since_s, [_PARTED_FOR_S, _SHUT_AFTER_S], [1.0, 0.0])
    before = np.interp(until_s, [_PARTED_BEFORE_S, _SHUT_BEFORE_S], [1.0, 0.0])
    return np.asarray(PARTED_GAP * np.maximum(after, before))


def _closure(symbol: str, letter: _Letter, has_bursts: bool) -> tuple[float, float]:
    """Start and end of a closure. /b/ and /m/ are voiced through it; that of /p/ ends in a burst."""
    if symbol != "p":
        return letter.start_s, max(letter.end_s - _MARGIN_S, letter.start_s + 0.02)
    if has_bursts:
        return letter.start_s - _VOICELESS_CLOSURE_S, letter.start_s + _MARGIN_S / 2.0
    return letter.start_s, max(letter.end_s - _BURST_S, letter.start_s + 0.02)


def _plateau(
    centres_s: NDArray[np.float64], start_s: float, end_s: float, ramp_s: float = STEP_S
) -> NDArray[np.float64]:
    """1 from ``start_s`` to ``end_s``, falling to 0 over ``ramp_s`` on either side."""
    distance_s = np.maximum(0.0, np.maximum(start_s - centres_s, centres_s - end_s))
    return np.asarray(np.maximum(0.0, 1.0 - distance_s / ramp_s))


def _mark(marks: NDArray[np.int8], time_s: float, value: int) -> None:
    step = int(time_s / STEP_S)
    if 0 <= step < len(marks):
        marks[step] = value
