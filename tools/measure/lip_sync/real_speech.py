"""Lips on the bilabials of real, transcribed English speech, which pocketsphinx aligns: a table.

    python -m tools.measure.lip_sync.real_speech --speech FOLDER TRANSCRIPTS [--speech …] [--net NAME=FILE …]

Nothing is rendered. A line of the transcripts is ``name: text`` or ``text (name)``, and ``name`` is an audio file in
the folder, without its suffix. Texts with words that pocketsphinx does not know are left out. Needs pocketsphinx.
Debian's package pocketsphinx-testdata has such speech, and Asterisk's English prompts are such speech.
"""

from __future__ import annotations

import argparse
import gzip
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import musetalk_cli
from musetalk_cli.engine.models.warp.audio.log_mel import SAMPLE_RATE_HZ, STEP_S
from musetalk_cli.engine.models.warp.audio.mouth_net import load_net
from musetalk_cli.engine.models.warp.audio.mouth_shapes import MouthShapePredictor
from tools.assets.audio_net.corpus import Take
from tools.assets.audio_net.espeak import Phone
from tools.assets.audio_net.evaluation import add_noise_and_room, load_audio, speech_rows
from tools.assets.audio_net.natural.speakers import ARPABET
from tools.assets.audio_net.phonemes import mouth_targets

FloatArray = NDArray[np.float32]

PACKAGED = Path(musetalk_cli.__file__).parent / "assets" / "mouth_net.npz"
_HOP_S = 0.01
_MARGIN_S = 0.3
_TAKE_S = 20.0


@dataclass(frozen=True)
class Line:
    """One transcribed file."""

    path: Path
    words: tuple[str, ...]


def read_transcripts(folder: Path, transcripts: Path) -> list[Line]:
    """The lines whose file exists and whose text is words alone."""
    opened = gzip.open if transcripts.suffix == ".gz" else open
    with opened(transcripts, "rt", encoding="utf-8") as file:
        rows = [parse(line) for line in file]
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.*"))}
    named = {name: words for row in rows if row is not None for name, words in [row]}
    return [Line(files[name], words) for name, words in named.items() if name in files and words]


def parse(line: str) -> tuple[str, tuple[str, ...]] | None:
    """``name: text`` or ``text (name)`` → the name and the words; no words where the text has digits or remarks."""
    found = re.fullmatch(r"(?P<text>.*)\((?P<name>\S+)\)|(?P<first>[\w/-]+):(?P<rest>.*)", line.strip())
    if found is None:
        return None
    text = re.sub(r"</?s>", "", found["text"] or found["rest"] or "").lower().replace("-", " ")
    is_plain = not re.search(r"[0-9\[\]()<>/*#]", text)
    return found["name"] or found["first"], tuple(re.findall(r"[a-z']+", text)) if is_plain else ()


class Aligner:
    """pocketsphinx with its own English model."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self._decoder = Decoder(samprate=SAMPLE_RATE_HZ, loglevel="FATAL")

    def align(self, samples: FloatArray, words: Sequence[str]) -> list[Phone] | None:
        """The phones of ``words`` in ``samples``; None where a word is unknown or nothing fits."""
        if any(self._decoder.lookup_word(word) is None for word in words):
            return None
        try:
            self._decoder.set_align_text(" ".join(words))
            self._decode(samples)
            self._decoder.set_alignment()
            self._decode(samples)
        except RuntimeError:
            return None
        found = self._decoder.get_alignment()
        if found is None:
            return None
        segments = [(phone.name, phone.start, phone.duration) for word in found for phone in word]
        return [
            Phone(ARPABET.get(name.lower(), ""), start * _HOP_S, (start + count) * _HOP_S)
            for name, start, count in segments
        ]

    def _decode(self, samples: FloatArray) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw((samples * 32767.0).astype("<i2").tobytes(), full_utt=True)
        self._decoder.end_utt()


def aligned_takes(lines: Sequence[Line]) -> Iterator[Take]:
    """Takes of several lines each, with silence between them, because the net takes its level from what was before."""
    aligner, margin = Aligner(), np.zeros(round(_MARGIN_S * SAMPLE_RATE_HZ), np.float32)
    parts: list[FloatArray] = []
    phones: list[Phone] = []
    now_s = 0.0
    for line in lines:
        samples = load_audio(line.path)
        spoken = aligner.align(samples, line.words)
        if spoken is None:
            continue
        now_s += _MARGIN_S
        parts += [margin, samples]
        phones += [Phone(p.name, now_s + p.start_s, now_s + p.end_s) for p in spoken]
        now_s += len(samples) / SAMPLE_RATE_HZ
        if now_s > _TAKE_S:
            yield _take(parts, phones)
            parts, phones, now_s = [], [], 0.0
    if parts:
        yield _take(parts, phones)


def _take(parts: Sequence[FloatArray], phones: Sequence[Phone]) -> Take:
    samples = np.concatenate(parts)
    return Take(samples, mouth_targets(phones, int(len(samples) / SAMPLE_RATE_HZ / STEP_S), has_bursts=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, nargs=2, action="append", required=True, metavar=("FOLDER", "TEXTS"))
    parser.add_argument("--net", action="append", default=[], metavar="NAME=FILE")
    args = parser.parse_args()
    named = dict(text.split("=", 1) for text in args.net) or {"packaged": str(PACKAGED)}
    predictors = {name: MouthShapePredictor(load_net(Path(file))) for name, file in named.items()}
    print("| net | what | measured |\n|---|---|---|")
    for folder, transcripts in args.speech:
        takes = list(aligned_takes(read_transcripts(folder, transcripts)))
        minutes = sum(len(take.samples) for take in takes) / SAMPLE_RATE_HZ / 60.0
        noisy = [add_noise_and_room(take, number) for number, take in enumerate(takes)]
        for name, predictor in predictors.items():
            label = f"{folder.name}, {minutes:.1f} minutes"
            rows = speech_rows(predictor, takes, label) + speech_rows(predictor, noisy, f"{label}, noise and room")
            print("\n".join(f"| {name} | {row.name} | {row.value} |" for row in rows))


if __name__ == "__main__":
    main()
