"""Clips and images → rows: distance of our face mesh from MediaPipe's and from ground truth, jitter, CPU time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from fixtures.programs import find_ffmpeg
from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.mesh import GROUPS, LIDS, LIPS, NUM_MESH_POINTS
from musetalk_cli.engine.avatar.portrait import describe_portrait, portrait_names
from musetalk_cli.engine.avatar.preparation.checks.bars import image_area
from musetalk_cli.engine.avatar.preparation.checks.plausibility import RejectReason, reject_reason_of, yaw_deg
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder, region_of_points
from musetalk_cli.engine.avatar.preparation.smoothing import smooth_track
from musetalk_cli.engine.avatar.preparation.tracking import FaceTrack, track_face
from musetalk_cli.engine.dub.clip import ClipFrames, open_clip
from musetalk_cli.engine.types.planar_frame import PlanarFrame
from tools.measure.face_tracking import scenes

ALL = tuple(range(NUM_MESH_POINTS))
MOVING = {*LIPS, *LIDS, *GROUPS["left_brow"], *GROUPS["right_brow"]}
HEAD = tuple(index for index in ALL if index not in MOVING)
SCRIPT = "tools/measure/lip_sync/mediapipe_tracker.py"


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    value: str
    unit: str


@dataclass(frozen=True)
class TrackedClip:
    """A clip's track as detected and as smoothed."""

    raw: FaceTrack
    smoothed: FaceTrack


def frames_of(clip: Path) -> Iterator[PlanarFrame]:
    """Every frame, as a preparation searches it."""
    ffmpeg = find_ffmpeg()
    with ClipFrames(open_clip(clip, ffmpeg), ffmpeg) as frames:
        yield from map(PlanarFrame, frames)


def track_clip(clip: Path, finder: FaceFinder) -> TrackedClip:
    rate = Fraction(cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FPS)).limit_denominator(1001)
    raw = track_face(frames_of(clip), finder)
    return TrackedClip(raw, smooth_track(raw, rate))


def eyes_px(points: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm(points[:, 33, :2] - points[:, 263, :2], axis=1))


def errors(points: FloatArray, truth: FloatArray, indices: tuple[int, ...]) -> FloatArray:
    """Distances (n, points) in per cent of the distance between the eyes."""
    chosen = list(indices)
    away = np.linalg.norm(points[:, chosen, :2] - truth[:, chosen, :2], axis=2)
    return 100 * away / eyes_px(truth)[:, None]


def jitter(points: FloatArray, indices: tuple[int, ...]) -> float:
    """Standard deviation of white noise with equal second differences, per cent of the eyes' distance, frame median."""
    seconds = np.diff(points[:, list(indices), :2], n=2, axis=0)
    per_frame = np.sqrt(np.mean(seconds**2, axis=(1, 2)) / 6)
    return float(np.nanmedian(100 * per_frame / eyes_px(points)[1:-1]))


def gap(points: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm(points[:, 13] - points[:, 14], axis=1) / eyes_px(points))


def mean_and_p99(values: FloatArray) -> str:
    return f"{np.nanmean(values):.2f}, {np.nanpercentile(values, 99):.2f}"


def clip_rows(clip: Path, name: str, finder: FaceFinder, tracker: str, folder: Path) -> list[Row]:
    """Our face mesh on a clip against MediaPipe's, before and after smoothing.

    Args:
        clip: A video with a face.
        name: Its name in the table.
        finder: Our detector and mesh net.
        tracker: A Python with mediapipe.
        folder: For temporary files.
    """
    out = folder / "reference.npy"
    subprocess.run([tracker, SCRIPT, str(clip), str(out), "--points"], check=True, capture_output=True)
    reference, ours = np.load(out), track_clip(clip, finder)
    raw, smoothed = ours.raw.points, ours.smoothed.points
    both = errors(raw, reference, ALL)
    shots, yaw = int(ours.raw.is_cut.sum()), ours.raw.yaw_deg
    mouth = np.isfinite(gap(raw))
    kept = np.corrcoef(gap(raw)[mouth], gap(smoothed)[mouth])[0, 1]
    size = f"{cv2.VideoCapture(str(clip)).get(3):.0f} × {cv2.VideoCapture(str(clip)).get(4):.0f}"
    parts = [mean_and_p99(values) for values in (both, errors(raw, reference, LIPS), errors(raw, reference, LIDS))]
    head = f"{jitter(reference, HEAD):.3f} MediaPipe, {jitter(raw, HEAD):.3f} → {jitter(smoothed, HEAD):.3f}"
    return [
        Row(
            f"{name}, {size}: frames, with a face, shots, yaw",
            f"{len(raw)}, {100 * ours.raw.found_share:.0f} %, {shots}, {np.nanmin(yaw):.0f}° … {np.nanmax(yaw):.0f}°",
            "",
        ),
        Row(f"{name}: away from MediaPipe: all points; lips; lids", "; ".join(parts), "mean, 99th percentile, %"),
        Row(f"{name}: jitter of the head: before → after", head, "%"),
        Row(
            f"{name}: jitter of the lips: before → after",
            f"{jitter(raw, LIPS):.3f} → {jitter(smoothed, LIPS):.3f}",
            "%",
        ),
        Row(f"{name}: mouth's gap, before against after", f"r = {kept:.3f}", ""),
    ]


def synthetic_video_rows(finder: FaceFinder, folder: Path) -> list[Row]:
    """Synthetic videos of known motion: distance of the points from one mesh that moves along."""
    rows = []
    for is_swaying, what in ((False, "a motionless head (nora, with grain, H.264)"), (True, "the same head, swaying")):
        clip = folder / "video.mp4"
        maps = scenes.write_video(clip, "nora", 150, is_swaying=is_swaying)
        ours = track_clip(clip, finder)
        still = finder.find(scenes.portrait("nora"))[0].points[:, :2]
        truth = (np.einsum("nij,pj->npi", maps[:, :, :2], still) + maps[:, None, :, 2]).astype(np.float32)
        off = []
        for track in (ours.raw, ours.smoothed):
            away = track.points - truth
            away = away - away.mean(axis=0)
            off.append(100 * float(np.sqrt(np.mean(np.sum(away**2, axis=2))) / eyes_px(truth).mean()))
        both = [jitter(track.points - truth + truth[:1], ALL) for track in (ours.raw, ours.smoothed)]
        rows.append(Row(f"{what}: jitter, before → after", f"{both[0]:.3f} → {both[1]:.3f}", "%"))
        rows.append(Row(f"{what}: wandering, before → after", f"{off[0]:.3f} → {off[1]:.3f}", "%"))
    return rows


def portrait_rows(finder: FaceFinder) -> list[Row]:
    """Distance from the drawn portraits' exact lips, lids and chin."""
    rows = []
    for name in portrait_names():
        drawn, (mesh,) = describe_portrait(name).landmarks, finder.find(scenes.portrait(name))
        truth = np.zeros((1, NUM_MESH_POINTS, 2), np.float32)
        for group, indices in GROUPS.items():
            truth[0, list(indices)] = getattr(drawn, group)
        points = mesh.points[None, :, :2]
        means = [f"{errors(points, truth, part).mean():.1f}" for part in (LIPS, LIDS, GROUPS["oval"])]
        chin = 100 * float((points[0, 152, 1] - truth[0, 152, 1]) / eyes_px(truth)[0])
        rows.append(
            Row(f"{name}, drawn: off by: lips; lids; outline; chin", "; ".join(means) + f"; {chin:+.1f} down", "%")
        )
    return rows


def framing_rows(finder: FaceFinder) -> list[Row]:
    """Rotated portraits: the mesh from one crop, and the mean of several, against the upright mesh rotated."""
    one, several = [], []
    for name in portrait_names():
        upright = finder.find(scenes.portrait(name))[0].points
        for turn_deg in (20, 45, -30, 90, 180):
            to_scene = scenes.similarity(512, 512, 0.8, turn_deg)
            scene = scenes.paste(scenes.scenery(1024, 1024), scenes.portrait(name), to_scene)
            (mesh,) = finder.find(scene)
            truth = (upright[:, :2] @ to_scene[:, :2].T + to_scene[:, 2])[None]
            single = finder.mesh(scene, region_of_points(mesh.points))
            several.append(errors(mesh.points[None], truth, ALL).mean())
            one.append(errors(single.points[None], truth, ALL).mean())
    figures = f"{np.mean(one):.2f} → {np.mean(several):.2f}"
    return [Row("portraits turned by 20° … 180°: one crop → mean of five crops", figures, "mean, %")]


def small_face_rows(finder: FaceFinder) -> list[Row]:
    rows = []
    for share in (0.07, 0.05, 0.04):
        found, others, tried = 0, 0, 0
        for name in portrait_names():
            for width, height in ((1920, 1080), (1080, 1920), (640, 480)):
                for x, y in ((0.2, 0.3), (0.55, 0.5), (0.83, 0.7)):
                    to_scene = scenes.similarity(x * width, y * height, share * width / scenes.FACE_PX, 0)
                    scene = scenes.paste(scenes.scenery(width, height, tried), scenes.portrait(name), to_scene)
                    middles = [mesh.points[:, :2].mean(axis=0) for mesh in finder.find(scene)]
                    near = [np.hypot(*(m - (x * width, y * height))) < share * width for m in middles]
                    tried, found, others = tried + 1, found + any(near), others + len(near) - any(near)
        rows.append(
            Row(f"faces {100 * share:.0f} % of the width: found; wrong ones", f"{found} of {tried}; {others}", "")
        )
    return rows


def image_rows(images: list[Path], finder: FaceFinder) -> list[Row]:
    rows = []
    for path in images:
        image = np.asarray(cv2.imread(str(path)), np.uint8)
        height, width = image.shape[:2]
        judged = []
        for mesh in finder.find(image):
            reject_reason = reject_reason_of(mesh.points, mesh.presence, image_area(image))
            judged.append(f"{reject_reason.value or 'usable'}, yaw {yaw_deg(mesh.points):.0f}°")
        rows.append(Row(f"{path.name}, {width} × {height}", "; ".join(judged) or RejectReason.NO_FACE.value, ""))
    return rows


def cost_rows(finder: FaceFinder) -> list[Row]:
    """CPU time on one thread, which other load on the machine hardly changes."""
    cv2.setNumThreads(1)
    rows = []
    for width, height in ((576, 768), (1920, 1080), (1080, 1920)):
        to_scene = scenes.similarity(width / 2, height / 2, 0.3 * width / scenes.FACE_PX, 0)
        scene = scenes.paste(scenes.scenery(width, height), scenes.portrait("nora"), to_scene)
        region = region_of_points(finder.find(scene)[0].points)
        costs = [
            _cpu_ms(partial(finder.mesh, scene, region), 30),
            _cpu_ms(partial(finder.detect, scene, thoroughly=False), 15),
            _cpu_ms(partial(finder.detect, scene), 3),
        ]
        figures = ", ".join(f"{cost:.1f}" for cost in costs)
        rows.append(
            Row(f"{width} × {height}: mesh, detector on the whole frame, detector with tiles", figures, "ms CPU")
        )
    return rows


def _cpu_ms(work: Callable[[], object], times: int) -> float:
    costs = []
    for _ in range(times):
        begin = time.process_time()
        work()
        costs.append(1000 * (time.process_time() - begin))
    return float(np.median(costs))
