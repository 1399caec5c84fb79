"""Measure lip sync in rendered videos and write the table of docs/lip-sync.md.

    python -m tools.measure.lip_sync --tracker tracker/bin/python [--recording SPEECH.wav …] [--clip TALKING.mp4 …]
                             [--still PHOTO.png …] [--video PERSON.mp4 …]

``--tracker`` is a Python with mediapipe==0.10.21 (see mediapipe_tracker.py). The files are yours. Recordings are real
speech. Clips are real people talking: their audio is rendered, and the mouths are compared with theirs. Stills and
videos of people are used as avatars and measured as the portraits are. Needs espeak-ng, to measure the net.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from musetalk_cli.engine.models.warp.audio.mouth_shapes import MouthShapePredictor
from tools.assets.audio_net.evaluation import load_audio, motion_row, synthetic_rows, table
from tools.measure.lip_sync.rendered_videos import Bench, avatar_rows, clip_rows, file_rows, portrait_rows, purity_rows
from tools.measure.report import update_section

DOCUMENT = Path("docs/lip-sync.md")
HELLO = Path("examples/hello.wav")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker", required=True, help="Python that has mediapipe")
    parser.add_argument("--recording", type=Path, action="append", default=[])
    parser.add_argument("--clip", type=Path, action="append", default=[])
    parser.add_argument("--still", type=Path, action="append", default=[])
    parser.add_argument("--video", type=Path, action="append", default=[])
    args = parser.parse_args()
    predictor = MouthShapePredictor.load()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args.tracker, Path(folder), predictor)
        voices = [HELLO, *args.recording]
        rows = synthetic_rows(predictor, seed=7, num_workers=2)
        rows += [motion_row(predictor, load_audio(path), path.name) for path in voices]
        rows += [row for path in voices for row in (*portrait_rows(bench, path), *file_rows(bench, path))]
        rows += [row for path in args.still for row in avatar_rows(bench, voices[-1], path, is_video=False)]
        rows += [row for path in args.video for row in avatar_rows(bench, voices[-1], path, is_video=True)]
        rows += purity_rows()
        rows += clip_rows(bench, args.clip)
    update_section("measured", table(rows), DOCUMENT)
    print(table(rows))


if __name__ == "__main__":
    main()
