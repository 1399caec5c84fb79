"""What a voice makes a head do: from its own past alone, the same in blocks as in one piece."""

from __future__ import annotations

import numpy as np
import pytest

from musetalk_cli.engine.models.warp.idle.speech_cues import MEMORY_S, NUM_CUES, speech_cues
from musetalk_cli.engine.types.messages import FloatArray

RATE_HZ = 16000
TIMES_S = np.arange(0, 8, 0.04)


def _voice(level: FloatArray, pitch_hz: FloatArray) -> FloatArray:
    """A buzz of some pitch and level, both float (n,)."""
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    return np.asarray(level * sum(np.sin(k * phase) / k for k in (1, 2, 3)), np.float32)


def _syllables() -> tuple[FloatArray, FloatArray]:
    """Four syllables a second for three seconds, a pause of a second, and the same again; 120 Hz."""
    t = np.arange(8 * RATE_HZ) / RATE_HZ
    level = 0.06 * np.abs(np.sin(2 * np.pi * 2 * t)) * (((t > 0.2) & (t < 3.2)) | ((t > 4.2) & (t < 7.2)))
    return level.astype(np.float32), np.full(len(t), 120, np.float32)


def test_silence_and_hum_move_nothing() -> None:
    assert not speech_cues(np.zeros(8 * RATE_HZ, np.float32), 0.0, TIMES_S, 1).any()
    t = np.arange(8 * RATE_HZ) / RATE_HZ
    assert not speech_cues((0.0003 * np.sin(2 * np.pi * 50 * t)).astype(np.float32), 0.0, TIMES_S, 1).any()


def test_a_stressed_syllable_is_nodded_at() -> None:
    level, pitch = _syllables()
    stressed = level.copy()
    stressed[int(2.0 * RATE_HZ) : int(2.25 * RATE_HZ)] *= 5
    plain, strong = (speech_cues(_voice(each, pitch), 0.0, TIMES_S, 1)[:, 0] for each in (level, stressed))
    near = (TIMES_S > 2.0) & (TIMES_S < 2.7)
    assert strong[near].max() > plain[near].max() + 0.15
    assert np.array_equal(plain[TIMES_S < 2.0], strong[TIMES_S < 2.0])


def test_a_rising_voice_raises_the_brows() -> None:
    level, pitch = _syllables()
    rising = pitch.copy()
    rising[int(2.5 * RATE_HZ) : int(3.2 * RATE_HZ)] *= 1.7
    plain, raised = (speech_cues(_voice(level, each), 0.0, TIMES_S, 1)[:, 1] for each in (pitch, rising))
    near = (TIMES_S > 2.5) & (TIMES_S < 3.5)
    assert raised[near].max() > plain[near].max() + 0.2


def test_the_end_of_a_phrase_is_blinked_at() -> None:
    level, pitch = _syllables()
    voice = _voice(level, pitch)
    closures = np.stack([speech_cues(voice, 0.0, TIMES_S, seed)[:, 2] for seed in range(12)])
    assert (closures.max(axis=1) > 0.9).mean() > 0.3
    assert closures[:, TIMES_S < 3.2].max() == 0
    blinked = closures[:, (TIMES_S > 3.2) & (TIMES_S < 4.0)].max(axis=1)
    assert set(np.round(blinked)) == {0.0, 1.0}


@pytest.mark.parametrize(("block_s", "frame_rate"), [(0.2, 25), (1.0, 25), (1.0, 24), (1.0, 15), (1.001, 30000 / 1001)])
def test_blocks_give_what_the_whole_gives(block_s: float, frame_rate: float) -> None:
    voice = _voice(*_syllables()) + np.random.default_rng(0).normal(0, 0.002, 8 * RATE_HZ).astype(np.float32)
    all_s = np.arange(0, 8, 1 / frame_rate)
    whole = speech_cues(voice, 0.0, all_s, 5)
    parts = []
    for start_s in np.arange(0, 8, block_s):
        times = all_s[(start_s - 1e-6 < all_s) & (start_s + block_s - 1e-6 > all_s)]
        first_s = round(np.floor(max(start_s - 4.0, 0.0) / 0.02) * 0.02, 2)
        end = int((start_s + block_s + 0.1) * RATE_HZ)
        parts.append(speech_cues(voice[round(first_s * RATE_HZ) : end], first_s, times, 5))
    assert np.abs(np.concatenate(parts) - whole).max() < 1e-4
    assert MEMORY_S <= 4.0


def test_no_frames_are_no_cues() -> None:
    assert speech_cues(np.zeros(100, np.float32), 0.0, np.zeros(0), 1).shape == (0, NUM_CUES)
