"""Renders half a second with the command itself, decodes it, and checks what came out."""

from __future__ import annotations

import math
import tempfile
import time
import wave
from dataclasses import dataclass
from pathlib import Path

from musetalk_cli.doctor.checks.finding import Finding, Setup, failure, ok
from musetalk_cli.doctor.checks.programs import Ended, run_program, run_python
from musetalk_cli.errors import system_words

NAME = "render"
VOICE_S = 0.5
RATE_HZ = 48_000
TONE_HZ = 150
SIZE_PX = 256
RENDER_S, DECODE_S = 180.0, 20.0
LEAST_PEAK = 1000  # of int16; the tone has 8000
# Of luma at this size, the frame against the avatar's own image: 0.99 with a moving mouth, near 0 for something else.
COMPARED_PX = 64
LEAST_CORRELATION = 0.7
RUN = "from musetalk_cli.__main__ import main; main()"


@dataclass(frozen=True)
class Broken(Exception):  # noqa: N818 - says where the test stopped
    """What is wrong with what was rendered."""

    what: str


def check_render(setup: Setup) -> list[Finding]:
    """Whether ``render`` works, with the settings in force: frames, audio and the avatar's face are in the video."""
    step = "repair what is marked above; musetalk render -v writes a log"
    try:
        with tempfile.TemporaryDirectory(prefix="musetalk-doctor-", ignore_cleanup_errors=True) as folder:
            return [ok(NAME, _render_and_verify(setup, Path(folder)))]
    except Broken as broken:
        return [failure(NAME, broken.what, step)]
    except OSError as error:
        return [failure(NAME, f"no temporary file can be written: {system_words(error)}", "set TMPDIR")]


def _render_and_verify(setup: Setup, folder: Path) -> str:
    voice, video = folder / "voice.wav", folder / "video.mp4"
    _write_voice(voice)
    files = [part for path in setup.named for part in ("--config", str(path))]
    started_at = time.monotonic()
    options = ("--size", str(SIZE_PX), "--quiet", *files)
    done = run_python(RUN, RENDER_S, "render", str(voice), "-o", str(video), *options)
    took_s = time.monotonic() - started_at
    if not done.is_good or not video.is_file():
        raise Broken(_last_words(done))
    num_frames, height, width = _verify_frames(setup, video)
    _verify_audio(setup, video)
    return f"{VOICE_S} s in {took_s:.1f} s: {num_frames} frames of {width} × {height}, audio, the avatar's face"


def _last_words(done: Ended) -> str:
    return f"it failed: {done.reason.removeprefix('musetalk: ').removeprefix('error: ')}"


def _write_voice(path: Path) -> None:
    samples = (
        round(8000 * math.sin(2 * math.pi * TONE_HZ * index / RATE_HZ)) for index in range(round(VOICE_S * RATE_HZ))
    )
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))


def _verify_frames(setup: Setup, video: Path) -> tuple[int, int, int]:
    """Number, height and width of the frames. Raises Broken when they are too few, or show something else."""
    import numpy as np

    from musetalk_cli.app.avatars.choice import choose_avatar
    from musetalk_cli.engine.types.colour import even_size

    chosen = choose_avatar(setup.config, lambda text: None)
    width, height = even_size(chosen.width, chosen.height, SIZE_PX)
    raw = _decode(setup, video, "-map", "0:v", "-f", "rawvideo", "-pix_fmt", "gray")
    num_frames, wanted = len(raw) / (width * height), math.ceil(VOICE_S * setup.config.video.frame_rate)
    # ffmpeg repeats the first frame where the audio begins before it, by what an AAC encoder puts in front.
    if num_frames not in (wanted, wanted + 1):
        raise Broken(f"the video has {num_frames:g} frames of {width} × {height} instead of {wanted}")
    frames = np.frombuffer(raw, np.uint8).reshape(-1, height, width)
    avatar = chosen.load()
    try:
        likeness = min(_correlate(avatar.frames.image(), frames[0]), _correlate(frames[0], frames[-1]))
    finally:
        avatar.close()
    if likeness < LEAST_CORRELATION:
        raise Broken(f"the frames do not show the avatar: their likeness to it is {likeness:.2f}")
    return wanted, height, width


def _correlate(one: object, other: object) -> float:
    """Of two images, each uint8 (h, w) or BGR (h, w, 3), at a small size."""
    import cv2
    import numpy as np

    small = []
    for image in (one, other):
        array = np.asarray(image, np.uint8)
        grey = cv2.cvtColor(array, cv2.COLOR_BGR2GRAY) if array.ndim == 3 else array
        small.append(cv2.resize(grey, (COMPARED_PX, COMPARED_PX), interpolation=cv2.INTER_AREA).ravel())
    return float(np.corrcoef(small[0], small[1])[0, 1])


def _verify_audio(setup: Setup, video: Path) -> None:
    """Raises Broken when the voice is not in it."""
    import numpy as np

    raw = _decode(setup, video, "-map", "0:a", "-f", "s16le", "-ac", "1", "-ar", str(RATE_HZ))
    samples = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2")
    if len(samples) < 0.9 * VOICE_S * RATE_HZ or np.abs(samples.astype(np.int32)).max() < LEAST_PEAK:
        raise Broken(f"the video has {len(samples) / RATE_HZ:.2f} s of audio, or it is silent")


def _decode(setup: Setup, video: Path, *options: str) -> bytes:
    from musetalk_cli.app.settings.tools import find_ffmpeg

    program = find_ffmpeg(setup.config, lambda line: None)
    command = [program, "-v", "error", "-nostdin", "-i", str(video), *options, "pipe:1"]
    done = run_program(command, DECODE_S)
    if not done.is_good:
        raise Broken(f"the video cannot be decoded: {done.reason}")
    return done.stdout
