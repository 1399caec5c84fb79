"""``musetalk prepare-avatar`` and ``musetalk avatars`` as a user runs them, with the real nets and the real ffmpeg."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from fixtures.clips import moved_portrait, portrait_image, write_clip, write_long_clip
from fixtures.media import read_audio, read_frames, write_wav
from musetalk_cli.engine.avatar.avatar_files import LISTING_FILE, open_avatar_folder, read_record
from musetalk_cli.engine.avatar.portrait import describe_portrait
from musetalk_cli.engine.avatar.preparation.face_models import FaceModels
from musetalk_cli.engine.models.musetalk.face.avatar_cache import AvatarCache
from musetalk_cli.engine.models.musetalk.face.face_parts import PartSettings, face_parts
from musetalk_cli.engine.models.warp.model import WarpModel
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.engine.types.messages import FeatureBatch
from musetalk_cli.engine.video.compositing import composite
from tests.engine.avatar.inputs.test_images import png_bomb

Run = Callable[..., subprocess.CompletedProcess[bytes]]
SIDE = 256


@pytest.fixture
def home(tmp_path: Path, face_models: FaceModels, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A musetalk home of the test's own; the face nets are there already."""
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MUSETALK_FACE_MODELS", str(face_models.mesh.parent))
    return tmp_path / "home"


@pytest.fixture
def clip(tmp_path: Path, ffmpeg: str) -> Path:
    return write_clip(ffmpeg, tmp_path / "talk.mp4", [moved_portrait(n, SIDE) for n in range(20)])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return save(tmp_path / "me.png", portrait_image(SIDE))


def save(path: Path, image: ByteArray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode()


@pytest.mark.parametrize("command", [("render",), ("stream", "--no-pace", "-i")])
def test_quiet_hides_a_preparation_on_the_fly(
    run_cli: Run, home: Path, photo: Path, speech: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = run_cli(*command, speech, "--avatar", photo, "-o", "quiet.mp4", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "quiet.mp4").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_utf8_is_recorded_as_far_as_it_is_text(run_cli: Run, home: Path, photo: Path) -> None:
    odd = photo.with_name(os.fsdecode(b"caf\xe9.png"))
    photo.rename(odd)
    done = run_cli("prepare-avatar", odd, "--name", "anna")
    assert done.returncode == 0, said(done)
    assert read_record(home / "avatars" / "anna").source_name == "caf\N{REPLACEMENT CHARACTER}.png"


def test_a_video_becomes_an_avatar_that_render_uses(
    run_cli: Run, home: Path, clip: Path, speech: Path, tmp_path: Path, ffmpeg: str
) -> None:
    done = run_cli("prepare-avatar", clip, "--name", "anna")
    assert done.returncode == 0, said(done)
    assert done.stdout == b""
    folder = home / "avatars" / "anna"
    assert said(done).splitlines()[-1].startswith("20 frames of 256 × 256, 0.8 s at 25 fps")
    record = read_record(folder)
    assert (record.num_frames, record.num_missing, record.source_name) == (20, 0, "talk.mp4")
    assert {path.name for path in folder.iterdir()} == {"avatar.json", "faces.npz", "frames.jpegs"}
    avatar = open_avatar_folder(folder)
    assert face_parts(avatar, PartSettings(), AvatarCache(folder)).masks.max() == 255
    avatar.close()
    done = run_cli("render", speech, "--avatar", "anna", "-o", "out.mp4", cwd=tmp_path)
    assert done.returncode == 0, said(done)
    assert len(read_frames(ffmpeg, tmp_path / "out.mp4", SIDE, SIDE)) == 63


def test_landmarks_are_where_the_portrait_has_them(run_cli: Run, home: Path, photo: Path) -> None:
    assert run_cli("prepare-avatar", photo).returncode == 0
    avatar = open_avatar_folder(home / "avatars" / "me")
    drawn = describe_portrait("nora")
    factor = SIDE / drawn.height
    eyes = np.linalg.norm(drawn.landmarks.left_upper_lid[0] - drawn.landmarks.right_upper_lid[-1]) * factor
    for name in ("outer_upper_lip", "outer_lower_lip"):
        expected = (getattr(drawn.landmarks, name) + 0.5) * factor - 0.5
        away = np.linalg.norm(getattr(avatar.landmarks[0], name) - expected, axis=1).mean()
        assert away / eyes < 0.06, name
    avatar.close()


def test_a_image_given_to_render_is_prepared_once(
    run_cli: Run, home: Path, photo: Path, speech: Path, tmp_path: Path, ffmpeg: str
) -> None:
    for attempt in range(2):
        done = run_cli("render", speech, "--avatar", "me.png", "-o", f"{attempt}.mp4", cwd=tmp_path)
        assert done.returncode == 0, said(done)
        assert ("preparing me.png" in said(done)) == (attempt == 0)
        assert len(read_frames(ffmpeg, tmp_path / f"{attempt}.mp4", SIDE, SIDE)) == 63
    (cached,) = (home / "cache" / "avatars").iterdir()
    photo.write_bytes(save(tmp_path / "other.png", portrait_image(SIDE, "theo")).read_bytes())
    done = run_cli("render", speech, "--avatar", "me.png", "-o", "2.mp4", cwd=tmp_path)
    assert "preparing me.png" in said(done)
    done = run_cli("render", speech, "--avatar", cached, "-o", "3.mp4", cwd=tmp_path)
    assert done.returncode == 0, said(done)


@pytest.mark.parametrize("background", ["keep", "white"])
def test_what_cannot_be_read_is_not_said_to_be_prepared(
    run_cli: Run, home: Path, speech: Path, tmp_path: Path, background: str
) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(500))
    for name in ("text.jpg", "cut.mp4", speech):
        done = run_cli("render", speech, "--avatar", name, "--background", background, "-o", "o.mp4", cwd=tmp_path)
        assert done.returncode == 1
        (line,) = said(done).splitlines()
        assert "error" in line


def test_an_avatar_that_does_not_exist_is_reported_with_the_nearest(run_cli: Run, home: Path, speech: Path) -> None:
    assert "did you mean 'nora'?" in said(run_cli("render", speech, "--avatar", "norah"))
    assert "no avatar and no file 'me/face.png'" in said(run_cli("render", speech, "--avatar", "me/face.png"))
    (home / "face.jpg").touch()
    typed = said(run_cli("render", "--demo", "--avatar", home / "fce.jpg"))
    assert f"no file '{home / 'fce.jpg'}' (did you mean '{home / 'face.jpg'}'?)" in typed
    address = "https://example.org/face.jpg"
    for command in (("render", speech, "--avatar", address), ("prepare-avatar", address)):
        assert f"{address} is an address (download it first: curl -LO {address})" in said(run_cli(*command))
    assert "it is ready for use: musetalk render --demo --avatar nora" in said(run_cli("prepare-avatar", "nora"))


def test_another_time_it_is_up_to_date_or_says_what_changed(run_cli: Run, home: Path, clip: Path, photo: Path) -> None:
    assert run_cli("prepare-avatar", clip, "--name", "anna").returncode == 0
    before = (home / "avatars" / "anna" / "avatar.json").stat().st_mtime_ns
    assert "up to date" in said(run_cli("prepare-avatar", clip, "--name", "anna"))
    assert (home / "avatars" / "anna" / "avatar.json").stat().st_mtime_ns == before
    done = run_cli("prepare-avatar", clip, "--name", "anna", "--max-seconds", "0.4", "--bbox-shift", "2")
    assert "built again: bbox_shift: 0 → 2; max_seconds: none → 0.4" in said(done)
    assert read_record(home / "avatars" / "anna").num_frames == 10
    done = run_cli("prepare-avatar", photo, "--name", "anna")
    assert done.returncode == 1
    assert "exists already, made from another input (talk.mp4)" in said(done)
    assert read_record(home / "avatars" / "anna").num_frames == 10
    assert run_cli("prepare-avatar", photo, "--name", "anna", "--force").returncode == 0
    assert read_record(home / "avatars" / "anna").num_frames == 1
    assert [path.name for path in (home / "avatars").iterdir()] == ["anna"]


def test_a_folder_that_is_no_avatar_is_never_replaced(run_cli: Run, photo: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "thesis").mkdir(parents=True)
    (tmp_path / "mine" / "thesis" / "text").touch()
    done = run_cli("prepare-avatar", photo, "--name", "thesis", "--avatar-dir", tmp_path / "mine", "--force")
    assert done.returncode == 1
    assert "is not an avatar" in said(done)
    assert (tmp_path / "mine" / "thesis" / "text").exists()


def beside(*images: ByteArray) -> ByteArray:
    height = max(len(image) for image in images)
    padded = [np.pad(p, ((0, height - len(p)), (8, 8), (0, 0)), constant_values=200) for p in images]
    return np.concatenate(padded, axis=1)


def test_of_two_faces_the_larger_is_taken_and_both_are_listed(run_cli: Run, home: Path, tmp_path: Path) -> None:
    both = beside(portrait_image(200), portrait_image(320, "theo"))
    path = save(tmp_path / "both of us.png", both)
    done = run_cli("prepare-avatar", path, "--name", "both")
    assert done.returncode == 0, said(done)
    assert "2 faces were found; the largest was taken" in said(done)
    command = f"musetalk prepare-avatar '{path}' --name both --face 2"
    assert f"{command} takes another" in said(done)
    folder = home / "avatars" / "both"
    assert (folder / LISTING_FILE).is_file()
    largest = open_avatar_folder(folder)
    assert largest.landmarks[0].nose[1, 0] > 216
    largest.close()
    assert run_cli(*shlex.split(command)[1:]).returncode == 0
    smaller = open_avatar_folder(folder)
    assert smaller.landmarks[0].nose[1, 0] < 216
    smaller.close()
    done = run_cli("prepare-avatar", path, "--name", "third", "--face", "3")
    assert "face 3 was asked for; at most 2 faces can be seen" in said(done)


def test_frames_without_a_face_are_named_by_time(run_cli: Run, home: Path, tmp_path: Path, ffmpeg: str) -> None:
    images = [moved_portrait(n, SIDE) for n in range(20)]
    images[5:9] = [np.zeros_like(images[0])] * 4
    done = run_cli("prepare-avatar", write_clip(ffmpeg, tmp_path / "gap.mp4", images))
    assert done.returncode == 0, said(done)
    assert "4 of 20 frames have no usable face and stay as they are: 0.20–0.36 s (no face)" in said(done)


def test_no_mouth_is_drawn_where_no_face_is(run_cli: Run, home: Path, tmp_path: Path, ffmpeg: str) -> None:
    """A person, a test image, the person again, who then leaves the frame to the left and comes back."""
    away = [*[0] * 7, *np.linspace(0, 0.9, 12), *np.linspace(0.9, 0, 12), *[0] * 7]
    wide = np.pad(portrait_image(SIDE), ((0, 0), (0, SIDE), (0, 0)), mode="edge")
    left = [wide[:, round(x * SIDE) :][:, :SIDE] for x in away]
    card = np.kron(np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8), np.ones((32, 32, 1), np.uint8))
    images = [moved_portrait(n, SIDE) for n in range(20)] + [card] * 10 + left
    clip = write_clip(ffmpeg, tmp_path / "clip.mp4", [np.ascontiguousarray(image) for image in images])
    done = run_cli("prepare-avatar", clip, "--name", "anna")
    assert done.returncode == 0, said(done)
    assert "have no usable face and stay as they are: 0.80–1.20 s (no face), " in said(done)
    avatar = open_avatar_folder(home / "avatars" / "anna")
    is_shown = avatar.opacity > 0
    assert is_shown[:20].all()
    assert not is_shown[20:30].any()
    assert is_shown[[30, 36, -7, -1]].all()
    assert not is_shown[42:56].any()
    model = WarpModel(avatar, Fraction(25), SIDE, liveliness=0.0, seed=0)
    shapes = np.tile(np.array([1, 1, 0, 0, 0, 0], np.float32), (len(images), 1))
    stored, drawn = (tuple(avatar.frames.read(range(len(images)))) for _ in range(2))
    batch = FeatureBatch(shapes, range(len(images)), np.zeros((0, 1), np.int16), tuple(range(len(images))), drawn)
    made = composite(model.make_faces(batch)).images
    assert [bool((one != other).any()) for one, other in zip(made, stored, strict=True)] == is_shown.tolist()
    avatar.close()


def test_a_video_of_one_frame_is_a_still(run_cli: Run, home: Path, tmp_path: Path, ffmpeg: str) -> None:
    done = run_cli("prepare-avatar", write_clip(ffmpeg, tmp_path / "one.mp4", [portrait_image(SIDE)]))
    assert said(done).splitlines()[-1].startswith("a still of 256 × 256"), said(done)


def test_a_folder_of_images_is_an_avatar_too(run_cli: Run, home: Path, tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    for n in range(12):
        save(tmp_path / "shots" / f"{n}.jpg", moved_portrait(n, SIDE))
    done = run_cli("prepare-avatar", tmp_path / "shots", "--size", "128")
    assert "12 frames of 128 × 128, 0.5 s at 25 fps" in said(done), said(done)


BAD: dict[str, tuple[Callable[[Path, str], object], str]] = {
    "noise.png": (
        lambda path, _: save(path, np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)),
        "no face",
    ),
    "cut.png": (lambda path, _: save(path, np.ascontiguousarray(portrait_image(400)[:230])), "face"),
    "tiny.png": (lambda path, _: save(path, np.pad(portrait_image(64), ((500,) * 2, (900,) * 2, (0, 0)))), "face"),
    "black.mp4": (
        lambda path, ffmpeg: write_clip(ffmpeg, path, [np.full((128, 128, 3), 9 * n, np.uint8) for n in range(8)]),
        "only 0 of 8 frames (0 %) have a usable face",
    ),
    "rare.mp4": (
        lambda path, ffmpeg: write_clip(
            ffmpeg, path, [portrait_image(SIDE)] * 4 + [np.zeros((SIDE, SIDE, 3), dtype=np.uint8)] * 6
        ),
        "only 4 of 10 frames (40 %) have a usable face",
    ),
    "text.txt": (lambda path, _: path.write_text("hello\n" * 99), "it is text"),
    "text.png": (lambda path, _: path.write_text("hello\n" * 99), "it is text"),
    "empty.mp4": (lambda path, _: path.touch(), "is empty"),
    "audio.wav": (lambda path, _: write_wav(path, np.zeros((4800, 1))), "has no video track"),
    "bomb.png": (lambda path, _: path.write_bytes(png_bomb(20_000, 20_000)), "20000 × 20000 pixels"),
    "dot.png": (lambda path, _: save(path, np.zeros((1, 1, 3), dtype=np.uint8)), "has only 1 × 1 pixels"),
    "folder": (lambda path, _: path.mkdir(), "no image in the folder"),
    "missing.mp4": (lambda path, _: None, "does not exist"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line(run_cli: Run, home: Path, tmp_path: Path, ffmpeg: str, name: str) -> None:
    make, message = BAD[name]
    make(tmp_path / name, ffmpeg)
    done = run_cli("prepare-avatar", tmp_path / name, "--name", "x", "--quiet")
    assert done.returncode == 1
    assert done.stdout == b""
    (line,) = said(done).splitlines()
    assert line.startswith("musetalk: error: ")
    assert message in line
    assert not list((home / "avatars").glob("*")) and not list((home / "avatars").glob(".*"))


@pytest.mark.parametrize("name", ["text.txt", "text.png", "audio.wav", "bomb.png", "dot.png", "folder"])
def test_what_holds_no_image_is_refused_before_the_face_nets_are_looked_for(
    run_cli: Run, home: Path, tmp_path: Path, ffmpeg: str, speech: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("MUSETALK_FACE_MODELS", str(tmp_path / "nowhere"))
    make, message = BAD[name]
    make(tmp_path / name, ffmpeg)
    done = run_cli("render", speech, "-o", tmp_path / "out.mp4", "--avatar", tmp_path / name)
    assert done.returncode == 1
    assert message in said(done).splitlines()[-1]


def test_a_image_without_the_face_nets_says_where_they_are_wanted(
    run_cli: Run, home: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSETALK_FACE_MODELS", str(tmp_path / "nowhere"))
    done = run_cli("prepare-avatar", photo)
    assert done.returncode == 1
    assert "MUSETALK_FACE_MODELS: there is no" in said(done).splitlines()[-1]
    assert not list((home / "avatars").glob("*"))


@pytest.mark.parametrize("name", ["a/b", "..", "", "nora", ".hidden"])
def test_a_bad_name_is_refused(run_cli: Run, home: Path, photo: Path, name: str) -> None:
    done = run_cli("prepare-avatar", photo, f"--name={name}")
    assert done.returncode == 1
    assert said(done).startswith("musetalk: error: ")
    assert not home.exists()


def test_a_place_that_cannot_be_written_is_reported(run_cli: Run, home: Path, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_cli("prepare-avatar", photo, "--avatar-dir", tmp_path / "file")
    assert done.returncode == 1
    assert "cannot write avatars to" in said(done)


def test_the_preview_is_a_image_and_replaces_nothing_unasked(
    run_cli: Run, home: Path, clip: Path, tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    assert run_cli("prepare-avatar", clip, "--preview", sheet).returncode == 0
    image = cv2.imread(str(sheet))
    assert image is not None
    assert image.shape[0] > 4 * 320 and image.shape[1] > 6 * 300
    before = sheet.read_bytes()
    done = run_cli("prepare-avatar", clip, "--preview", sheet)
    assert done.returncode == 1
    assert "exists already" in said(done)
    assert sheet.read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_half_avatar(home: Path, tmp_path: Path, ffmpeg: str, number: signal.Signals) -> None:
    long = write_long_clip(ffmpeg, tmp_path / "long.mp4", portrait_image(SIDE), 1000)
    command = [sys.executable, "-m", "musetalk_cli", "prepare-avatar", str(long), "--name", "anna"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    library, deadline = home / "avatars", time.monotonic() + 30
    while not [path for path in library.glob(".anna*/frames.jpegs") if path.stat().st_size] and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(number)
    _, words = child.communicate(timeout=30)
    assert child.returncode == 128 + number, words.decode()
    assert words.endswith(b"stopped: no avatar was made, and nothing was changed\n")
    assert b"Traceback" not in words
    assert list(library.iterdir()) == []


# A process counts what it was forked from as its own, so a small one stands between pytest and the command.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_bytes(num_frames: int, tmp_path: Path, ffmpeg: str) -> int:
    """How much memory preparing a video of so many frames takes at its peak."""
    path = write_long_clip(ffmpeg, tmp_path / f"{num_frames}.mp4", portrait_image(512), num_frames)
    command = [sys.executable, "-m", "musetalk_cli", "prepare-avatar", str(path), "--quiet"]
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True)
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)


# A signal comes just before the avatar has its name, or just behind that.
REPLACE_AND_SIGNAL = """
import os, signal, sys
from musetalk_cli import __main__ as start
from musetalk_cli.engine.avatar import whole_folder
moment, function = sys.argv.pop(1), whole_folder.exchange
def signal_behind(*args):
    function(*args)
    os.kill(os.getpid(), signal.SIGTERM)
def signal_before(path):
    os.kill(os.getpid(), signal.SIGTERM)
if moment == "behind":
    whole_folder.exchange = signal_behind
else:
    whole_folder.sync_file = signal_before
start.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no signal that another process sends")
@pytest.mark.parametrize(("moment", "exit_code", "is_replaced"), [("before", 143, False), ("behind", 0, True)])
def test_the_exit_code_says_whether_an_avatar_was_replaced(
    run_cli: Run, home: Path, photo: Path, moment: str, exit_code: int, is_replaced: bool
) -> None:
    assert run_cli("prepare-avatar", photo).returncode == 0
    older = read_record(home / "avatars" / "me")
    command = [sys.executable, "-c", REPLACE_AND_SIGNAL, moment, "prepare-avatar", photo, "--force", "--size", "200"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, "a still of 200 × 200" in said(done)) == (exit_code, is_replaced)
    assert (read_record(home / "avatars" / "me") != older) == is_replaced
    assert [path.name for path in (home / "avatars").iterdir()] == ["me"]


def test_a_longer_video_takes_no_more_memory(home: Path, tmp_path: Path, ffmpeg: str) -> None:
    short, long = peak_bytes(20, tmp_path, ffmpeg), peak_bytes(140, tmp_path, ffmpeg)
    assert long - short < 25_000_000, "120 frames more are 47 MB as planes, 94 MB as images"


def test_avatars_are_listed(run_cli: Run, home: Path, photo: Path) -> None:
    assert run_cli("prepare-avatar", photo, "--name", "me").returncode == 0
    assert run_cli("prepare-avatar", photo, "--name", "broken").returncode == 0
    (home / "avatars" / "broken" / "avatar.json").write_text("{}")
    done = run_cli("avatars")
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "nora", "theo", "broken", "me"]
    assert "256 × 256" in lines[-1]
    assert str(home / "avatars") in said(done)
    rows = {row["name"]: row for row in json.loads(run_cli("avatars", "--json").stdout)}
    assert (rows["me"]["kind"], rows["me"]["frames"], rows["me"]["models"]) == ("still", 1, ["warp"])
    assert rows["broken"]["models"] == []
    assert "damaged" in rows["broken"]["problem"]


def test_a_person_is_cut_out_and_rendered_with_alpha(
    run_cli: Run, home: Path, photo: Path, segmenter: Path, tmp_path: Path, ffmpeg: str
) -> None:
    voice = write_wav(tmp_path / "v.wav", np.zeros((9_600, 1), np.int16))
    done = run_cli("prepare-avatar", photo, "--background", "transparent", "--name", "anna")
    assert done.returncode == 0, said(done)
    for output in ("a.webm", "a-%d.png", "a.mov", "a.mp4"):
        green = ["--background", "green"] if output == "a.mp4" else []
        done = run_cli("render", voice, "--avatar", "anna", *green, "-o", output, cwd=tmp_path)
        assert done.returncode == 0, said(done)
    images = [cv2.imread(str(tmp_path / f"a-{number}.png"), cv2.IMREAD_UNCHANGED) for number in range(1, 6)]
    assert not (tmp_path / "a-6.png").exists()
    alpha = images[4][:, :, 3]  # type: ignore[index]
    assert alpha[:20, :20].max() == 0
    assert alpha[120:140, 120:140].min() == 255
    for name, decoder in (("a.webm", ["-c:v", "libvpx-vp9"]), ("a.mov", [])):
        raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-vf", "alphaextract", "pipe:1"]
        decoded = subprocess.run(
            [ffmpeg, "-v", "error", *decoder, "-i", str(tmp_path / name), *raw], stdout=subprocess.PIPE, check=True
        ).stdout
        alphas = np.frombuffer(decoded, np.uint8).reshape(-1, SIDE, SIDE)
        assert len(alphas) == 5
        assert np.abs(alphas[4].astype(int) - alpha).mean() < 3
        assert len(read_audio(ffmpeg, tmp_path / name, 1)) == pytest.approx(9_600, abs=1_400)
    corner = read_frames(ffmpeg, tmp_path / "a.mp4", SIDE, SIDE)[4][5, 5]
    assert abs(int(corner) - 129) <= 2  # the luma of green


def test_a_video_is_cut_out(run_cli: Run, home: Path, clip: Path, segmenter: Path) -> None:
    done = run_cli("prepare-avatar", clip, "--background", "transparent", "--max-seconds", "0.4", "--name", "anna")
    assert done.returncode == 0, said(done)
    anna = open_avatar_folder(home / "avatars" / "anna", None)
    assert anna.alphas is not None
    alpha = anna.alphas.read([7])[0]
    assert alpha[:20, :20].max() == 0
    assert alpha[120:140, 120:140].min() == 255
    anna.close()
