"""Measures a mouth in a video with MediaPipe's face mesh; a script of its own, since MediaPipe wants an older numpy.

    python3 -m venv tracker && tracker/bin/pip install mediapipe==0.10.21
    tracker/bin/python tools/lip_sync/track.py VIDEO OUT.npy

OUT.npy is float32 (frames, 4): the frame's time in seconds, and the inner lips' distance, nose bridge to chin, and the
mouth's width, each in distances between the outer eye corners; NaN where no face was found.
"""

from __future__ import annotations

import sys

import cv2
import mediapipe
import numpy as np

EYES, MEASURED = (33, 263), ((13, 14), (168, 152), (61, 291))


def track(path: str) -> np.ndarray:
    mesh = mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=1, refine_landmarks=True)
    video, rows = cv2.VideoCapture(path), []
    while True:
        is_there, frame = video.read()
        if not is_there:
            return np.array(rows, dtype=np.float32)
        time_s = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
        faces = mesh.process(np.ascontiguousarray(frame[:, :, ::-1])).multi_face_landmarks
        rows.append([time_s, *(measure(faces[0], frame.shape) if faces else [np.nan] * 3)])


def measure(face: object, shape: tuple[int, ...]) -> list[float]:
    points = np.array([[point.x * shape[1], point.y * shape[0]] for point in face.landmark])
    eyes = np.linalg.norm(np.subtract(*points[list(EYES)]))
    return [float(np.linalg.norm(points[a] - points[b]) / eyes) for a, b in MEASURED]


if __name__ == "__main__":
    np.save(sys.argv[2], track(sys.argv[1]))
