"""Compare face landmarks with MediaPipe's and with ground truth, and write the table of docs/avatars.md.

    python -m tools.measure.face_tracking --tracker tracker/bin/python [--clip TALKING.mp4 …] [--image PHOTO.png …]

``--tracker`` is a Python with mediapipe==0.10.21 (see tools/measure/lip_sync/mediapipe_tracker.py). Clips and images
are yours. The two face nets are those of ``prepare-avatar``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import cv2

from musetalk_cli.app.settings.folders import cache_folder
from musetalk_cli.engine.avatar.preparation.face_models import find_face_models
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder
from tools.measure.face_tracking.measurements import (
    Row,
    clip_rows,
    cost_rows,
    framing_rows,
    image_rows,
    portrait_rows,
    small_face_rows,
    synthetic_video_rows,
)
from tools.measure.report import update_section

DOCUMENT = Path("docs/avatars.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker", required=True, help="Python that has mediapipe")
    parser.add_argument("--clip", type=Path, action="append", default=[])
    parser.add_argument("--image", type=Path, action="append", default=[])
    args = parser.parse_args()
    cv2.setNumThreads(1)
    models = find_face_models(None, cache_folder() / "face-models", lambda line: print(line, file=sys.stderr))
    finder = FaceFinder(models)
    with tempfile.TemporaryDirectory() as folder:
        rows: list[Row] = []
        for clip in args.clip:
            rows += clip_rows(clip, clip.name, finder, args.tracker, Path(folder))
        rows += synthetic_video_rows(finder, Path(folder))
        rows += portrait_rows(finder) + framing_rows(finder) + small_face_rows(finder)
        rows += image_rows(args.image, finder) + cost_rows(finder)
    lines = [f"| {row.name} | {row.value} | {row.unit} |" for row in rows]
    table = "\n".join(["| what | measured | unit |", "|---|---|---|", *lines])
    update_section("faces", table, DOCUMENT)
    print(table)


if __name__ == "__main__":
    main()
