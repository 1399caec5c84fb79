"""Makers of utterances: one synthesiser each, with random speakers and texts."""

from __future__ import annotations

import re
import subprocess
import tempfile
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.assets.audio_net.espeak import Phone
from tools.assets.audio_net.natural.sentences import make_sentence
from tools.assets.audio_net.natural.shards import Maker, Rng, Utterance, sometimes_made_up, spoken
from tools.assets.audio_net.texts import make_text

# English twice, because most people who try the program speak it. Italian and one base voice are held out.
KOKORO_LANGUAGES = ("en-us", "en-us", "en-gb-x-rp", "de", "fr", "es")
KOKORO_HELD_OUT_LANGUAGE = "it"
KOKORO_HELD_OUT_VOICE = "jf_tebukuro"
FLITE_VOICES = ("slt", "rms", "awb", "kal16")
# The names that flite and festival give to segments → IPA.
ARPABET = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "ay": "aɪ", "b": "b", "ch": "tʃ", "d": "d",
    "dh": "ð", "eh": "ɛ", "er": "ɝ", "ey": "eɪ", "f": "f", "g": "ɡ", "hh": "h", "ih": "ɪ", "iy": "i", "jh": "dʒ",
    "k": "k", "l": "l", "m": "m", "n": "n", "ng": "ŋ", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ",
    "t": "t", "th": "θ", "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ",
}  # fmt: skip
_RUSSIAN_VOWELS = {
    "a": "a",
    "e": "e",
    "i": "i",
    "o": "o",
    "u": "u",
    "y": "ɨ",
    "ae": "æ",
    "ur": "ʌ",
    "ay": "ɐ",
    "ii": "i",
}
_RUSSIAN_CONSONANTS = {
    "b": "b", "v": "v", "g": "ɡ", "d": "d", "zh": "ʒ", "z": "z", "k": "k", "l": "l", "m": "m", "n": "n", "p": "p",
    "r": "r", "s": "s", "t": "t", "f": "f", "h": "x", "c": "ts", "ch": "tɕ", "sh": "ʃ", "sch": "ɕ", "j": "j",
}  # fmt: skip
# Stressed vowels and palatalised consonants double their letter.
RUSSIAN = {
    **_RUSSIAN_VOWELS, **{2 * name: ipa for name, ipa in _RUSSIAN_VOWELS.items() if len(name) == 1},
    **_RUSSIAN_CONSONANTS, **{2 * name: ipa for name, ipa in _RUSSIAN_CONSONANTS.items()},
}  # fmt: skip


def kokoro_maker(model: Path, *, is_held_out: bool) -> Maker:
    """Utterances of Kokoro. A held-out one has the held-out voice, and the held-out language half the time."""
    from tools.assets.audio_net.natural.kokoro import SAMPLE_RATE_HZ as RATE_HZ
    from tools.assets.audio_net.natural.kokoro import Kokoro, Speaker, phonemes

    kokoro = Kokoro(model)
    is_wanted = np.array([(name == KOKORO_HELD_OUT_VOICE) == is_held_out for name in kokoro.voice_names])

    def make(rng: Rng) -> Utterance:
        language = str(rng.choice(KOKORO_LANGUAGES))
        if is_held_out and rng.random() < 0.5:
            language = KOKORO_HELD_OUT_LANGUAGE
        num_sentences = int(rng.integers(1, 3))
        text = " ".join(sometimes_made_up(language, make_sentence, rng) for _ in range(num_sentences))
        weights = np.zeros(len(is_wanted), np.float32)
        weights[is_wanted] = rng.dirichlet(np.full(int(is_wanted.sum()), 0.5))
        spread = 0.0 if is_held_out else rng.uniform(0.0, 1.5)
        offset = (spread * rng.normal(size=256)).astype(np.float32)
        speaker = Speaker(weights, offset, float(rng.uniform(0.75, 1.35)), float(rng.uniform(0.8, 1.3)))
        speech = kokoro.speak(phonemes(text, language), speaker)
        stretch = 1.0 if is_held_out else float(np.exp(rng.uniform(np.log(0.88), np.log(1.13))))
        name = " ".join(f"{weight:.2f}" for weight in weights) + f" + {spread:.2f}"
        return spoken(language, name, speech.samples, speech.phones, RATE_HZ, stretch)

    return make


def flite_maker() -> Maker:
    """Utterances of flite: vocoded American, Scottish and Indian English with exact times."""

    def make(rng: Rng) -> Utterance:
        voice = str(rng.choice(FLITE_VOICES))
        text = " ".join(sometimes_made_up("en-us", make_sentence, rng) for _ in range(int(rng.integers(1, 3))))
        with tempfile.TemporaryDirectory() as folder:
            wav = Path(folder) / "speech.wav"
            settings = [f"duration_stretch={rng.uniform(0.75, 1.25):.3f}"]
            command = ["flite", "-voice", voice, "--setf", *settings, "-psdur", "-t", text, "-o", str(wav)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            samples, rate_hz = _read_wav(wav)
        ends = [(name, float(end_s)) for name, end_s in re.findall(r"(\w+):([\d.]+)", printed)]
        phones = _phones(ends, ARPABET, len(samples) / rate_hz)
        return spoken("en-us", f"flite {voice}", samples, phones, rate_hz, float(rng.uniform(0.9, 1.12)))

    return make


def festival_maker() -> Maker:
    """Utterances of festival's Russian speaker: units cut from real speech, with exact times."""

    def make(rng: Rng) -> Utterance:
        text = " ".join(make_text("ru", rng) for _ in range(int(rng.integers(1, 3))))
        with tempfile.TemporaryDirectory() as folder:
            wav, marks, script = (Path(folder) / name for name in ("speech.wav", "speech.segs", "speech.scm"))
            script.write_text(
                f'(voice_msu_ru_nsh_clunits) (set! u (utt.synth (Utterance Text "{text}")))'
                f' (utt.save.wave u "{wav}") (utt.save.segs u "{marks}")',
                encoding="utf-8",
            )
            ended = subprocess.run(["festival", "-b", str(script)], capture_output=True)
            if ended.returncode != 0 or not wav.exists():
                raise ValueError(f"festival cannot say {text!r}")
            samples, rate_hz = _read_wav(wav)
            rows = [line.split() for line in marks.read_text("utf-8").splitlines() if line.strip() != "#"]
        phones = _phones([(row[2], float(row[0])) for row in rows], RUSSIAN, len(samples) / rate_hz)
        return spoken("ru", "festival msu_ru_nsh", samples, phones, rate_hz, float(rng.uniform(0.88, 1.15)))

    return make


def _phones(ends: Sequence[tuple[str, float]], names: Mapping[str, str], duration_s: float) -> list[Phone]:
    """Names and end times of segments → phones in IPA without gaps; a name that is not known is a pause."""
    phones: list[Phone] = []
    now_s = 0.0
    for name, end_s in ends:
        if end_s > now_s:
            phones.append(Phone(names.get(name, ""), now_s, end_s))
            now_s = end_s
    if now_s < duration_s:
        phones.append(Phone("", now_s, duration_s))
    return phones


def _read_wav(path: Path) -> tuple[NDArray[np.float32], int]:
    with wave.open(str(path), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return samples.astype(np.float32) / np.float32(32768.0), file.getframerate()
