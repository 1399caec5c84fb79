"""Augmentation: clean synthetic speech float32 (n,) at 16 kHz → the same as real rooms and microphones record it.

Reverberation, additive noise at a given SNR, equalisation, compression, breathiness and level.
"""

from __future__ import annotations

import subprocess

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.audio.log_mel import SAMPLE_RATE_HZ

FloatArray = NDArray[np.float32]
Rng = np.random.Generator

# ffmpeg's arguments of each codec, and its sampling rate. 8 kHz are a telephone's.
CODECS: dict[str, tuple[tuple[str, ...], int]] = {
    "opus": (("-c:a", "libopus", "-f", "ogg"), SAMPLE_RATE_HZ),
    "aac": (("-c:a", "aac", "-f", "adts"), SAMPLE_RATE_HZ),
    "g711": (("-c:a", "pcm_mulaw", "-f", "mulaw"), 8000),
    "gsm": (("-c:a", "libgsm", "-f", "gsm"), 8000),
}


def resample(samples: FloatArray, ratio: float) -> tuple[FloatArray, float]:
    """Band-limited resampling to about ``ratio`` times as many samples, and the exact ratio that was used.

    Both lengths become multiples of 512, zero-padded, because the transforms of odd lengths take ten times as long.
    """
    num_in = _round_up(len(samples) + 512, 512)
    num_out = _round_up(int(num_in * ratio), 512)
    spectrum = np.fft.rfft(samples, num_in)
    kept = np.zeros(num_out // 2 + 1, np.complex128)
    count = min(len(spectrum), len(kept))
    kept[:count] = spectrum[:count]
    exact = num_out / num_in
    out = np.fft.irfft(kept, num_out) * exact
    return out[: int(len(samples) * exact)].astype(np.float32), exact


def rms(samples: FloatArray) -> float:
    """Root mean square of the samples that are not near-silent; 1e-6 when there are none."""
    loud = samples[np.abs(samples) > 1e-4]
    return float(np.sqrt(np.mean(np.square(loud)))) if len(loud) else 1e-6


def augment(samples: FloatArray, rng: Rng) -> FloatArray:
    """A random chain of breathiness, equalisation, compression, room, background and level; same length, within ±1."""
    out = samples
    if rng.random() < 0.25:
        out = add_breathiness(out, float(rng.uniform(0.3, 1.0)), rng)
    if rng.random() < 0.85:
        out = equalise(out, rng)
    if rng.random() < 0.25:
        drive = rng.uniform(1.0, 6.0) / max(rms(out) * 4.0, 1e-6)
        out = np.tanh(out * drive).astype(np.float32)
    if rng.random() < 0.7:
        out = reverberate(out, float(rng.uniform(0.12, 0.8)), float(rng.uniform(0.0, 14.0)), rng)
    if rng.random() < 0.85:
        out = add_background(out, float(rng.triangular(3.0, 9.0, 32.0)), rng)
    out = out * (10.0 ** (rng.uniform(-40.0, -12.0) / 20.0) / rms(out))
    return np.asarray(np.clip(out, -1.0, 1.0), dtype=np.float32)


def transmit(samples: FloatArray, rng: Rng) -> FloatArray:
    """The samples through a codec that calls and videos use, through ffmpeg: Opus, AAC, G.711 or GSM; same length."""
    encode, rate_hz = CODECS[str(rng.choice(tuple(CODECS)))]
    ffmpeg = ("ffmpeg", "-v", "error")
    pcm = ("-f", "f32le", "-ac", "1", "-ar", str(SAMPLE_RATE_HZ))
    kilobits = ("-b:a", f"{int(rng.integers(12, 33))}k") if rate_hz == SAMPLE_RATE_HZ else ()
    sent = subprocess.run(
        [*ffmpeg, *pcm, "-i", "-", "-ar", str(rate_hz), *kilobits, *encode, "-"],
        input=samples.astype("<f4").tobytes(), check=True, capture_output=True,
    ).stdout  # fmt: skip
    raw = ("-f", "mulaw", "-ar", "8000") if "mulaw" in encode else ()
    heard = subprocess.run([*ffmpeg, *raw, "-i", "-", *pcm, "-"], input=sent, check=True, capture_output=True).stdout
    return _aligned(np.frombuffer(heard, "<f4"), samples)


def _aligned(late: FloatArray, samples: FloatArray) -> FloatArray:
    """``late`` without a codec's delay of up to 0.2 s, as long as ``samples``."""
    size = _round_up(len(samples) + len(late), 8000)
    likeness = np.fft.irfft(np.fft.rfft(late, size) * np.conj(np.fft.rfft(samples, size)), size)
    delay = int(np.argmax(likeness[: SAMPLE_RATE_HZ // 5]))
    return np.asarray(np.pad(late[delay:], (0, len(samples)))[: len(samples)], dtype=np.float32)


def add_breathiness(samples: FloatArray, amount: float, rng: Rng) -> FloatArray:
    """Mix in a breathy copy: the same short-time spectrum with random phases, without harmonics."""
    size, hop = 256, 64
    padded = np.concatenate([np.zeros(size, np.float32), samples, np.zeros(2 * size, np.float32)])
    window = np.hanning(size).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * window
    spectrum = np.fft.rfft(frames, axis=1)
    phases = np.exp(2j * np.pi * rng.random(spectrum.shape))
    grains = np.fft.irfft(np.abs(spectrum) * phases, size, axis=1) * window
    breathy = np.zeros(len(padded), np.float64)
    for part in range(size // hop):
        rows = grains[part :: size // hop]
        stretch = breathy[part * hop : part * hop + rows.size]
        stretch += rows.reshape(-1)[: len(stretch)]
    copy = breathy[size : size + len(samples)]
    copy *= rms(samples) / max(rms(copy.astype(np.float32)), 1e-6)
    return np.asarray((1.0 - amount) * samples + amount * copy, dtype=np.float32)


def equalise(samples: FloatArray, rng: Rng) -> FloatArray:
    """A random smooth frequency response: tilt, slow ripple over log frequency, sometimes a high or a low pass."""
    spectrum = np.fft.rfft(samples)
    hz = np.arange(len(spectrum)) * SAMPLE_RATE_HZ / len(samples)
    octave = np.log2(np.maximum(hz, 30.0) / 1000.0)
    gain_db = rng.uniform(-4.0, 4.0) * octave
    for ripple in (0.15, 0.35, 0.6):
        gain_db = gain_db + rng.uniform(0.0, 4.0) * np.sin(2.0 * np.pi * (ripple * octave + rng.random()))
    if rng.random() < 0.35:
        gain_db = gain_db - 12.0 * np.maximum(0.0, np.log2(rng.uniform(80.0, 300.0) / np.maximum(hz, 20.0)))
    if rng.random() < 0.3:
        gain_db = gain_db - 36.0 * np.maximum(0.0, np.log2(np.maximum(hz, 20.0) / rng.uniform(3000.0, 7000.0)))
    spectrum *= 10.0 ** (np.clip(gain_db, -80.0, 24.0) / 20.0)
    return np.asarray(np.fft.irfft(spectrum, len(samples)), dtype=np.float32)


def reverberate(samples: FloatArray, rt60_s: float, direct_db: float, rng: Rng) -> FloatArray:
    """Add a room: a noise tail of RT60 ``rt60_s``, ``direct_db`` below the direct sound."""
    length = int(rt60_s * SAMPLE_RATE_HZ)
    tail = rng.standard_normal(length) * 10.0 ** (-3.0 * np.arange(length) / length)
    tail[: int(0.002 * SAMPLE_RATE_HZ)] = 0.0
    tail *= 10.0 ** (-direct_db / 20.0) / np.sqrt(np.square(tail).sum())
    tail[0] = 1.0
    size = _round_up(len(samples) + length, 8000)
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)
    return wet[: len(samples)].astype(np.float32)


def add_background(samples: FloatArray, snr_db: float, rng: Rng) -> FloatArray:
    """Add steady noise, hum, soft music or babble of distant voices, ``snr_db`` below the speech."""
    kind = rng.choice(("noise", "noise", "noise", "noise", "hum", "music", "babble"))
    if kind == "noise":
        background = coloured_noise(len(samples), float(rng.uniform(-2.0, 0.5)), rng)
    elif kind == "hum":
        background = hum(len(samples), rng)
    elif kind == "music":
        background, snr_db = music(len(samples), rng), max(snr_db, 12.0)
    else:
        shifts = rng.integers(0, len(samples), 6)
        background = np.sum([np.roll(samples[::-1], int(s)) for s in shifts], axis=0).astype(np.float32)
        snr_db = max(snr_db, 12.0)
    return np.asarray(
        samples + background * (rms(samples) * 10.0 ** (-snr_db / 20.0) / rms(background)), dtype=np.float32
    )


def coloured_noise(num_samples: int, slope: float, rng: Rng) -> FloatArray:
    """Gaussian noise whose power goes as frequency^``slope`` (0 white, −1 pink, −2 brown), rms 0.1."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    hz = np.maximum(np.arange(len(spectrum)) * SAMPLE_RATE_HZ / num_samples, 30.0)
    noise = np.fft.irfft(spectrum * hz ** (slope / 2.0), num_samples)
    return np.asarray(0.1 * noise / np.sqrt(np.mean(np.square(noise))), dtype=np.float32)


def hum(num_samples: int, rng: Rng) -> FloatArray:
    """Mains hum or a machine: a low tone with decaying harmonics, rms about 0.1."""
    time_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    base_hz = float(rng.choice((50.0, 60.0, 100.0, 120.0, rng.uniform(70.0, 400.0))))
    out = np.zeros(num_samples)
    for harmonic in range(1, int(rng.integers(2, 20))):
        out += np.sin(2.0 * np.pi * (base_hz * harmonic * time_s + rng.random())) * harmonic ** -rng.uniform(0.3, 1.5)
    return np.asarray(0.1 * out / np.sqrt(np.mean(np.square(out)) + 1e-12), dtype=np.float32)


def music(num_samples: int, rng: Rng) -> FloatArray:
    """Notes with plucked and bowed envelopes, one to three at a time, rms about 0.1."""
    out = np.zeros(num_samples)
    position = 0
    while position < num_samples:
        length = int(rng.uniform(0.12, 0.9) * SAMPLE_RATE_HZ)
        time_s = np.arange(min(length, num_samples - position)) / SAMPLE_RATE_HZ
        attack = np.minimum(1.0, time_s / rng.uniform(0.005, 0.08))
        envelope = attack * np.exp(-time_s * rng.uniform(0.3, 7.0)) * np.minimum(1.0, (time_s[-1] - time_s) / 0.02)
        for _ in range(int(rng.integers(1, 4))):
            note_hz = 55.0 * 2.0 ** (rng.integers(0, 49) / 12.0)
            for harmonic in range(1, int(rng.integers(2, 9))):
                if note_hz * harmonic < 7500.0:
                    tone = np.sin(2.0 * np.pi * (note_hz * harmonic * time_s + rng.random()))
                    out[position : position + len(time_s)] += envelope * tone / harmonic ** rng.uniform(0.7, 2.0)
        position += int(length * rng.uniform(0.5, 1.2))
    return np.asarray(0.1 * out / np.sqrt(np.mean(np.square(out)) + 1e-12), dtype=np.float32)


def breath(num_samples: int, rng: Rng) -> FloatArray:
    """One breath or rustle: a soft hump of band-limited noise over the whole length, peak rms about 0.03."""
    noise = equalise(coloured_noise(num_samples, float(rng.uniform(-1.0, 0.5)), rng), rng)
    hump = np.sin(np.pi * np.linspace(0.0, 1.0, num_samples)) ** rng.uniform(0.7, 2.0)
    return np.asarray(noise * hump * (0.03 / rms(noise)), dtype=np.float32)


def clicks(num_samples: int, rng: Rng) -> FloatArray:
    """A few short knocks and ticks."""
    out = np.zeros(num_samples)
    for _ in range(int(rng.integers(1, 5))):
        length = min(int(rng.uniform(0.002, 0.05) * SAMPLE_RATE_HZ), num_samples)
        start = int(rng.integers(0, num_samples - length + 1))
        knock = rng.standard_normal(length) * np.exp(-np.arange(length) / length * 5.0)
        out[start : start + length] += knock * rng.uniform(0.02, 0.4)
    return out.astype(np.float32)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
