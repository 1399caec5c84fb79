"""CPU of a frame from the network's image to the finished video, ours and the way MuseTalk's own scripts go.

python -m tools.measure.compositing_speed VIDEO --write

Theirs, written here from its description: copy the whole frame, lay the face over it with Pillow, write a PNG, let one
ffmpeg make a video of the PNGs and a second one encode it again beside the audio.
"""

from __future__ import annotations

import argparse
import copy
import resource
import subprocess
import tempfile
import time
import wave
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from fixtures.programs import find_ffmpeg
from musetalk_cli.engine.avatar.frame_store import encode_frame, sheet_to_i420
from musetalk_cli.engine.avatar.inputs.clip import ClipSettings
from musetalk_cli.engine.avatar.inputs.video import VideoFile
from musetalk_cli.engine.models.musetalk.face.blend import Box, crop_box, soften
from musetalk_cli.engine.models.musetalk.face.placement import Placement
from musetalk_cli.engine.types.colour import ByteArray, as_bytes, bgr_to_planes, i420_to_bgr, planes_to_i420
from musetalk_cli.engine.types.messages import Face
from musetalk_cli.engine.video.compositing import write_face
from musetalk_cli.engine.video.encoder import EncoderSettings, video_options
from tools.measure.report import PERFORMANCE, update_section

SIZES = ((512, 512), (1280, 720), (1920, 1080))
FPS = 25
FACE_SHARE = 0.42  # of the frame's height
HEAD = "| CPU, ms a frame | " + " | ".join(f"{width} × {height}" for width, height in SIZES) + " |"


class Scene(NamedTuple):
    """Frames BGR, faces 256², where they go, and the mask: uint8, of the crop's size."""

    frames: Sequence[ByteArray]
    faces: Sequence[ByteArray]
    box: Box
    crop: Box
    mask: ByteArray

    @property
    def box_mask(self) -> ByteArray:
        """The mask's part in the face box."""
        box, crop = self.box, self.crop
        return self.mask[box.top - crop.top : box.bottom - crop.top, box.left - crop.left : box.right - crop.left]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    columns = [measure(make_scene(args.video, size, args.frames)) for size in SIZES]
    rows = [f"| {name} | " + " | ".join(f"{column[name]:.2f}" for column in columns) + " |" for name in columns[0]]
    for avatar in ("still", "video"):
        ratios = [column["theirs, together"] / column[f"ours, together, {avatar}"] for column in columns]
        rows.append(f"| **theirs ÷ ours, {avatar}** | " + " | ".join(f"**{ratio:.1f} ×**" for ratio in ratios) + " |")
    text = "\n".join([f"{date.today()}, {args.frames} frames.\n", HEAD, "|---" * (len(SIZES) + 1) + "|", *rows])
    print(text)
    if args.write:
        update_section("compositing speed", text, PERFORMANCE)


def make_scene(video: Path, size: tuple[int, int], count: int) -> Scene:
    """The video's frames filled to ``size``, a face in the middle; faces are the video's own, one frame late."""
    width, height = size
    with closing(VideoFile(video, find_ffmpeg(), ClipSettings(Fraction(FPS), max_seconds=count / FPS))) as source:
        frames = [_fill(i420_to_bgr(image), width, height) for image in source][:count]
    half_height, half_width = int(height * FACE_SHARE / 2), int(height * FACE_SHARE * 0.4)
    x, y = width // 2, height // 2
    box = Box(x - half_width, y - half_height, x + half_width, y + half_height)
    crop = crop_box(box)
    mask = soften(np.full((crop.height, crop.width), 255, np.uint8), box, crop)
    cut = [frame[box.top : box.bottom, box.left : box.right] for frame in frames]
    faces = [as_bytes(cv2.resize(part, (256, 256))) for part in [*cut[-1:], *cut[:-1]]]
    return Scene(frames, faces, box, crop, mask)


def measure(scene: Scene) -> dict[str, float]:
    """Milliseconds of CPU a frame by step, our children's included."""
    count = len(scene.frames)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        audio = write_audio(folder / "audio.wav", count)
        steps = {**measure_theirs(scene, folder, audio), **measure_ours(scene, audio)}
    return {name: seconds / count * 1e3 for name, seconds in steps.items()}


def measure_theirs(scene: Scene, folder: Path, audio: Path) -> dict[str, float]:
    mask = Image.fromarray(scene.mask)
    blend_s = png_s = 0.0
    for index, (frame, face) in enumerate(zip(scene.frames, scene.faces, strict=True)):
        made, spent_s = timed(lambda frame=frame, face=face: lay_over(frame, face, scene, mask))
        blend_s += spent_s
        path = str(folder / f"{index:08d}.png")
        png_s += timed(lambda path=path, made=made: cv2.imwrite(path, made))[1]
    ffmpeg = [find_ffmpeg(), "-y", "-v", "error"]
    images = ["-r", str(FPS), "-f", "image2", "-i", str(folder / "%08d.png")]
    silent, final = folder / "silent.mp4", folder / "final.mp4"
    first = [*ffmpeg, *images, "-vcodec", "libx264", "-vf", "format=yuv420p", "-crf", "18", str(silent)]
    second = [*ffmpeg, "-i", str(audio), "-i", str(silent), str(final)]
    first_s = timed(lambda: subprocess.run(first, check=True))[1]
    second_s = timed(lambda: subprocess.run(second, check=True))[1]
    return {
        "theirs: copy, resize, Pillow": blend_s,
        "theirs: PNG": png_s,
        "theirs: first encode": first_s,
        "theirs: second encode": second_s,
        "theirs, together": blend_s + png_s + first_s + second_s,
    }


def measure_ours(scene: Scene, audio: Path) -> dict[str, float]:
    placement = Placement(scene.box, scene.box_mask)
    copy_s = read_s = place_s = write_s = 0.0
    images: list[ByteArray] = []
    for frame, face in zip(scene.frames, scene.faces, strict=True):
        data = encode_frame(planes_to_i420(bgr_to_planes(frame)))
        image, spent_s = timed(lambda data=data: decode(data))
        read_s += spent_s
        copy_s += timed(image.copy)[1]
        made, spent_s = timed(lambda face=face: placement.place(face))
        place_s += spent_s
        placed = Face(made.region, made.planes, made.mask)
        write_s += timed(lambda image=image, placed=placed: write_face(image, placed))[1]
        images.append(image)
    encode_s = timed(lambda: encode(images, audio))[1]
    return {
        "ours: copy a still's frame": copy_s,
        "ours: or read a video's": read_s,
        "ours: resize, colours": place_s,
        "ours: blend into I420": write_s,
        "ours: pipe and encode": encode_s,
        "ours, together, still": copy_s + place_s + write_s + encode_s,
        "ours, together, video": read_s + place_s + write_s + encode_s,
    }


def lay_over(frame: ByteArray, face: ByteArray, scene: Scene, mask: Image.Image) -> ByteArray:
    """A face over a copy of the frame, all of the crop through Pillow."""
    own = copy.deepcopy(frame)
    box, crop = scene.box, scene.crop
    body = Image.fromarray(own[:, :, ::-1])
    part = body.crop(crop)
    resized = cv2.resize(face, (box.width, box.height))
    part.paste(Image.fromarray(resized[:, :, ::-1]), (box.left - crop.left, box.top - crop.top))
    body.paste(part, (crop.left, crop.top), mask.convert("L"))
    return as_bytes(np.array(body)[:, :, ::-1])


def decode(data: bytes) -> ByteArray:
    """As StoredFrames reads a frame."""
    return sheet_to_i420(as_bytes(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)))


def encode(images: Sequence[ByteArray], audio: Path) -> None:
    """With the default settings."""
    width, height = images[0].shape[1], images[0].shape[0] * 2 // 3
    settings = EncoderSettings(width, height, Fraction(FPS), 1, "ultrafast", "zerolatency", 23, None, 128, 1.0)
    names = {"vcodec": "c:v", "video_bitrate": "b:v"}
    options = [
        word for key, value in video_options(settings).items() for word in (f"-{names.get(key, key)}", str(value))
    ]
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", str(FPS), "-i", "pipe:0"]
    command = [find_ffmpeg(), "-v", "error", *raw, "-i", str(audio), *options, "-c:a", "aac", "-f", "mp4"]
    command += ["-movflags", "frag_keyframe+empty_moov", "pipe:1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        assert child.stdin is not None
        for image in images:
            child.stdin.write(image.data)
        child.stdin.close()
    if child.returncode:
        raise SystemExit("ffmpeg failed")


def write_audio(path: Path, count: int) -> Path:
    samples = np.random.default_rng(0).normal(0, 1000, 48_000 * count // FPS).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(samples.tobytes())
    return path


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its seconds of CPU, those of children included."""
    started = _spent_s()
    made = call()
    return made, _spent_s() - started


def _spent_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _fill(image: ByteArray, width: int, height: int) -> ByteArray:
    """Scaled until it fills the frame, its middle."""
    factor = max(width / image.shape[1], height / image.shape[0])
    size = max(width, round(image.shape[1] * factor)), max(height, round(image.shape[0] * factor))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return as_bytes(np.ascontiguousarray(scaled[top : top + height, left : left + width]))


if __name__ == "__main__":
    main()
