"""Mouth nets against the mouths of real people, with the maps fitted on the other clips: a table per net.

    python -m tools.measure.lip_sync.real_clips --tracker tracker/bin/python --clip A.mp4 --clip B.mp4 --clip C.mp4
                             [--net old=OLD.npz] [--net new=NEW.npz]

Nothing is rendered: the mouths are those that the net asks for. The clips are yours, and each needs its own audio.
Per clip: r of the gap and of the width at the best lag, F1 of the closed frames, jitter (standard deviation of the
second difference divided by that of the gap), and the gap's standard deviation as a share of the person's, once as the
net gives it and once as it is drawn. "left out" has the maps of gap and width that fit the other clips best; "packaged"
the program's.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import musetalk_cli
from musetalk_cli.engine.models.warp.audio.mouth_net import MouthNet, load_net
from musetalk_cli.engine.models.warp.audio.mouth_shapes import GapMap, MouthShapePredictor, express
from musetalk_cli.engine.models.warp.audio.width_map import WidthMap
from musetalk_cli.engine.models.warp.face.control_points import GAP
from tools.assets.audio_net.evaluation import FRAME_S, best_lag, load_audio, predict_all

FloatArray = NDArray[np.float32]

PACKAGED = Path(musetalk_cli.__file__).parent / "assets" / "mouth_net.npz"
NO_MAP, NO_WIDTH_MAP = GapMap(0.0, 0.0), WidthMap(1.0, 0.0, 0.0, 0.0, 1.0)
CANDIDATES = tuple(GapMap(*values) for values in product((0.0, 0.2, 0.35, 0.5), (0.0, 0.06, 0.09, 0.12, 0.15)))
WIDTH_CANDIDATES = tuple(
    WidthMap(*values) for values in product((0.2, 0.35, 0.5), (0.1, 0.2, 0.3), (0.0, 0.5, 1.0), (0.0, 0.05, 0.1))
)


@dataclass(frozen=True)
class Clip:
    """A real person's talking: audio float32 (n,) at 16 kHz, and gap, jaw and width per 25 fps frame, (frames, 3)."""

    name: str
    samples: FloatArray
    real: NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """How near a net comes to one clip; ``drawn`` and ``amplitude`` are shares of the person's own movement."""

    gap_r: float
    width_r: float
    f1: float
    jitter: float
    amplitude: float
    drawn: float

    @property
    def fit(self) -> float:
        """What the map is chosen by."""
        return self.gap_r + 0.5 * self.f1

    def cells(self) -> str:
        return " | ".join(f"{value:.3f}" for value in vars(self).values())


def closed_frames(gap: NDArray[np.floating]) -> NDArray[np.bool_]:
    """The frames in which a real mouth is closed: up to a fifth of its range above its least gap."""
    low, high = np.percentile(gap, [2, 95])
    return np.asarray(gap < low + 0.2 * (high - low))


def closure_f1(gap: NDArray[np.floating], closed: NDArray[np.bool_]) -> float:
    """F1 of as many of the lowest gaps as there are closed frames, a frame early or late allowed; NaN without any."""
    count = int(closed.sum())
    if count in (0, len(closed)):
        return float("nan")
    lowest = np.zeros(len(gap), dtype=bool)
    lowest[np.argsort(gap, kind="stable")[:count]] = True
    precision = (lowest & _widened(closed)).sum() / count
    recall = (closed & _widened(lowest)).sum() / count
    return float(2.0 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _widened(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(np.convolve(flags, np.ones(3), "same") > 0)


def score(net: MouthNet, gap_map: GapMap, clip: Clip, width_map: WidthMap | None = None) -> Score:
    """Compare what ``net`` asks for with what the person did; without a ``width_map``, with the packaged one."""
    shapes = predict_all(MouthShapePredictor(net, gap_map, width_map), clip.samples)
    num_frames = min(len(shapes), len(clip.real))
    shapes, real = shapes[:num_frames], clip.real[:num_frames]
    gap, wanted = shapes[:, 0], real[:, 0]
    gap_r, lag = best_lag(gap, wanted.astype(np.float32))
    width_r, _ = best_lag(shapes[:, 2], real[:, 2].astype(np.float32))
    ours, theirs = (gap[lag:], wanted[: num_frames - lag]) if lag >= 0 else (gap[:lag], wanted[-lag:])
    own = float(wanted.std() / np.median(real[:, 2]))  # mouth widths
    return Score(
        gap_r,
        width_r,
        closure_f1(ours, closed_frames(theirs)),
        float(np.std(np.diff(gap, 2)) / gap.std()),
        float(GAP * gap.std() / own),
        float(GAP * express(shapes, 1.0)[:, 0].std() / own),
    )


def left_out(net: MouthNet, clips: Sequence[Clip]) -> list[tuple[GapMap, WidthMap, Score]]:
    """Each clip's score with the maps that fit the others best: the gap's by ``Score.fit``, the width's by its r."""
    table = [[score(net, candidate, clip) for clip in clips] for candidate in CANDIDATES]
    found = []
    for index, clip in enumerate(clips):
        gap_map = CANDIDATES[_best_without(index, [[each.fit for each in row] for row in table])]
        widths = [[_width_r(net, gap_map, clip, candidate) for clip in clips] for candidate in WIDTH_CANDIDATES]
        width_map = WIDTH_CANDIDATES[_best_without(index, widths)]
        found.append((gap_map, width_map, score(net, gap_map, clip, width_map)))
    return found


def _best_without(index: int, table: Sequence[Sequence[float]]) -> int:
    """The row whose mean is highest without the column ``index``."""
    return int(np.argmax([np.mean([value for i, value in enumerate(row) if i != index]) for row in table]))


def _width_r(net: MouthNet, gap_map: GapMap, clip: Clip, width_map: WidthMap) -> float:
    return score(net, gap_map, clip, width_map).width_r


def table_of(nets: dict[str, MouthNet], clips: Sequence[Clip]) -> str:
    lines = [
        "| net | map | clip | gap r | width r | closed F1 | jitter | amplitude | drawn |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, net in nets.items():
        for label, gap_map, width_map in (("none", NO_MAP, NO_WIDTH_MAP), ("packaged", GapMap(), WidthMap())):
            lines += _rows(f"{name} | {label}", clips, [score(net, gap_map, clip, width_map) for clip in clips])
        fitted = left_out(net, clips) if len(clips) > 1 else []
        chosen = ", ".join(f"{gap_map.spread_opens:g}/{gap_map.parted:g}" for gap_map, _, _ in fitted)
        lines += _rows(f"{name} | left out ({chosen})", clips, [found for _, _, found in fitted])
    return "\n".join(lines)


def _rows(label: str, clips: Sequence[Clip], scores: Sequence[Score]) -> list[str]:
    if not scores:
        return []
    mean = Score(*np.mean([list(vars(each).values()) for each in scores], axis=0).tolist())
    rows = [f"| {label} | {clip.name} | {each.cells()} |" for clip, each in zip(clips, scores, strict=True)]
    return [*rows, f"| {label} | **mean** | {mean.cells()} |"]


def read_clip(path: Path, tracker: str, folder: Path) -> Clip:
    """Track the mouth in a video, unless the track (``.npy`` of mediapipe_tracker.py) lies beside it in ``folder``."""
    track = folder / f"{path.stem}.npy"
    if not track.exists():
        script = "tools/measure/lip_sync/mediapipe_tracker.py"
        subprocess.run([tracker, script, str(path), str(track)], check=True, capture_output=True)
    rows = np.load(track)
    is_found = ~np.isnan(rows[:, 1])
    grid_s = np.arange(0, rows[-1, 0], FRAME_S)
    real = np.stack([np.interp(grid_s, rows[is_found, 0], rows[is_found, k]) for k in (1, 2, 3)], axis=1)
    return Clip(path.stem, load_audio(path), real)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker", default="python3", help="Python that has mediapipe")
    parser.add_argument("--tracks", type=Path, help="folder that keeps the tracks")
    parser.add_argument("--clip", type=Path, action="append", required=True)
    parser.add_argument("--net", action="append", default=[], metavar="NAME=FILE")
    args = parser.parse_args()
    named = dict(text.split("=", 1) for text in args.net) or {"packaged": str(PACKAGED)}
    nets = {name: load_net(Path(file)) for name, file in named.items()}
    with tempfile.TemporaryDirectory() as folder:
        clips = [read_clip(path, args.tracker, args.tracks or Path(folder)) for path in args.clip]
    print(table_of(nets, clips))


if __name__ == "__main__":
    main()
