"""The packaged net measured on held-out synthetic speech, non-speech, real recordings and clips → rows of a table."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.audio.log_mel import SAMPLE_RATE_HZ, STEP_S, extract_features
from musetalk_cli.engine.models.warp.audio.mouth_shapes import LEAD_S, SHUT_STEPS, GapMap, MouthShapePredictor
from tools.assets.audio_net import augment
from tools.assets.audio_net.corpus import HELD_OUT_VARIANTS, Recipe, Take, make_takes
from tools.assets.audio_net.texts import HELD_OUT_LANGUAGES

FloatArray = NDArray[np.float32]

FPS = 25
FRAME_S = 1.0 / FPS
SHUT_GAP = 0.12
FAMILIAR_LANGUAGES = ("en-us", "de", "fr", "es", "ru", "ja")
_STEPS_PER_FRAME = 2
_LAGS = range(-6, 7)


@dataclass(frozen=True)
class Row:
    """One row of the table: what was measured, the figure, and its target."""

    name: str
    value: str
    wanted: str

    def markdown(self) -> str:
        return f"| {self.name} | {self.value} | {self.wanted} |"


def frame_times_s(duration_s: float) -> NDArray[np.float64]:
    return np.arange(int(duration_s * FPS), dtype=np.float64) * FRAME_S


def predict_all(predictor: MouthShapePredictor, samples: FloatArray) -> FloatArray:
    """Mouth shapes of a recording at 25 fps, float32 (frames, 6), aligned to the audio, without the lead."""
    times_s = frame_times_s(len(samples) / SAMPLE_RATE_HZ)
    return predictor.predict(samples, 0.0, times_s - LEAD_S, FRAME_S)


def energy_gap(samples: FloatArray, num_frames: int) -> FloatArray:
    """The baseline: the gap is the speech level, 0 at 40 dB below the reference level and 1 at it."""
    features = extract_features(samples, 0, 0, _STEPS_PER_FRAME * num_frames)
    level = np.clip(features.level_db / 40.0 + 1.0, 0.0, 1.0)
    return np.asarray(level.reshape(num_frames, _STEPS_PER_FRAME).mean(axis=1), dtype=np.float32)


def held_out_takes(languages: Sequence[str], seed: int, num_workers: int, num_takes: int = 3) -> list[Take]:
    """Clean takes of held-out voices."""
    recipes = [
        Recipe(language, HELD_OUT_VARIANTS, num_takes, seed + i, is_clean=True) for i, language in enumerate(languages)
    ]
    return [take for takes in make_takes(recipes, num_workers) for take in takes]


def add_noise_and_room(take: Take, seed: int) -> Take:
    """The take in a room (RT60 0.4 s, direct sound 6 dB above the tail) with pink noise at an SNR of 10 dB."""
    rng = np.random.default_rng(seed)
    wet = augment.reverberate(take.samples, 0.4, 6.0, rng)
    noise = augment.coloured_noise(len(wet), -1.0, rng)
    noisy = wet + noise * np.float32(augment.rms(wet) * 10.0 ** (-10.0 / 20.0) / augment.rms(noise))
    return Take(np.clip(noisy, -1.0, 1.0).astype(np.float32), take.target)


def speech_rows(predictor: MouthShapePredictor, takes: Sequence[Take], label: str) -> list[Row]:
    """Closures, vowels, correlation and lag over ``takes``."""
    mouths = [predict_all(predictor, take.samples) for take in takes]
    shut = np.concatenate([_gaps_at(m, t.target.closure == 1) for m, t in zip(mouths, takes, strict=True)])
    open_a = np.concatenate([_peaks_at(m, t.target.vowel == 2) for m, t in zip(mouths, takes, strict=True)])
    wanted = [target_gap(take, len(m)) for take, m in zip(takes, mouths, strict=True)]
    vowels = np.concatenate(
        [_vowel_gaps(m, goal, t.target.vowel > 0) for m, goal, t in zip(mouths, wanted, takes, strict=True)]
    )
    gap, target = np.concatenate([m[:, 0] for m in mouths]), np.concatenate(wanted)
    energy = np.concatenate([energy_gap(take.samples, len(m)) for take, m in zip(takes, mouths, strict=True)])
    r, lag = best_lag(gap, target)
    measured = {
        f"lips shut on {len(shut)} p b m": (f"{np.mean(shut < SHUT_GAP):.1%}", "≥ 95 % clean, ≥ 90 % noisy"),
        f"{len(vowels)} vowel centres wrongly shut": (f"{np.mean(vowels < SHUT_GAP):.1%}", "≤ 8 %"),
        f"peak gap on {len(open_a)} open a, median": (f"{np.median(open_a):.2f}", "≥ 0.60"),
        "r of gap to target (energy method)": (f"{r:.3f} ({np.corrcoef(energy, target)[0, 1]:.3f})", "≥ 0.85"),
        "lag, frames of 40 ms": (f"{lag:+d}", "−1 … +1"),
        "r of the tongue's tip to target": (f"{_tongue_r(mouths, takes):.3f}", ""),
    }
    return [Row(f"{label}: {name}", value, goal) for name, (value, goal) in measured.items()]


def _tongue_r(mouths: Sequence[FloatArray], takes: Sequence[Take]) -> float:
    """r of T to its target, frame by frame; NaN for a net without a tongue."""
    tips = np.concatenate([mouth[:, 5] for mouth in mouths])
    steps = (take.target.mouth[: _STEPS_PER_FRAME * len(mouth), 5] for mouth, take in zip(mouths, takes, strict=True))
    target = np.concatenate([each.reshape(-1, _STEPS_PER_FRAME).mean(axis=1) for each in steps])
    return float(np.corrcoef(tips, target)[0, 1]) if tips.std() > 1e-6 else float("nan")


def target_gap(take: Take, num_frames: int) -> FloatArray:
    """The target's gap per frame as people show it, closures applied."""
    steps = take.target.mouth[: _STEPS_PER_FRAME * num_frames]
    o, p, f = GapMap().gap(steps), steps[:, 3], steps[:, 4]
    pairs = (o.reshape(-1, 2).mean(axis=1), p.reshape(-1, 2).max(axis=1), f.reshape(-1, 2).max(axis=1))
    return np.asarray(pairs[0] * (1.0 - pairs[1]) * (1.0 - 0.75 * pairs[2]), dtype=np.float32)


def non_speech_rows(predictor: MouthShapePredictor, take: Take, seed: int) -> list[Row]:
    """Gap in silence, hum and steady noise after speech, from when the lips no longer part as in a short pause."""
    rng = np.random.default_rng(seed)
    end = (int(np.flatnonzero(take.target.speech)[-1]) + 1) * round(STEP_S * SAMPLE_RATE_HZ)
    speech, length = take.samples[:end], 6 * SAMPLE_RATE_HZ
    backgrounds = {
        "silence": np.zeros(length, np.float32),
        "mains hum": augment.hum(length, rng) * np.float32(0.2),
        "white noise": augment.coloured_noise(length, 0.0, rng) * np.float32(0.1),
        "pink noise": augment.coloured_noise(length, -1.0, rng) * np.float32(0.5),
        "brown noise, loud": augment.coloured_noise(length, -2.0, rng),
        "music": augment.music(length, rng) * np.float32(0.3),
    }
    rows = []
    for name, background in backgrounds.items():
        gap = predict_all(predictor, np.concatenate([speech, background]))[:, 0]
        after = gap[int(np.ceil((end / SAMPLE_RATE_HZ + 0.2 + SHUT_STEPS * STEP_S) * FPS)) :]
        wanted = "mean < 0.02, max < 0.1" if name != "music" else "no target"
        rows.append(Row(f"gap in {name}: mean, max", f"{after.mean():.4f}, {after.max():.3f}", wanted))
    return rows


def motion_row(predictor: MouthShapePredictor, samples: FloatArray, name: str) -> Row:
    """Jitter of the gap (standard deviation of its second difference ÷ its own) and its energy share above 6 Hz."""
    gap = predict_all(predictor, samples)[:, 0]
    power = np.abs(np.fft.rfft(gap - gap.mean())) ** 2
    hz = np.fft.rfftfreq(len(gap), FRAME_S)
    jitter, fast = np.std(np.diff(gap, 2)) / gap.std(), power[hz > 6].sum() / power[hz > 0.3].sum()
    return Row(f"{name}: jitter, energy above 6 Hz", f"{jitter:.2f}, {fast:.3f}", "≤ 0.70, ≤ 0.05")


@dataclass(frozen=True)
class ClipScore:
    """Pearson r on one real clip at the best lag (frames; positive: the net is late), and mean |r| of shifted pairs."""

    name: str
    gap_r: float
    gap_lag: int
    energy_r: float
    width_r: float
    width_lag: int
    null_r: float


def score_clip(predictor: MouthShapePredictor, samples: FloatArray, real: FloatArray, name: str) -> ClipScore:
    """Compare with ``real``, float (n, 3): gap, jaw and width per 25 fps frame, measured on the clip's frames."""
    ours = predict_all(predictor, samples)
    n = min(len(ours), len(real))
    ours, real = ours[:n], real[:n]
    gap_r, gap_lag = best_lag(ours[:, 0], real[:, 0])
    width_r, width_lag = best_lag(ours[:, 2], real[:, 2])
    energy_r, _ = best_lag(energy_gap(samples, n), real[:, 0])
    shifts = range(n // 5, n - n // 5, max(1, n // 20))
    null_r = float(np.mean([abs(best_lag(np.roll(ours[:, 0], s), real[:, 0])[0]) for s in shifts]))
    return ClipScore(name, gap_r, gap_lag, energy_r, width_r, width_lag, null_r)


def clip_rows(scores: Sequence[ClipScore]) -> list[Row]:
    rows = [
        Row(
            f"{s.name}: r of gap (lag), energy method, width (lag), null",
            f"{s.gap_r:.2f} ({s.gap_lag:+d}), {s.energy_r:.2f}, {s.width_r:.2f} ({s.width_lag:+d}), {s.null_r:.2f}",
            "",
        )
        for s in scores
    ]
    gap, energy, width, null = (
        float(np.mean([getattr(s, k) for s in scores])) for k in ("gap_r", "energy_r", "width_r", "null_r")
    )
    wanted = "gap ≥ 0.40 and ≥ energy + 0.10, width ≥ 0.40, null < 0.12"
    means = f"{gap:.2f}, {energy:.2f}, {width:.2f}, {null:.2f}"
    return [*rows, Row("mean of clips: gap, energy method, width, null", means, wanted)]


def best_lag(a: FloatArray, b: FloatArray) -> tuple[float, int]:
    """Highest Pearson r of ``a`` against ``b`` within ±6 frames, and the lag (positive: ``a`` is late)."""
    scores = []
    for lag in _LAGS:
        x, y = (a[lag:], b[: len(b) - lag]) if lag >= 0 else (a[:lag], b[-lag:])
        flat = x.std() < 1e-6 or y.std() < 1e-6
        scores.append((0.0 if flat else float(np.corrcoef(x, y)[0, 1]), lag))
    return max(scores)


def table(rows: Sequence[Row]) -> str:
    return "\n".join(["| what | measured | target |", "|---|---|---|", *(row.markdown() for row in rows)])


def synthetic_rows(predictor: MouthShapePredictor, seed: int, num_workers: int) -> list[Row]:
    """All rows that need no recording."""
    new = held_out_takes(HELD_OUT_LANGUAGES, seed, num_workers)
    familiar = held_out_takes(FAMILIAR_LANGUAGES, seed + 100, num_workers, 2)
    noisy = [add_noise_and_room(take, seed + i) for i, take in enumerate(new)]
    noisy_familiar = [add_noise_and_room(take, seed + 50 + i) for i, take in enumerate(familiar)]
    return [
        *speech_rows(predictor, familiar, "new voices, clean"),
        *speech_rows(predictor, noisy_familiar, "new voices, 10 dB noise and room"),
        *speech_rows(predictor, new, "new voices and languages, clean"),
        *speech_rows(predictor, noisy, "new voices and languages, 10 dB noise and room"),
        *non_speech_rows(predictor, familiar[0], seed),
    ]


def load_audio(path: Path) -> FloatArray:
    """An audio or video file as 16 kHz mono, through ffmpeg."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-ac", "1", "-ar", str(SAMPLE_RATE_HZ), "-f", "f32le", "-"]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.float32)


def _gaps_at(mouth: FloatArray, steps: NDArray[np.bool_]) -> FloatArray:
    """The smallest gap within one frame of each marked step, because a closure may fall between two frames."""
    return np.array([mouth[max(0, f - 1) : f + 2, 0].min() for f in _frames(mouth, steps)], np.float32)


def _vowel_gaps(mouth: FloatArray, goal: FloatArray, steps: NDArray[np.bool_]) -> FloatArray:
    """Gaps of the frames with a marked step, where the target is open: a frame may hold a closure as well."""
    return np.array([mouth[f, 0] for f in _frames(mouth, steps) if goal[f] > SHUT_GAP], np.float32)


def _peaks_at(mouth: FloatArray, steps: NDArray[np.bool_]) -> FloatArray:
    return np.array([mouth[max(0, f - 1) : f + 2, 0].max() for f in _frames(mouth, steps)], np.float32)


def _frames(mouth: FloatArray, steps: NDArray[np.bool_]) -> list[int]:
    return [int(step) // _STEPS_PER_FRAME for step in np.flatnonzero(steps) if step // _STEPS_PER_FRAME < len(mouth)]
