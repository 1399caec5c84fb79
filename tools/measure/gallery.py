"""Draw faces of all kinds with every mouth, blinking, and with the head at its extremes: a sheet of each, to look at.

    python -m tools.measure.gallery FOLDER [FILE …] [--height 512]

Without files: the built-in portraits, and the photographs in the public domain that scikit-image (astronaut.png) and
matplotlib (grace_hopper.jpg) ship, where they are installed. ``FILE`` is an image, or ``VIDEO@SECONDS`` for one frame
of a video, which is then treated as a still. Faces are cropped as one would crop them for an avatar. FOLDER/NAME.png
holds the head at 1:1 in every state; FOLDER/NAME-eyes.png the eyes alone through a blink, twice as large.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from fixtures.programs import find_ffmpeg
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.avatar.inputs.clip import WHITE
from musetalk_cli.engine.avatar.inputs.sources import read_still
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.mesh import landmarks_of
from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait, portrait_names
from musetalk_cli.engine.avatar.preparation.face_models import find_face_models
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder
from musetalk_cli.engine.models.warp.idle.life import REST, LifeState
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer
from musetalk_cli.engine.types.colour import ByteArray, i420_to_bgr
from musetalk_cli.engine.video.compositing import write_face
from musetalk_cli.system.folders import cache_folder

MAX_YAW_DEG, MAX_PITCH_DEG, MAX_ROLL_DEG = 6.0, 4.0, 2.0
# Gap, jaw, width, pressed lips, lower lip at the teeth, tip of the tongue.
MOUTHS = {
    "rest": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "a": (1.0, 1.0, 0.1, 0.0, 0.0, 0.0),
    "o": (0.6, 0.6, -0.6, 0.0, 0.0, 0.0),
    "ee": (0.3, 0.2, 0.9, 0.0, 0.0, 0.0),
    "oo": (0.25, 0.25, -1.0, 0.0, 0.0, 0.0),
    "f": (0.3, 0.2, 0.1, 0.0, 1.0, 0.0),
    "m": (0.4, 0.3, 0.0, 1.0, 0.0, 0.0),
    "l": (0.5, 0.45, 0.1, 0.0, 0.0, 0.66),
    "n": (0.4, 0.35, 0.15, 0.0, 0.0, 0.6),
    "th": (0.4, 0.35, 0.1, 0.0, 0.0, 1.0),
}
HEADS = {
    f"{name} {sign:+d}": replace(REST, **{name: sign * most * np.pi / 180})
    for name, most in (("yaw", MAX_YAW_DEG), ("pitch", MAX_PITCH_DEG), ("roll", MAX_ROLL_DEG))
    for sign in (-1, 1)
}
CORNERS = {
    "all -": replace(REST, **{k: -v * np.pi / 180 for k, v in (("yaw", MAX_YAW_DEG), ("pitch", MAX_PITCH_DEG))}),
    "brows": replace(REST, brows=1.0),
}
BLINK = (0.0, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
HEAD_HEIGHTS = 2.3  # side of the crop around a face, heights of the face
COLUMNS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--height", type=int, default=512)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    avatars = [open_portrait(describe_portrait(name)) for name in portrait_names()] if not args.files else []
    models = find_face_models(None, cache_folder() / "face-models", print)
    finder = FaceFinder(models)
    avatars += [avatar for file in args.files or packaged_photographs() if (avatar := open_face(str(file), finder))]
    for avatar in avatars:
        sheet, eyes = draw_sheets(avatar, args.height)
        cv2.imwrite(str(args.folder / f"{avatar.name}.png"), sheet)
        cv2.imwrite(str(args.folder / f"{avatar.name}-eyes.png"), eyes)


def packaged_photographs() -> list[Path]:
    """Photographs in the public domain that installed packages ship."""
    found = []
    for package, inside in (("skimage", "data/astronaut.png"), ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")):
        spec = importlib.util.find_spec(package)
        path = Path(spec.origin).parent / inside if spec and spec.origin else None
        found += [path] if path is not None and path.is_file() else []
    return found


def open_face(file: str, finder: FaceFinder) -> Avatar | None:
    """The largest face of an image, or of one frame of a video, cropped; None, with a line, where there is none."""
    name, _, second = file.partition("@")
    image = _read_frame(name, float(second)) if second else read_still(Path(name), None, WHITE)
    meshes = finder.find(image)
    if not meshes:
        print(f"{file}: no face")
        return None
    points = meshes[0].points[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    side = HEAD_HEIGHTS * float((high - low)[1])
    middle = (low + high) / 2 + np.array([0, 0.02 * side])
    first = np.clip(np.floor(middle - side / 2), 0, None).astype(int)
    last = np.minimum(np.ceil(middle + side / 2), image.shape[1::-1]).astype(int)
    crop = np.ascontiguousarray(image[first[1] : last[1], first[0] : last[0]])
    crop = crop[: len(crop) // 2 * 2, : crop.shape[1] // 2 * 2]
    own = (points - first).astype(np.float32)
    return Avatar(Path(name).stem + second, StillFrames(crop), None, (landmarks_of(own),), points=own[None])


def _read_frame(video: str, second: float) -> ByteArray:
    command = [find_ffmpeg(), "-v", "error", "-ss", str(second), "-i", video, "-frames:v", "1", "-f", "image2pipe"]
    data = subprocess.run([*command, "-c:v", "png", "-"], check=True, capture_output=True).stdout
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def draw_sheets(avatar: Avatar, height_px: int) -> tuple[ByteArray, ByteArray]:
    """The sheet of an avatar's states, and that of its eyes through a blink."""
    renderer = StillAvatarRenderer(avatar, height_px=height_px, has_idle_motion=True)
    shown = avatar.resized(height_px)
    face = shown.landmarks[0]
    background = shown.frames.read([0])[0]

    def draw(mouth: str, life: LifeState) -> ByteArray:
        image = background.copy()
        write_face(image, renderer.render(np.array(MOUTHS[mouth], np.float32), life))
        return i420_to_bgr(image)

    states = {name: (name, REST) for name in MOUTHS}
    states |= {"half shut": ("rest", replace(REST, left_lid=0.5, right_lid=0.5))}
    states |= {"shut": ("rest", replace(REST, left_lid=1.0, right_lid=1.0))}
    states |= {name: ("rest", life) for name, life in (HEADS | CORNERS).items()}
    states |= {"a, yaw +1": ("a", HEADS["yaw +1"]), "a, yaw -1": ("a", HEADS["yaw -1"])}
    tiles = [_label(draw(mouth, life), name) for name, (mouth, life) in states.items()]
    eyes = []
    for closure in BLINK:
        image = draw("rest", replace(REST, left_lid=closure, right_lid=closure))
        eyes.append(_label(_eyes_of(image, face), f"{closure:.2f}"))
    for gaze in (-1.0, 1.0):
        eyes.append(_label(_eyes_of(draw("rest", replace(REST, gaze_x=gaze)), face), f"gaze {gaze:+.0f}"))
    return _tiled(tiles, COLUMNS), _tiled(eyes, 2)


def _eyes_of(image: ByteArray, face: Landmarks) -> ByteArray:
    points = np.concatenate([face.left_upper_lid, face.right_lower_lid, face.left_brow, face.right_brow])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.25 * (high - low)[0]
    left, top = np.maximum(low - margin, 0).astype(int)
    right, bottom = (high + margin).astype(int)
    return np.asarray(cv2.resize(image[top:bottom, left:right], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))


def _label(image: ByteArray, text: str) -> ByteArray:
    tile = image.copy()
    cv2.putText(tile, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(tile, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def _tiled(tiles: list[ByteArray], columns: int) -> ByteArray:
    empty = np.zeros_like(tiles[0])
    filled = tiles + [empty] * (-len(tiles) % columns)
    return np.vstack([np.hstack(filled[k : k + columns]) for k in range(0, len(filled), columns)])


if __name__ == "__main__":
    main()
