"""The two ways of ffmpeg's AAC encoder to search, on speech: their CPU time, and what is left of the audio.

    python -m tools.measure.audio_coding VOICE.wav [--kbps 128]

*Noise to mask* compares the noise in each critical band with what the speech itself masks there: its energy, spread by
10 dB a band upwards and 27 downwards, less 14 dB. *Audible* is the share of bands and moments in which noise is above
that. *Log-spectral distance* is the deviation of the two spectra from each other, 50 Hz to 16 kHz, in dB.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from fixtures.programs import find_ffmpeg

RATE_HZ = 48_000
LENGTH_S = 40
WINDOW, HOP = 1024, 256
BANDS_HZ = ((100, 500), (500, 2000), (2000, 4000), (4000, 8000), (8000, 14000))
MOST_DELAY = 8192
RUNS = 3

Samples = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voices", nargs="+", type=Path)
    parser.add_argument("--kbps", type=int, default=128)
    args = parser.parse_args()
    bands = " · ".join(f"{low / 1000:g}–{high / 1000:g}" for low, high in BANDS_HZ)
    print(f"| voice, search | CPU | log-spectral distance, dB | SNR, dB: {bands} kHz | noise to mask, dB | audible |")
    print("|---|--:|--:|--:|--:|--:|")
    for voice in args.voices:
        pcm = run(["-t", str(LENGTH_S), "-i", str(voice), "-ac", "1", "-ar", str(RATE_HZ), "-f", "s16le", "-"])[0]
        costs = {coder: measure(voice, coder, args.kbps, pcm) for coder in ("twoloop", "fast")}
        print(f"| {voice.name}: CPU, twoloop ÷ fast | {costs['twoloop'] / costs['fast']:.2f} | | | | |")


def measure(voice: Path, coder: str, kbps: int, pcm: bytes) -> float:
    """Encode, decode and compare; prints a row, and returns the CPU seconds of the encoder."""
    raw = ["-f", "s16le", "-ar", str(RATE_HZ), "-ac", "1", "-i", "-"]
    done = [run([*raw, "-b:a", f"{kbps}k", "-aac_coder", coder, "-f", "adts", "-"], pcm) for _ in range(RUNS)]
    cost_s = min(spent_s for _, spent_s in done)
    decoded = run(["-f", "aac", "-i", "-", "-f", "s16le", "-"], done[0][0])[0]
    distance, ratios, noise, audible = compare(samples(pcm), samples(decoded))
    ratio = " · ".join(f"{each:.0f}" for each in ratios)
    print(f"| {voice.name}, {coder} | {cost_s:.2f} s | {distance:.2f} | {ratio} | {noise:.1f} | {audible:.1%} |")
    return cost_s


def run(arguments: list[str], given: bytes = b"") -> tuple[bytes, float]:
    """What ffmpeg writes, and its CPU seconds."""
    before = psutil.Process().cpu_times()
    done = subprocess.run([find_ffmpeg(), "-v", "error", *arguments], input=given, capture_output=True, check=True)
    after = psutil.Process().cpu_times()
    spent_s = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout, spent_s


def samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, np.int16).astype(np.float64)


def compare(given: Samples, decoded: Samples) -> tuple[float, list[float], float, float]:
    """Log-spectral distance, SNR of each band, mean noise to mask, all in dB; and the share that is audible."""
    length = 2**18
    spectra = [np.fft.rfft(each[:length], 2 * length) for each in (given, decoded)]
    delay = int(np.argmax(np.fft.irfft(spectra[1] * np.conj(spectra[0]))[:MOST_DELAY]))
    count = min(len(given), len(decoded) - delay)
    one, other = short_spectra(given[:count]), short_spectra(decoded[delay : delay + count])
    energy = np.abs(one) ** 2
    is_speech = energy.sum(axis=1) > energy.sum(axis=1).max() * 1e-4
    energy, coded, noise = energy[is_speech], np.abs(other[is_speech]) ** 2, np.abs(one - other)[is_speech] ** 2
    hz = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    floor = energy.mean() * 1e-6
    levels = (10 * np.log10((energy + floor) / (coded + floor)))[:, (hz > 50) & (hz < 16_000)]
    chosen = [(hz >= low) & (hz < high) for low, high in BANDS_HZ]
    ratios = [10 * np.log10(energy[:, band].sum() / max(noise[:, band].sum(), 1e-9)) for band in chosen]
    to_mask = noise_to_mask(energy, noise, hz)
    distance = np.sqrt((levels**2).mean(axis=1)).mean()
    return float(distance), ratios, float(10 * np.log10(to_mask).mean()), float((to_mask > 1).mean())


def short_spectra(given: Samples) -> NDArray[np.complex128]:
    starts = HOP * np.arange((len(given) - WINDOW) // HOP)[:, None]
    return np.fft.rfft(given[starts + np.arange(WINDOW)] * np.hanning(WINDOW), axis=1)


def noise_to_mask(energy: Samples, noise: Samples, hz: Samples) -> Samples:
    """Noise over masked noise, in each moment and critical band (Zwicker's Bark scale)."""
    bark = (13 * np.arctan(0.00076 * hz) + 3.5 * np.arctan((hz / 7500) ** 2)).astype(int)
    in_band = (bark[:, None] == np.arange(bark.max() + 1)).astype(float)
    above = np.arange(in_band.shape[1])[:, None] - np.arange(in_band.shape[1])
    spread = 10 ** (np.where(above >= 0, -10 * above, 27 * above) / 10)
    masked = (energy @ in_band) @ spread.T * 10**-1.4
    return np.asarray((noise @ in_band + 1e-9) / (masked + 1e-9 * masked.max()))


if __name__ == "__main__":
    main()
