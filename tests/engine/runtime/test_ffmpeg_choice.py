"""A broken ffmpeg is named and replaced; the input is not blamed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from musetalk_cli.engine.runtime import ffmpeg_choice
from musetalk_cli.engine.runtime.ffmpeg import bundled_ffmpeg
from musetalk_cli.engine.runtime.ffmpeg_choice import choose_ffmpeg, explain_failure, try_ffmpeg
from musetalk_cli.errors import EncoderError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the broken programs are shell scripts")

MISSING = "ffmpeg: error while loading shared libraries: libx264.so.164: cannot open shared object file"
BROKEN = {
    "missing library": (f"#!/bin/sh\necho '{MISSING}' >&2\nexit 127\n", "loading shared libraries"),
    "126": ("#!/bin/sh\nexit 126\n", "it ended with exit status 126"),
    "illegal instruction": ("#!/bin/sh\nkill -ILL $$\n", "it was killed by SIGILL"),
    "not a program": ("\x7fELF", "exec format error"),
    "empty": ("", "exec format error"),
    "no interpreter": ("#!/nowhere/sh\n", "no such file or directory"),
    "not ffmpeg": ("#!/bin/sh\necho please log in\n", "please log in"),
    "silent": ("#!/bin/sh\n", "it made no video"),
    "too old": ('#!/bin/sh\necho "Invalid loglevel \\"level+error\\"" >&2\nexit 1\n', "Invalid loglevel"),
    "no x264": ("#!/bin/sh\necho \"[fatal] Unknown encoder 'libx264'\" >&2\nexit 1\n", "Unknown encoder 'libx264'"),
}

Install = Callable[[str], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a program called ffmpeg first on PATH; nothing is remembered of another test."""
    monkeypatch.setattr(ffmpeg_choice, "_chosen", {})
    monkeypatch.setattr(ffmpeg_choice, "_records", {})
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def write(script: str) -> Path:
        program = folder / "ffmpeg"
        program.write_text(script)
        program.chmod(0o755)
        return program

    return write


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_one_on_path_is_replaced_and_one_that_is_named_is_refused(
    kind: str, install: Install, tmp_path: Path
) -> None:
    script, words = BROKEN[kind]
    program, told = install(script), list[str]()
    assert choose_ffmpeg("auto", tmp_path, told.append) == bundled_ffmpeg()
    assert choose_ffmpeg("auto", tmp_path, told.append) == bundled_ffmpeg()
    assert len(told) == 1
    assert str(program) in told[0]
    assert words in told[0]
    with pytest.raises(EncoderError) as refused:
        choose_ffmpeg(str(program), tmp_path, told.append)
    assert str(program) in str(refused.value)
    assert words in str(refused.value)
    assert "ffmpeg: auto" in refused.value.hint


def test_one_that_works_is_tried_once(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, tries = install(f'#!/bin/sh\nexec "{bundled_ffmpeg()}" "$@"\n'), list[str]()

    def count(path: str) -> str | None:
        tries.append(path)
        return try_ffmpeg(path)

    monkeypatch.setattr(ffmpeg_choice, "try_ffmpeg", count)
    for _ in range(2):
        assert choose_ffmpeg("auto", tmp_path / "cache", pytest.fail) == str(program)
        ffmpeg_choice._chosen.clear()  # as in another process
    assert tries == [str(program)]
    install(f'#!/bin/sh\n# upgraded\nexec "{bundled_ffmpeg()}" "$@"\n')
    assert choose_ffmpeg("auto", tmp_path / "cache", pytest.fail) == str(program)
    assert len(tries) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(install: Install, tmp_path: Path) -> None:
    install(f'#!/bin/sh\nexec "{bundled_ffmpeg()}" "$@"\n')
    (tmp_path / "file").touch()
    assert choose_ffmpeg("auto", tmp_path / "file" / "cache", pytest.fail).endswith("ffmpeg")


def test_one_that_broke_after_it_had_worked_is_named_and_no_longer_trusted(install: Install, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    install(f'#!/bin/sh\n[ -e {gone} ] && echo "{MISSING}" >&2 && exit 127\nexec "{bundled_ffmpeg()}" "$@"\n')
    chosen = choose_ffmpeg("auto", tmp_path / "cache", pytest.fail)
    assert explain_failure(chosen) is None
    gone.touch()
    error = explain_failure(chosen)
    assert error is not None
    assert "loading shared libraries" in str(error)
    assert "the bundled one" in error.hint
    ffmpeg_choice._chosen.clear()
    told = list[str]()
    assert choose_ffmpeg("auto", tmp_path / "cache", told.append) == bundled_ffmpeg()
    assert len(told) == 1


def test_one_that_hangs_is_given_up(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg_choice, "TRIAL_TIMEOUT_S", 0.1)
    assert "it did not end within" in str(try_ffmpeg(str(install("#!/bin/sh\nexec sleep 60\n"))))


def test_for_files_the_bundled_one_comes_first(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, told = install(BROKEN["missing library"][0]), list[str]()
    assert choose_ffmpeg("auto", tmp_path, told.append, is_local=True) == bundled_ffmpeg()
    assert not told
    works = install(f'#!/bin/sh\nexec "{bundled_ffmpeg()}" "$@"\n')
    assert choose_ffmpeg("auto", tmp_path, pytest.fail) == str(works)
    assert choose_ffmpeg(str(works), tmp_path, pytest.fail, is_local=True) == str(works)
    monkeypatch.setattr(ffmpeg_choice, "_chosen", {})
    monkeypatch.setattr(
        ffmpeg_choice, "_find_problem", lambda path, cache: (path == bundled_ffmpeg() and "wrong") or None
    )
    assert choose_ffmpeg("auto", tmp_path, pytest.fail, is_local=True) == str(broken)


def test_none_that_works_is_an_error_that_names_both(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = install(BROKEN["126"][0])
    monkeypatch.setattr(ffmpeg_choice, "_find_problem", lambda path, cache: "it does nothing")
    for is_local in (False, True):
        with pytest.raises(EncoderError) as refused:
            choose_ffmpeg("auto", tmp_path, pytest.fail, is_local=is_local)
        assert str(refused.value).startswith(
            f"ffmpeg does not work: {program} (it does nothing), nor the bundled one: "
        )


@pytest.mark.parametrize("command", ["render", "stream", "prepare-avatar"])
def test_commands_use_the_bundled_one_instead(
    command: str, install: Install, tmp_path: Path, run_cli: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    install(BROKEN["missing library"][0])
    clip = tmp_path / "clip.mp4"
    voice = ["-f", "lavfi", "-i", "sine=duration=0.5", "-f", "lavfi", "-i", "testsrc2=s=64x64:d=0.2"]
    subprocess.run([bundled_ffmpeg(), "-v", "error", *voice, clip], check=True)
    arguments = {
        "render": [clip, "-o", tmp_path / "out.mp4", "--size", "64"],
        "stream": ["-i", clip, "-o", tmp_path / "out.mp4", "--size", "64"],
        "prepare-avatar": [clip, "--avatar-dir", tmp_path, "--face-models", tmp_path],
    }
    result = run_cli(command, *arguments[command], env={**os.environ, "MUSETALK_HOME": str(tmp_path / "home")})
    said = result.stderr.decode()
    if command != "prepare-avatar":  # that one has no face nets here
        assert result.returncode == 0, said
    is_told = "warning: ffmpeg does not work" in said and "the bundled one is used" in said
    assert is_told == (command == "stream")  # the others take that one anyway
    assert "cannot be decoded" not in said
    assert "neither an image" not in said


def test_the_bundled_one_that_broke_names_the_one_on_path(tmp_path: Path) -> None:
    error = explain_failure(str(tmp_path / "imageio_ffmpeg" / "binaries" / "ffmpeg-linux"))
    assert error is not None
    assert "the one on PATH" in error.hint
