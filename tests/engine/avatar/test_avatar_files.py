"""Prepared avatars on disk: what is written is what is read, whole or refused."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fixtures.clips import moved_portrait
from fixtures.prepared_avatars import NUM_FRAMES, SIDE, half_alpha, make_transparent, rewrite_record, write_avatar
from musetalk_cli.engine.avatar import avatar_files, whole_folder
from musetalk_cli.engine.avatar.avatar_files import (
    ALPHA_FILE,
    ALPHAS_FILE,
    FACES_FILE,
    FRAMES_FILE,
    IMAGE_FILE,
    OLD_IMAGE_FILE,
    RECORD_FILE,
    has_alpha,
    open_avatar_folder,
    read_record,
)
from musetalk_cli.engine.avatar.inputs.images import encode_png
from musetalk_cli.engine.avatar.library import cached_name, changes_since, check_avatar_name, list_avatars
from musetalk_cli.engine.avatar.preparation.cutout.background import Background
from musetalk_cli.engine.avatar.preparation.settings import PreparationSettings
from musetalk_cli.engine.avatar.whole_folder import create_folder
from musetalk_cli.engine.runtime.exchange import exchange
from musetalk_cli.errors import AvatarError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_avatar(tmp_path / "anna")


def test_what_is_written_is_read(folder: Path) -> None:
    avatar = open_avatar_folder(folder)
    assert (avatar.name, avatar.width, avatar.height, avatar.frame_rate) == ("anna", SIDE, SIDE, 25)
    assert len(avatar.landmarks) == avatar.frames.num_frames == NUM_FRAMES
    assert avatar.points is not None
    np.testing.assert_array_equal(avatar.landmarks[3].nose[0], avatar.points[3, 168])
    assert len(avatar.frames.read(range(NUM_FRAMES))) == NUM_FRAMES
    avatar.close()


def test_a_still_keeps_its_pixels(tmp_path: Path) -> None:
    avatar = open_avatar_folder(write_avatar(tmp_path / "still", num_frames=1))
    assert avatar.is_still
    np.testing.assert_array_equal(avatar.frames.image(), moved_portrait(0, SIDE))
    avatar.close()


@pytest.mark.parametrize(("name", "num_frames"), [(FACES_FILE, NUM_FRAMES), (IMAGE_FILE, 1)])
def test_a_file_of_another_avatar_is_damage_though_it_is_valid(tmp_path: Path, name: str, num_frames: int) -> None:
    """Of the same length and shape, so that only its checksum says that it is not what was written."""
    folder, other = (write_avatar(tmp_path / name, num_frames) for name in ("anna", "berta"))
    data = (folder / name).read_bytes()
    if name == FACES_FILE:
        with np.load(folder / name) as arrays:
            changed = {**arrays, "points": np.roll(arrays["points"], 1, axis=1)}
        np.savez(other / name, **changed)
    else:
        write_other_image(other / name)
    assert len((other / name).read_bytes()) == len(data)
    (folder / name).write_bytes((other / name).read_bytes())
    with pytest.raises(AvatarError, match=f"{name} is damaged: it is not what was written"):
        open_avatar_folder(folder).close()


def write_other_image(path: Path) -> None:
    """Another image as PNG, filled up to the length of this one with a comment, which any reader skips."""
    num_bytes = len(path.read_bytes())
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[::2] = 90
    data = encode_png(image)
    text = b"x" * (num_bytes - len(data) - 12)
    chunk = b"tEXt" + text
    end = data.rindex(b"IEND") - 4
    checked = len(text).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    path.write_bytes(data[:end] + checked + data[end:])


def test_an_avatar_is_made_again_when_anything_that_decides_it_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = PreparationSettings()
    other = PreparationSettings(Fraction(30), 1.5, 2.0, 480, 2, 7, Background((0, 0, 0)), is_lossless=True)
    for field in fields(PreparationSettings):
        changed = replace(usual, **{field.name: getattr(other, field.name)})
        assert changed.as_parameters() != usual.as_parameters(), field.name
    before = usual.as_parameters()
    assert json.loads(json.dumps(before)) == before
    for name in ("METHOD", "JPEG_QUALITY"):
        with monkeypatch.context() as patch:
            patch.setattr(f"musetalk_cli.engine.avatar.preparation.settings.{name}", 77)
            assert usual.as_parameters() != before, name


@pytest.mark.parametrize("num_frames", [1, NUM_FRAMES])
def test_a_transparent_avatar_is_put_on_a_background_or_keeps_its_alpha(tmp_path: Path, num_frames: int) -> None:
    folder = write_avatar(tmp_path / "anna", num_frames)
    opaque = open_avatar_folder(folder)
    images = opaque.frames.read(range(num_frames))
    opaque.close()
    make_transparent(folder, num_frames)
    assert has_alpha(read_record(folder))
    layers = open_avatar_folder(folder, None)
    assert layers.alphas is not None
    assert np.array_equal(layers.frames.read([0])[0], images[0])
    assert layers.alphas.read([num_frames - 1])[0][:, 70].tolist() == [half_alpha(num_frames - 1)[0, 70]] * SIDE
    assert layers.resized(64).alphas.read([0])[0].shape == (64, 64)  # type: ignore[union-attr]
    layers.close()
    green = Background((0, 177, 64))
    shown = open_avatar_folder(folder, green.pixels)
    assert shown.alphas is None
    image = shown.frames.read([0])[0]
    assert np.array_equal(image[:SIDE, : SIDE // 2 - 2], images[0][:SIDE, : SIDE // 2 - 2])
    assert np.abs(shown.frames.image()[:, -20:].astype(int) - (64, 177, 0)).max() <= 3
    assert len(set(image[:SIDE, -20:].ravel().tolist())) == 1
    shown.close()
    usual = open_avatar_folder(folder)
    assert usual.frames.image()[0, -1].tolist() == [255, 255, 255]
    usual.close()


@pytest.mark.parametrize("num_frames", [1, NUM_FRAMES])
def test_a_damaged_alpha_is_noticed(tmp_path: Path, num_frames: int) -> None:
    folder = write_avatar(tmp_path / "anna", num_frames)
    make_transparent(folder, num_frames)
    flip(folder / (ALPHA_FILE if num_frames == 1 else ALPHAS_FILE))
    with pytest.raises(AvatarError, match="damaged"):
        avatar = open_avatar_folder(folder)
        try:
            avatar.frames.read(range(num_frames))
        finally:
            avatar.close()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [cut, flip, Path.unlink])
@pytest.mark.parametrize("name", [FACES_FILE, FRAMES_FILE, RECORD_FILE])
def test_harm_is_noticed(folder: Path, name: str, harm: Callable[[Path], None]) -> None:
    harm(folder / name)
    with pytest.raises(AvatarError, match=r"damaged|cannot read|frame \d"):
        avatar = open_avatar_folder(folder)
        try:
            avatar.frames.read(range(NUM_FRAMES))
        finally:
            avatar.close()


def test_a_changed_record_is_noticed(folder: Path) -> None:
    path = folder / RECORD_FILE
    path.write_text(path.read_text().replace('"width": 128', '"width": 126'))
    with pytest.raises(AvatarError, match="was changed"):
        read_record(folder)


@pytest.mark.parametrize(("version", "said"), [(2, "newer musetalk"), (0, "unknown format"), ("x", "unknown format")])
def test_another_format_is_refused(folder: Path, version: object, said: str) -> None:
    content = json.loads((folder / RECORD_FILE).read_text())
    (folder / RECORD_FILE).write_text(json.dumps({**content, "format": version}))
    with pytest.raises(AvatarError, match=said):
        open_avatar_folder(folder)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"format": 1}', "[" * 100_000, '{"format": 1, "sha256": 3}'])
def test_what_is_no_record_is_refused(folder: Path, text: str) -> None:
    (folder / RECORD_FILE).write_text(text)
    with pytest.raises(AvatarError, match="damaged"):
        read_record(folder)


def test_arrays_that_could_unfold_are_refused(folder: Path) -> None:
    with np.load(folder / FACES_FILE) as arrays:
        np.savez_compressed(folder / FACES_FILE, **dict(arrays))
    rewrite_record(folder)
    with pytest.raises(AvatarError, match="compressed"):
        open_avatar_folder(folder)


def test_a_pickle_is_not_opened(folder: Path) -> None:
    np.savez(folder / FACES_FILE, points=np.array([{"not": "numbers"}], dtype=object))
    rewrite_record(folder)
    with pytest.raises(AvatarError, match="damaged"):
        open_avatar_folder(folder)


@pytest.mark.parametrize(
    "arrays",
    [
        {"points": np.zeros((4, 468, 2), np.float32)},
        {"points": np.full((5, 468, 2), np.nan, np.float32)},
        {"points": np.zeros((5, 468, 2), np.float64)},
        {"offsets": np.array([0, 9, 5, 7, 8, 10])},
        {"checksums": np.zeros(4, np.uint32)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    with np.load(folder / FACES_FILE) as whole:
        np.savez(folder / FACES_FILE, **{**dict(whole), **arrays})
    rewrite_record(folder)
    with pytest.raises(AvatarError, match="damaged"):
        open_avatar_folder(folder)


@pytest.mark.parametrize("num_frames", [1, NUM_FRAMES])
@pytest.mark.parametrize("harm", [lambda p: p * 1e4, lambda p: p * np.nan, lambda p: p * 0, lambda p: p - 3 * SIDE])
def test_a_face_that_no_image_has_is_refused(
    tmp_path: Path, num_frames: int, harm: Callable[[np.ndarray], np.ndarray]
) -> None:
    folder = write_avatar(tmp_path / "anna", num_frames)
    change_arrays(folder, num_frames, lambda arrays: {**arrays, "points": harm(arrays["points"]).astype(np.float32)})
    with pytest.raises(AvatarError, match=rf"damaged: {FACES_FILE} does not fit"):
        open_avatar_folder(folder)


def change_arrays(
    folder: Path, num_frames: int, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
) -> None:
    """Change what is in an avatar's file of faces, and say in its record that it is so."""
    with np.load(folder / FACES_FILE) as arrays:
        changed = change(dict(arrays))
    np.savez(folder / FACES_FILE, **changed)
    rewrite_record(folder, num_frames)


@pytest.mark.parametrize("name", [FACES_FILE, FRAMES_FILE])
def test_an_avatar_that_is_replaced_while_it_is_opened_is_the_new_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """After its record was read, or after that and its faces."""
    newer, read = write_avatar(folder.parent / "newer", NUM_FRAMES + 2), avatar_files.read_arrays

    def replace_and_read(*args: Any) -> dict[str, Any]:
        found = read(*args) if name == FRAMES_FILE else {}
        if newer.exists():
            shutil.rmtree(folder)
            newer.rename(folder)
        return found or read(*args)

    monkeypatch.setattr(avatar_files, "read_arrays", replace_and_read)
    avatar = open_avatar_folder(folder)
    assert avatar.frames.num_frames == len(avatar.landmarks) == NUM_FRAMES + 2
    avatar.close()


def test_frames_are_closed_where_alphas_do_not_fit(folder: Path) -> None:
    make_transparent(folder)
    change_arrays(folder, NUM_FRAMES, lambda arrays: {**arrays, "alpha_offsets": arrays["alpha_offsets"][:-1]})
    with pytest.raises(AvatarError, match="damaged"):  # and no warning of a file that stays open
        open_avatar_folder(folder)


@pytest.mark.parametrize("name", [IMAGE_FILE, ALPHA_FILE])
def test_an_image_of_another_format_is_not_decoded(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size might stand elsewhere than where a PNG has it, and be gigabytes."""
    folder = write_avatar(tmp_path / "still", num_frames=1)
    make_transparent(folder, 1)
    data = bytearray((folder / name).read_bytes())
    data[:2] = b"BM"
    (folder / name).write_bytes(data)
    rewrite_record(folder, 1)
    decode = cv2.imdecode

    def decode_png(data: np.ndarray, kind: int) -> np.ndarray:
        assert data[:2].tobytes() != b"BM"
        return decode(data, kind)

    monkeypatch.setattr("cv2.imdecode", decode_png)
    with pytest.raises(AvatarError, match="not the image"):
        open_avatar_folder(folder)


def test_no_array_is_compressed(folder: Path) -> None:
    with zipfile.ZipFile(folder / FACES_FILE) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("num_frames", [1, NUM_FRAMES])
def test_an_avatar_of_the_version_before_is_opened(tmp_path: Path, num_frames: int) -> None:
    """It holds MuseTalk's boxes and masks, which are ignored, and names its image otherwise."""
    folder = write_avatar(tmp_path / "old", num_frames)
    np.savez(folder / "face_parts.npz", boxes=np.zeros((num_frames, 4), np.int32))
    if num_frames == 1:
        (folder / IMAGE_FILE).rename(folder / OLD_IMAGE_FILE)
    rewrite_record(folder, num_frames)
    (folder / "face_parts.npz").write_bytes(b"damaged")
    avatar = open_avatar_folder(folder)
    assert avatar.frames.image().shape == (SIDE, SIDE, 3)
    avatar.close()


def test_a_parameter_that_is_none_any_more_is_no_change(folder: Path) -> None:
    record = read_record(folder)
    older = replace(record, parameters={**record.parameters, "extra_margin_px": 10})
    assert changes_since(older, PreparationSettings().as_parameters()) == []


def test_changed_parameters_are_named(folder: Path) -> None:
    record = read_record(folder)
    assert changes_since(record, PreparationSettings().as_parameters()) == []
    whole = PreparationSettings(is_lossless=True).as_parameters()
    assert changes_since(record, whole) == ["jpeg_quality: 90 → none"]
    changed = PreparationSettings(max_seconds=5.0, bbox_shift=3).as_parameters()
    assert changes_since(record, changed) == ["bbox_shift: 0 → 3", "max_seconds: none → 5.0"]


def test_a_library_lists_whole_and_damaged_avatars(folder: Path) -> None:
    write_avatar(folder.parent / "berta", num_frames=1)
    flip(folder.parent / "berta" / RECORD_FILE)
    (folder.parent / "other").mkdir()
    anna, berta = list_avatars(folder.parent)
    assert anna.record is not None
    assert anna.num_bytes > 1000
    assert berta.record is None
    assert "damaged" in berta.problem
    assert list_avatars(folder.parent / "nowhere") == []


@pytest.mark.parametrize("name", ["anna", "Anna B", "jörg-2", "王_1", "a", "v1.5"])
def test_good_names(name: str) -> None:
    check_avatar_name(name)


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "/", "nora", ".hid", "-x", "x ", "a\0b", "a\nb", "x" * 65, "~"])
def test_bad_names(name: str) -> None:
    with pytest.raises(AvatarError):
        check_avatar_name(name)


def test_a_cached_avatar_is_found_by_content_and_settings() -> None:
    settings = PreparationSettings().as_parameters()
    name = cached_name(Path("my face!.JPG"), "ab", settings)
    assert re.fullmatch(r"my-face-[0-9a-f]{16}", name)
    assert name == cached_name(Path("elsewhere/my face!.jpg"), "ab", settings)
    assert name != cached_name(Path("my face!.JPG"), "ac", settings)
    assert name != cached_name(Path("my face!.JPG"), "ab", PreparationSettings(face=2).as_parameters())


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "anna"
    with pytest.raises(ZeroDivisionError), create_folder(target, is_replacing=False) as part:
        (part / "file").write_text("half")
        raise ZeroDivisionError
    assert list(target.parent.iterdir()) == []
    with create_folder(target, is_replacing=False) as part:
        (part / "file").write_text("whole")
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["anna"]
    with pytest.raises(AvatarError, match="exists already"), create_folder(target, is_replacing=False):
        pass
    with create_folder(target, is_replacing=True) as part:
        (part / "file").write_text("newer")
        assert (target / "file").read_text() == "whole"
    assert (target / "file").read_text() == "newer"
    assert [path.name for path in target.parent.iterdir()] == ["anna"]


def test_what_a_killed_run_left_is_removed_but_not_a_running_ones(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from musetalk_cli.engine.avatar.whole_folder import create_folder\n"
        "with create_folder(pathlib.Path(sys.argv[1]), is_replacing=False) as part:\n"
        "    (part / 'file').write_text('half')\n"
        "    print(part, flush=True)\n"
        "    time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, tmp_path / "anna"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    part = Path(child.stdout.readline().strip())
    with create_folder(tmp_path / "anna", is_replacing=False):
        assert part.is_dir(), "another run is still at it"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    deadline = time.monotonic() + 5
    while part.exists() and time.monotonic() < deadline:
        with create_folder(tmp_path / "anna", is_replacing=True):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["anna"]


def test_a_folder_whose_making_is_interrupted_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(path: Path, *args: object, real: Callable[..., None] = Path.mkdir, **options: object) -> None:
        real(path, *args, **options)
        if ".part-" in path.name:
            raise KeyboardInterrupt  # a signal between the system's call and the next line

    monkeypatch.setattr(Path, "mkdir", make)
    with pytest.raises(KeyboardInterrupt), create_folder(tmp_path / "anna", is_replacing=False):
        pass
    assert list(tmp_path.iterdir()) == []


# Kills itself with its second rename, as a power cut between the two would; the first argument is the avatar.
REPLACE_AND_DIE = """
import os, pathlib, signal, sys
from musetalk_cli.engine.avatar import avatar_files, whole_folder

def refuse(one, other):
    raise OSError("not on this file system")

renames = []
def rename(path, target, real=pathlib.Path.rename):
    renames.append(path)
    if len(renames) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(path, target)

if sys.argv[2] == "renames":
    whole_folder.exchange = refuse
pathlib.Path.rename = rename
with whole_folder.create_folder(pathlib.Path(sys.argv[1]), is_replacing=True) as part:
    (part / "file").write_text("newer")
    if sys.argv[2] == "exchange":
        whole_folder.shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_avatar_is_not_lost_when_its_replacement_is_killed_between_two_renames(tmp_path: Path) -> None:
    target = tmp_path / "anna"
    with create_folder(target, is_replacing=False) as part:
        (part / "file").write_text("old")
    killed = subprocess.run([sys.executable, "-c", REPLACE_AND_DIE, target, "renames"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists(), "it was to be killed between the two"
    with pytest.raises(ZeroDivisionError), create_folder(target, is_replacing=True):
        assert (target / "file").read_text() == "old", "the next run puts it back, even one that fails"
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["anna"]


def test_where_names_can_be_exchanged_the_avatar_is_there_at_all_times(tmp_path: Path) -> None:
    target = tmp_path / "anna"
    with create_folder(target, is_replacing=False) as part:
        (part / "file").write_text("old")
    killed = subprocess.run([sys.executable, "-c", REPLACE_AND_DIE, target, "exchange"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (target / "file").read_text() == "newer"
    with create_folder(target, is_replacing=True) as part:
        (part / "file").write_text("newest")
    assert [path.name for path in tmp_path.iterdir()] == ["anna"]


def test_an_exchange_that_fails_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "one", tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_linked_avatar_is_replaced_where_it_is(tmp_path: Path) -> None:
    target, link = tmp_path / "anna", tmp_path / "linked"
    target.mkdir()
    link.symlink_to(target)
    with create_folder(link, is_replacing=True) as part:
        (part / "file").write_text("newer")
    assert link.is_symlink()
    assert (target / "file").read_text() == "newer"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["anna", "linked"]


def test_a_folder_has_the_rights_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with create_folder(tmp_path / "anna", is_replacing=False):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "anna").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(AvatarError, match="cannot write avatars"), create_folder(tmp_path / "anna", is_replacing=False):
        pass


def test_a_removal_that_stays_half_done_says_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_avatar(tmp_path / "anna", 1)

    def refuse(path: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))

    monkeypatch.setattr(whole_folder.shutil, "rmtree", refuse)
    with pytest.raises(AvatarError, match=r"anna is gone, but files of it are left in .*\.anna\.part-"):
        whole_folder.remove_folder(folder)
    assert not folder.exists()
