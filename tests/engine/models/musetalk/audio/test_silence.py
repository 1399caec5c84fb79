"""The silence gate on audio whose speech is known, and that it does not matter how a stream is cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from musetalk_cli.engine.models.musetalk.audio.silence import SilenceGate, SilenceSettings, count_silent

RATE_HZ = 16_000
FPS = 25


def seconds(duration_s: float) -> np.ndarray:
    return np.arange(round(duration_s * RATE_HZ)) / RATE_HZ


def voice(duration_s: float, level: float = 0.2, pitch_hz: float = 120.0) -> np.ndarray:
    """A buzz through two formants, in syllables of 250 ms that never quite stop."""
    times = seconds(duration_s)
    harmonics = np.arange(1, 40)[:, None] * pitch_hz
    gains = 1 / (1 + ((harmonics - 600) / 200) ** 2) + 0.5 / (1 + ((harmonics - 1500) / 300) ** 2)
    buzz = (gains * np.sin(2 * np.pi * harmonics * times)).sum(axis=0)
    return level * buzz / np.abs(buzz).max() * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * times))


def noise(duration_s: float, level_db: float, seed: int = 0) -> np.ndarray:
    return 10 ** (level_db / 20) * np.random.default_rng(seed).standard_normal(round(duration_s * RATE_HZ))


def hum(duration_s: float, level_db: float) -> np.ndarray:
    return 10 ** (level_db / 20) * np.sqrt(2) * np.sin(2 * np.pi * 50 * seconds(duration_s))


def silence(duration_s: float) -> np.ndarray:
    return np.zeros(round(duration_s * RATE_HZ))


def weigh(audio: np.ndarray, settings: SilenceSettings | None = None, fps: float = FPS) -> np.ndarray:
    frames = np.arange(round(len(audio) / RATE_HZ * fps))
    return SilenceGate(settings or SilenceSettings()).weigh(audio.astype(np.float32), 0.0, frames / fps)


def join(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts)


def test_speech_between_silences_is_found_with_hangover_and_fades() -> None:
    weights = weigh(join(silence(1), voice(2), silence(2)))
    settings = SilenceSettings()
    speaking = np.flatnonzero(weights) / FPS
    assert 1 - settings.lead_s - settings.fade_s <= speaking[0] <= 1
    assert 3 + settings.hangover_s - 0.1 <= speaking[-1] <= 3 + settings.hangover_s + settings.fade_s
    assert (weights[26:75] == 1).all()
    assert count_silent(weights) == len(weights) - len(speaking)
    rise = weights[int(speaking[0] * FPS) - 1 : 27]
    assert (np.diff(rise) >= 0).all()
    assert ((rise > 0) & (rise < 1)).any()


def test_digital_silence_needs_no_network() -> None:
    assert count_silent(weigh(silence(4))) == 100


@pytest.mark.parametrize("level", [0.5, 0.05, 0.025])
def test_a_voice_counts_whole_however_loud_it_is(level: float) -> None:
    weights = weigh(join(silence(0.5), voice(5, level)))
    assert (weights[14:] == 1).all()


def test_a_voice_over_noise_counts_and_the_noise_alone_does_not() -> None:
    audio = join(silence(4), voice(2), silence(2)) + noise(8, -48)
    weights = weigh(audio)
    assert (weights[102:148] == 1).all()
    assert (weights[:75] == 1).all()  # noise from the first moment on could be anything
    assert count_silent(weights[84:98]) == 14  # 3 s later it is known
    assert count_silent(weights[158:]) == len(weights) - 158


def test_hum_is_silence_and_no_hindrance() -> None:
    weights = weigh(join(silence(2), voice(1), silence(2)) + hum(5, -26))
    assert count_silent(weights[:45]) == 45
    assert (weights[52:74] == 1).all()
    assert count_silent(weights[-30:]) == 30


def test_a_held_note_stays_speech() -> None:
    note = 0.2 * np.sin(2 * np.pi * 440 * seconds(8))
    assert (weigh(note)[1:] == 1).all()


def test_a_click_does_not_open_the_mouth() -> None:
    audio = silence(3)
    audio[RATE_HZ] = 0.9
    clicked = weigh(audio, SilenceSettings(shortest_s=0.05))
    assert count_silent(clicked) == 75


def test_a_pause_shorter_than_the_hangover_keeps_the_network_on() -> None:
    audio = join(voice(1), silence(0.2), voice(1))
    assert (weigh(audio)[1:52] == 1).all()
    assert count_silent(weigh(audio, SilenceSettings(hangover_s=0.02))) > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold_dbfs", -20.0),
        ("range_db", 6.0),
        ("noise_margin_db", 30.0),
        ("noise_ceiling_dbfs", -10.0),
        ("shortest_s", 0.4),
        ("lead_s", 0.12),
        ("hangover_s", 0.6),
        ("fade_s", 0.3),
    ],
)
def test_every_setting_is_obeyed(name: str, value: float) -> None:
    held = 0.2 * np.sin(2 * np.pi * 440 * seconds(5))
    knock = join(silence(0.5), voice(0.2), silence(0.5))
    audio = join(silence(0.5), voice(1, 0.2), silence(0.5), voice(1, 0.05), knock, held)
    audio += noise(len(audio) / RATE_HZ, -58)
    assert not np.array_equal(weigh(audio), weigh(audio, SilenceSettings(**{name: value})))


@pytest.mark.parametrize("fps", [25, 30, 60, 12.5])
@pytest.mark.parametrize("seed", range(4))
def test_blocks_give_bit_for_bit_what_the_whole_gives(fps: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [voice(0.9, 0.1), silence(1.1), noise(1.3, -50), voice(0.7, 0.02), hum(1.5, -20), voice(1.2), silence(3.3)]
    audio = join(*(parts[index] for index in rng.permutation(len(parts)))) + noise(10, -64, seed)
    audio = audio.astype(np.float32)
    gate = SilenceGate(SilenceSettings())
    times_s = np.arange(round(10 * fps)) / fps
    whole = gate.weigh(audio, 0.0, times_s)
    assert 0 < count_silent(whole) < len(whole)

    cuts = [0, *sorted(rng.choice(np.arange(1, 250), size=6, replace=False) * 2), 500]
    for start, end in itertools.pairwise(np.array(cuts) * 320):
        begin = start - round(gate.before_s * RATE_HZ)
        stop = end + round(gate.after_s * RATE_HZ)
        inside = (times_s * RATE_HZ >= start) & (times_s * RATE_HZ < end)
        padded = np.concatenate([np.zeros(max(0, -begin), np.float32), audio[max(0, begin) : stop]])
        assert np.array_equal(gate.weigh(padded, begin / RATE_HZ, times_s[inside]), whole[inside])


def test_the_context_it_asks_for_is_what_it_needs() -> None:
    gate = SilenceGate(SilenceSettings())
    assert gate.after_s <= 0.12  # what the features look ahead anyway: the gate costs a stream no latency
    audio = join(silence(4), voice(1)).astype(np.float32)
    before = gate.weigh(audio, 0.0, np.array([3.96]))
    blind = gate.weigh(audio[: 4 * RATE_HZ], 0.0, np.array([3.96]))
    assert before > blind


def test_no_frames_give_no_weights() -> None:
    assert SilenceGate(SilenceSettings()).weigh(np.zeros(320, np.float32), 0.0, np.zeros(0)).shape == (0,)
