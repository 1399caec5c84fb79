"""Video → NumPy file of a face's gap, jaw and width per frame, measured with MediaPipe's face mesh.

A script of its own, because MediaPipe needs an older numpy:

    python3 -m venv tracker && tracker/bin/pip install mediapipe==0.10.21
    tracker/bin/python tools/measure/lip_sync/mediapipe_tracker.py VIDEO OUT.npy [--points]

OUT.npy is float32 (frames, 4): the frame's time in seconds, the distance of the inner lips, nose bridge to chin, and
the mouth's width, each as a share of the distance between the outer eye corners; NaN where no face was found. With
``--points`` it is float32 (frames, 468, 2) instead: the points of the mesh without refined lips and eyes, in pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import cv2
import mediapipe
import numpy as np

EYES, MEASURED = (33, 263), ((13, 14), (168, 152), (61, 291))


def faces(path: str, *, is_refined: bool) -> Iterator[tuple[float, np.ndarray | None]]:
    """Each frame's time in seconds, and the points of its face (n, 2) in pixels where there is one."""
    mesh = mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=1, refine_landmarks=is_refined)
    video = cv2.VideoCapture(path)
    while True:
        is_there, frame = video.read()
        if not is_there:
            return
        time_s = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
        found = mesh.process(np.ascontiguousarray(frame[:, :, ::-1])).multi_face_landmarks
        height, width = frame.shape[:2]
        yield time_s, np.array([[p.x * width, p.y * height] for p in found[0].landmark]) if found else None


def track(path: str) -> np.ndarray:
    rows = [
        [time_s, *(measure(points) if points is not None else [np.nan] * 3)]
        for time_s, points in faces(path, is_refined=True)
    ]
    return np.array(rows, dtype=np.float32)


def track_points(path: str) -> np.ndarray:
    missing = np.full((468, 2), np.nan)
    rows = [missing if points is None else points for _, points in faces(path, is_refined=False)]
    return np.array(rows, dtype=np.float32)


def measure(points: np.ndarray) -> list[float]:
    eyes = np.linalg.norm(np.subtract(*points[list(EYES)]))
    return [float(np.linalg.norm(points[a] - points[b]) / eyes) for a, b in MEASURED]


if __name__ == "__main__":
    np.save(sys.argv[2], (track_points if "--points" in sys.argv[3:] else track)(sys.argv[1]))
