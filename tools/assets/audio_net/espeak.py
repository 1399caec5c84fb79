"""Text and voice → speech samples float32 (n,) at 22,050 Hz with timed phones, from libespeak-ng through ctypes."""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 22_050

_RETRIEVAL = 1
_PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 1, 2, 0x8000
_EVENT_LIST_END, _EVENT_PHONEME = 0, 7
_CHARS_UTF8, _POS_CHARACTER = 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Voice:
    """An espeak-ng voice: language, variant ("" is the default), words per minute, pitch and its range.

    Pitch and range run from 0 to 100, 50 being the voice's own.
    """

    language: str
    variant: str = ""
    rate: int = 165
    pitch: int = 50
    pitch_range: int = 50

    @property
    def name(self) -> str:
        return f"{self.language}+{self.variant}" if self.variant else self.language


@dataclass(frozen=True)
class Phone:
    """One phone in espeak-ng's IPA ("" is a pause), from ``start_s`` to ``end_s`` of its speech."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Speech:
    """Samples float32 (n,) in ±1 at 22,050 Hz and the phones they are made of, in order and without gaps."""

    samples: NDArray[np.float32]
    phones: tuple[Phone, ...]


class Synthesiser:
    """libespeak-ng in this process. Only one may exist, and it is not thread-safe: the library keeps global state."""

    def __init__(self) -> None:
        path = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        self._library = ctypes.CDLL(path)
        options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
        if self._library.espeak_Initialize(_RETRIEVAL, 0, None, options) <= 0:
            raise RuntimeError("libespeak-ng cannot be initialised; is espeak-ng-data installed?")
        self._chunks: list[NDArray[np.int16]] = []
        self._marks: list[tuple[int, str]] = []
        # The library keeps the bare pointer, so the callback object must live as long as this one.
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: Voice) -> Speech:
        """Synthesise ``text``. Raises ValueError when espeak-ng does not know the voice or returns no audio."""
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise ValueError(f"espeak-ng does not know the voice {voice.name!r}")
        for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks, self._marks = [], []
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._chunks or not self._marks:
            raise ValueError(f"espeak-ng returned no audio for {text[:40]!r} with {voice.name!r}")
        samples = np.concatenate(self._chunks).astype(np.float32) / 32768.0
        return Speech(samples, _phones(self._marks, len(samples)))

    def _receive(self, wav: object, num_samples: int, events: object) -> int:
        if wav and num_samples > 0:
            self._chunks.append(np.ctypeslib.as_array(wav, (num_samples,)).copy())
        index = 0
        while events and events[index].type != _EVENT_LIST_END:  # type: ignore[index]
            event = events[index]  # type: ignore[index]
            if event.type == _EVENT_PHONEME:
                self._marks.append((event.sample, event.id.string.decode("utf-8", "ignore")))
            index += 1
        return 0


def _phones(marks: list[tuple[int, str]], num_samples: int) -> tuple[Phone, ...]:
    """Convert start marks (sample, name) to phones; a pause precedes the first mark."""
    marks = [(0, ""), *((sample, name) for sample, name in marks if not name.startswith("("))]
    ends = [sample for sample, _ in marks[1:]] + [num_samples]
    return tuple(
        Phone(name, start / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ)
        for (start, name), end in zip(marks, ends, strict=True)
        if end > start
    )
