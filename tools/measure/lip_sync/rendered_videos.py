"""Rendered videos measured with a face tracker → rows: requested mouth against measured mouth, unchanged pixels."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import wave
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fixtures.programs import find_ffmpeg
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait, portrait_names
from musetalk_cli.engine.models.warp.audio.mouth_shapes import LEAD_S, MouthShapePredictor, express
from musetalk_cli.engine.models.warp.model import NUM_SHAPES, WarpModel
from musetalk_cli.engine.types.messages import FeatureBatch, Region
from musetalk_cli.engine.video.compositing import composite
from tools.assets.audio_net.evaluation import FPS, FRAME_S, Row, best_lag, energy_gap, load_audio

FloatArray = NDArray[np.float32]
SILENCE_S = 10
CLOSED = 0.8**2  # a frame's P above this is a closure of at least 0.8, where the lips have to meet


@dataclass(frozen=True)
class Bench:
    """Renders and measures videos in ``folder``; caches the results."""

    tracker: str
    folder: Path
    predictor: MouthShapePredictor

    @cache  # noqa: B019 - one bench lives as long as the program
    def render(self, audio: Path, avatar: str) -> Path:
        video = self.folder / f"{audio.stem}-{Path(avatar).stem}.mp4"
        command = [sys.executable, "-m", "musetalk_cli", "render", str(audio), "-o", str(video), "--avatar", avatar]
        subprocess.run([*command, "-q"], check=True)
        return video

    @cache  # noqa: B019
    def track(self, video: Path, *, is_ours: bool) -> FloatArray:
        """Gap, jaw and width at 25 Hz, frames without a face filled from both sides.

        Rendered frames are 1 / 25 s apart by construction; those of a clip are at their timestamps.
        """
        out = self.folder / f"{video.stem}.npy"
        subprocess.run(
            [self.tracker, "tools/measure/lip_sync/mediapipe_tracker.py", str(video), str(out)],
            check=True,
            capture_output=True,
        )
        rows = np.load(out)
        found = ~np.isnan(rows[:, 1])
        times_s = np.arange(len(rows)) * FRAME_S if is_ours else rows[:, 0]
        grid_s = np.arange(0, times_s[-1], FRAME_S)
        return np.stack([np.interp(grid_s, times_s[found], rows[found, k]) for k in (1, 2, 3)], axis=1)

    def silence(self) -> Path:
        """Ten seconds of silence, during which a video avatar's own speech must not show."""
        path = self.folder / "silence.wav"
        with wave.open(str(path), "wb") as audio:
            audio.setnchannels(1)
            audio.setsampwidth(2)
            audio.setframerate(16_000)
            audio.writeframes(bytes(2 * 16_000 * SILENCE_S))
        return path

    def requested(self, audio: Path) -> FloatArray:
        """The mouth shapes that the model requests, (frames, 6), frame by frame as in the video."""
        samples = load_audio(audio)
        times_s = np.arange(round(len(samples) / 16_000 * FPS)) * FRAME_S
        return express(self.predictor.predict(samples, 0.0, times_s, FRAME_S), 1.0)


def portrait_rows(bench: Bench, audio: Path) -> list[Row]:
    """Requested gap against the gap measured in the video, for every portrait."""
    return [_loop_row(bench, audio, avatar, avatar, least_r=0.95) for avatar in portrait_names()]


def avatar_rows(bench: Bench, audio: Path, image: Path, *, is_video: bool) -> list[Row]:
    """The same for a photo or a video of a person, and the gap measured in silence."""
    kind = f"{'video' if is_video else 'photo'} {image.name}"
    spoken = _loop_row(bench, audio, str(image), kind, least_r=0.85 if is_video else 0.95)
    gap = bench.track(bench.render(bench.silence(), str(image)), is_ours=True)[:, 0]
    figures = f"{gap.mean():.4f} (95 % below {np.percentile(gap, 95):.4f})"
    return [spoken, Row(f"{kind}: gap in silence", figures, "mean < 0.01 of the eyes' distance")]


def _loop_row(bench: Bench, audio: Path, avatar: str, name: str, least_r: float) -> Row:
    measured, requested = bench.track(bench.render(audio, avatar), is_ours=True), bench.requested(audio)
    n = min(len(measured), len(requested))
    r, lag = best_lag(measured[:n, 0], requested[:n, 0])
    closed = measured[:n, 0][requested[:n, 3] > CLOSED]
    wanted = f"r ≥ {least_r:.2f} at lag 0; gap < 0.01 of the eyes' distance"
    figures = f"{r:.3f} at lag {lag:+d}; {closed.mean():.4f} (max {closed.max():.4f}, {len(closed)} frames)"
    return Row(f"{audio.name}, {name}: gap requested and measured; gap while the lips are pressed", figures, wanted)


def file_rows(bench: Bench, audio: Path) -> list[Row]:
    """Durations of video and audio in the finished file."""
    video = bench.render(audio, portrait_names()[0])
    frame_s, audio_s = (_decoded_s(video, kind) for kind in ("v", "a"))
    expected = round(len(load_audio(audio)) / 16_000 * FPS) / FPS
    return [
        Row(
            f"{audio.name}: video, audio, expected",
            f"{frame_s:.3f} s, {audio_s:.3f} s, {expected:.3f} s",
            "within one frame (0.04 s)",
        ),
    ]


def lead_row() -> Row:
    return Row("mouth moves before its audio", f"{LEAD_S / FRAME_S:.0f} frame", "0 … +1 frame")


def purity_rows() -> list[Row]:
    """Pixels outside the region stay equal bit for bit, and two runs give equal frames."""
    rows = [lead_row()]
    for avatar in portrait_names():
        person = open_portrait(describe_portrait(avatar))
        model, shown = WarpModel(person, Fraction(FPS), 768, liveliness=1.0, seed=0), person.resized(768)
        mouths = np.zeros((24, model.num_features), np.float32)
        mouths[:, :NUM_SHAPES] = np.random.default_rng(1).uniform(0, 1, (24, NUM_SHAPES))
        images = [_frames(model, shown, mouths) for _ in range(2)]
        same = hashlib.sha256(images[0].tobytes()).digest() == hashlib.sha256(images[1].tobytes()).digest()
        left, top, width, height = _region_of(model, shown, mouths)
        resting = shown.frames.read([0])[0]
        outside = np.ones(resting.shape, dtype=bool)
        outside[top : top + height, left : left + width] = False
        outside[768:] = False  # the chroma planes follow the luma's region
        changed = int((images[0][:, outside] != resting[outside]).sum())
        rows.append(
            Row(f"{avatar}: pixels changed outside the region; two runs equal", f"{changed}; {same}", "0; True")
        )
    return rows


def _region_of(model: WarpModel, shown: Avatar, mouths: FloatArray) -> Region:
    """What changes in its frames. Without images, faces are made, and not whole frames."""
    return model.make_faces(replace(_batch(shown, mouths[:1]), images=())).faces[0].region


def clip_rows(bench: Bench, clips: Sequence[Path]) -> list[Row]:
    """Videos rendered from real clips' audio against the clips' own mouths, at the best lag within ± 6 frames."""
    rows, scores = [], []
    for index, clip in enumerate(clips, 1):
        ours = bench.track(bench.render(clip, portrait_names()[0]), is_ours=True)
        real = bench.track(clip, is_ours=False)
        n = min(len(ours), len(real))
        gap, width = best_lag(ours[:n, 0], real[:n, 0]), best_lag(ours[:n, 2], real[:n, 2])
        energy = best_lag(energy_gap(load_audio(clip), n), real[:n, 0])
        shifts = range(n // 5, n - n // 5, max(1, n // 20))
        null = np.mean([abs(best_lag(np.roll(ours[:n, 0], shift), real[:n, 0])[0]) for shift in shifts])
        scores.append((gap[0], energy[0], width[0], null))
        figures = f"{gap[0]:.2f} ({gap[1]:+d}), {energy[0]:.2f}, {width[0]:.2f} ({width[1]:+d}), {null:.2f}"
        rows.append(
            Row(f"real clip {index}, {n / FPS:.0f} s: gap (lag), energy method, width (lag), null", figures, "")
        )
    if scores:
        mean = np.mean(scores, axis=0)
        wanted = "gap ≥ 0.40 and ≥ energy + 0.10, width ≥ 0.40, null < 0.12"
        rows.append(Row("mean of the clips", ", ".join(f"{value:.2f}" for value in mean), wanted))
    return rows


def _batch(avatar: Avatar, mouths: FloatArray) -> FeatureBatch:
    """Features for the first frames of a still avatar."""
    shown = (0,) * len(mouths)
    images = tuple(avatar.frames.read(shown))
    return FeatureBatch(mouths, range(len(mouths)), np.zeros((0, 1), np.int16), shown, images)


def _frames(model: WarpModel, avatar: Avatar, mouths: FloatArray) -> NDArray[np.uint8]:
    return np.stack(composite(model.make_faces(_batch(avatar, mouths))).images)


def _decoded_s(video: Path, kind: str) -> float:
    """Seconds of video (``v``) or audio (``a``) in a decoded file."""
    as_image = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-vf", "scale=2:2"]
    as_audio = ["-f", "s16le", "-ac", "1", "-ar", "48000"]
    command = [find_ffmpeg(), "-v", "error", "-i", str(video), "-map", f"0:{kind}:0"]
    command += [*(as_image if kind == "v" else as_audio), "-"]
    num_bytes = len(subprocess.run(command, check=True, capture_output=True).stdout)
    return num_bytes / 4 / FPS if kind == "v" else num_bytes / 2 / 48_000
