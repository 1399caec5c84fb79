"""Names, locks, processes, pipes: what is asked of each system."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from musetalk_cli.engine.runtime.ffmpeg import describe_status
from musetalk_cli.system import pipes
from musetalk_cli.system.locks import lock_file, lock_folder, new_locked_folder
from musetalk_cli.system.names import find_name_problem
from musetalk_cli.system.processes import is_alive, own_group


@pytest.mark.parametrize("name", ["con", "NUL.mp4", "com1.mp4", "LPT9", "a:b.mp4", "talk?.mp4", "talk ", "talk."])
def test_names_that_windows_keeps(name: str) -> None:
    assert find_name_problem(name, "win32")
    assert find_name_problem(name, "linux") is None


@pytest.mark.parametrize("name", ["talk.mp4", "console.mp4", "nullify", "com.mp4", "Zoë (1).mp4", "a.b.mp4"])
def test_names_that_it_does_not_keep(name: str) -> None:
    assert find_name_problem(name, "win32") is None


@pytest.mark.skipif(sys.platform == "win32", reason="the locks of POSIX")
def test_what_one_holds_another_does_not_get(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        (tmp_path / "file").open("r+b") as one,
        (tmp_path / "file").open("r+b") as other,
        lock_file(one),
        pytest.raises(BlockingIOError),
        lock_file(other),
    ):
        pass
    with lock_folder(tmp_path, waits=True), pytest.raises(BlockingIOError), lock_folder(tmp_path, waits=False):
        pass
    with lock_folder(tmp_path, waits=False):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks no folder")
@pytest.mark.parametrize("is_held", [False, True])
def test_a_new_folder_that_is_removed_before_it_is_held_is_made_again(tmp_path: Path, is_held: bool) -> None:
    """By another process that takes it for remains, and may hold it meanwhile."""
    made: list[Path] = []
    remover = ExitStack()

    def make() -> Path:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(folder)
        if len(made) == 1 and is_held:
            remover.enter_context(lock_folder(folder, waits=False))
            threading.Timer(0.1, lambda: (folder.rmdir(), remover.close())).start()
        elif len(made) == 1:
            folder.rmdir()
        return folder

    with new_locked_folder(make) as folder:
        assert folder == made[1]
        with pytest.raises(BlockingIOError), lock_folder(folder, waits=False):
            pass
    with lock_folder(folder, waits=False):
        pass


def test_who_is_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, **own_group())
    assert is_alive(os.getpid())
    assert is_alive(child.pid)
    child.communicate()
    assert not is_alive(child.pid)
    assert not is_alive(2**40)


def test_a_pipe_without_a_reader_is_broken() -> None:
    reads, writes = os.pipe()
    assert pipes.wait_writable(writes, 0)
    pipes.write_all(writes, b"abc")
    assert os.read(reads, 10) == b"abc"
    os.close(reads)
    with pytest.raises(BrokenPipeError):
        pipes.write_all(writes, b"abc")
    os.close(writes)


def test_crashes_on_windows_in_words() -> None:
    assert describe_status(0xC0000135) == "ended with exit status 0xc0000135 (one of its libraries is missing)"
    assert describe_status(0xC0000409) == "ended with exit status 0xc0000409 (it crashed)"
