"""``musetalk avatars show``, ``rename``, ``remove`` and ``preview``."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import numpy as np
import pytest

from fixtures.prepared_avatars import SIDE, write_avatar
from musetalk_cli.app.avatars.listing import list_avatars as describe_all
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.avatar import whole_folder
from musetalk_cli.engine.avatar.avatar_files import AvatarRecord, open_avatar_folder, read_record
from musetalk_cli.engine.avatar.library import list_avatars, rename_avatar
from musetalk_cli.engine.avatar.whole_folder import remove_folder
from musetalk_cli.errors import AvatarError

Run = Callable[..., "CompletedProcess[bytes]"]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the avatars anna, a video, and bob, a still, are."""
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path / "home"))
    write_avatar(tmp_path / "home" / "avatars" / "anna")
    write_avatar(tmp_path / "home" / "avatars" / "bob", num_frames=1)
    return tmp_path / "home" / "avatars"


def names(library: Path) -> list[str]:
    return sorted(path.name for path in library.iterdir())


def test_show_says_what_is_known(run_cli: Run, library: Path) -> None:
    lines = dict(line.split(maxsplit=1) for line in run_cli("avatars", "show", "anna").stdout.decode().splitlines())
    assert (lines["kind"], lines["width"], lines["fps"]) == ("video", str(SIDE), "25.0")
    assert lines["folder"] == str(library / "anna")
    shown = json.loads(run_cli("avatars", "show", "nora", "--json").stdout)
    assert (shown["name"], shown["kind"]) == ("nora", "built in")


def test_an_avatar_that_is_removed_meanwhile_ends_no_list(
    library: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def read_and_remove(folder: Path) -> AvatarRecord:
        record = read_record(folder)
        remove_folder(folder)
        return record

    monkeypatch.setattr("musetalk_cli.engine.avatar.library.read_record", read_and_remove)
    assert [(info.name, info.num_bytes) for info in describe_all(Config())[2:]] == [("anna", 0), ("bob", 0)]


def test_a_name_does_nothing_to_a_terminal(run_cli: Run, library: Path) -> None:
    (library / "anna").rename(library / "an\x1b]0;x\x07na")
    for arguments in (("avatars",), ("avatars", "show", "an\x1b]0;x\x07na")):
        done = run_cli(*arguments)
        assert b"an\\x1b]0;x\\x07na" in done.stdout
        assert b"\x1b" not in done.stdout


def test_options_may_stand_in_front_and_behind(run_cli: Run, library: Path, tmp_path: Path) -> None:
    library.rename(tmp_path / "team")
    for arguments in (("--avatar-dir", tmp_path / "team", "show", "bob"), ("show", "bob", "--avatar-dir", "team")):
        done = run_cli("avatars", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
    assert run_cli("avatars", "show", "bob").returncode == 1


def test_rename(run_cli: Run, library: Path) -> None:
    assert run_cli("avatars", "rename", "anna", "Änna B.2").returncode == 0
    assert names(library) == ["bob", "Änna B.2"]
    assert [listed.record is not None for listed in list_avatars(library)] == [True, True]


@pytest.mark.parametrize(
    ("name", "new_name", "words"),
    [
        ("anna", "bob", "'bob' exists already"),
        ("anna", "anna", "'anna' exists already"),
        ("anna", "nora", "'nora' is a built-in avatar"),
        ("anna", "../carl", "'../carl' cannot be an avatar's name"),
        ("anna", ".hidden", "'.hidden' cannot be an avatar's name"),
        ("anna", "", "cannot be empty"),
        ("nora", "carl", "'nora' is a built-in avatar"),
        ("ana", "carl", "there is no avatar 'ana'"),
        ("../avatars/anna", "carl", "there is no avatar '../avatars/anna'"),
        ("..", "carl", "there is no avatar '..'"),
    ],
)
def test_what_cannot_be_renamed(library: Path, name: str, new_name: str, words: str) -> None:
    with pytest.raises(AvatarError) as caught:
        rename_avatar(name, new_name, library)
    assert words in str(caught.value)
    assert names(library) == ["anna", "bob"]


def test_a_file_in_the_way_is_not_replaced(library: Path) -> None:
    (library / "carl").symlink_to("nowhere")
    with pytest.raises(AvatarError, match="'carl' exists already"):
        rename_avatar("anna", "carl", library)
    assert names(library) == ["anna", "bob", "carl"]


def test_remove_needs_yes_without_a_terminal(run_cli: Run, library: Path) -> None:
    done = run_cli("avatars", "remove", "anna", stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert b"nothing was removed" in done.stderr
    assert b"--yes" in done.stderr
    assert names(library) == ["anna", "bob"]


def test_remove_several_or_none(run_cli: Run, library: Path) -> None:
    done = run_cli("avatars", "remove", "anna", "ana", "--yes")
    assert done.returncode == 1
    assert names(library) == ["anna", "bob"], "one of them does not exist, so none is removed"
    assert b"built-in" in run_cli("avatars", "remove", "nora", "--yes").stderr
    assert run_cli("avatars", "remove", "anna", "bob", "anna", "--yes").returncode == 0
    assert names(library) == []


@pytest.mark.parametrize(("answer", "exit_code", "left"), [(b"n\n", 1, ["anna", "bob"]), (b"y\n", 0, ["bob"])])
def test_remove_asks_on_a_terminal(library: Path, answer: bytes, exit_code: int, left: list[str]) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    command = [sys.executable, "-m", "musetalk_cli", "avatars", "remove", "anna"]
    done = subprocess.run(command, stdin=theirs, capture_output=True, timeout=60, check=False)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == exit_code
    assert done.stderr.startswith(b"Remove 'anna' (")
    assert names(library) == left


def test_a_damaged_avatar_can_be_removed(run_cli: Run, library: Path) -> None:
    (library / "anna" / "avatar.json").write_text("{")
    assert run_cli("avatars", "remove", "anna", "--yes").returncode == 0
    assert names(library) == ["bob"]


def test_a_removal_that_is_cut_off_leaves_no_half_avatar(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(folder: Path) -> None:
        (folder / "avatar.json").unlink()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(whole_folder.shutil, "rmtree", stop)
    with pytest.raises(AvatarError, match="the avatar anna is gone, but files of it are left"):
        remove_folder(library / "anna")
    assert [listed.folder.name for listed in list_avatars(library)] == ["bob"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no signal that another process sends")
@pytest.mark.parametrize("command", [["rename", "anna", "berta"], ["remove", "anna", "--yes"]])
def test_a_signal_behind_the_change_does_not_deny_it(library: Path, command: list[str]) -> None:
    code = (
        "import os, pathlib, signal\n"
        "from musetalk_cli import __main__ as start\n"
        "def rename(path, target, real=pathlib.Path.rename):\n"
        "    real(path, target)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "pathlib.Path.rename = rename\n"
        "start.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "avatars", *command], capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stderr.startswith(b"removed" if "remove" in command else b"'anna' is 'berta' now")
    assert not (library / "anna").exists()


def test_of_a_link_only_the_link_is_removed(library: Path, tmp_path: Path) -> None:
    (library / "anna").rename(tmp_path / "elsewhere")
    (library / "anna").symlink_to(tmp_path / "elsewhere")
    remove_folder(library / "anna")
    assert names(library) == ["bob"]
    assert (tmp_path / "elsewhere" / "avatar.json").is_file()


@pytest.mark.parametrize("name", ["nora", "anna"])
def test_preview_draws_a_png(run_cli: Run, library: Path, tmp_path: Path, name: str) -> None:
    done = run_cli("avatars", "preview", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    image = cv2.imread(str(tmp_path / f"{name}.png"))
    assert image is not None
    assert image.shape[1] > 3 * image.shape[0] / 4
    again = run_cli("avatars", "preview", name, cwd=tmp_path)
    assert again.returncode == 1
    assert b"exists already" in again.stderr
    assert run_cli("avatars", "preview", name, "--overwrite", "-q", cwd=tmp_path).stderr == b""


def test_who_has_an_avatar_open_goes_on(library: Path) -> None:
    avatar = open_avatar_folder(library / "anna")
    first = avatar.frames.image(0)
    rename_avatar("anna", "carla", library)
    remove_folder(library / "carla")
    assert names(library) == ["bob"]
    np.testing.assert_array_equal(avatar.frames.image(0), first)
    assert avatar.frames.image(4).shape == first.shape
    avatar.close()


def test_list_is_what_is_printed_without_a_command(run_cli: Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    for options in ((), ("--json",)):
        plain, named = run_cli("avatars", *options), run_cli("avatars", "list", *options)
        assert (named.returncode, named.stdout, named.stderr) == (0, plain.stdout, plain.stderr)
