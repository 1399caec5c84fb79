"""As far as Windows can be pretended: every module loads, and commands run, without what POSIX alone has."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.fakes import tone
from fixtures.media import describe, read_frames, write_wav
from fixtures.pretended_windows import MISSING_MODULES

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="here it need not be pretended")

PACKAGE = Path(__file__).parent.parent.parent / "musetalk_cli"

LOAD_ALL = """
import importlib, pkgutil, sys
import musetalk_cli
for name in ("torch", "diffusers", "transformers", "safetensors", "pipecat", "livekit", "ray"):
    sys.modules[name] = None  # they take long to load
failed = []
for found in pkgutil.walk_packages(musetalk_cli.__path__, "musetalk_cli."):
    if found.name.endswith("._native"):
        continue  # the native kernel, no module of Python's
    if found.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(found.name)
    except ImportError as error:
        heavy = ("torch", "diffusers", "transformers", "safetensors", "LiveKit", "Pipecat", "Ray", "huggingface_hub")
        if not any(name in str(error) for name in heavy):
            failed.append(f"{found.name}: {error}")
    except Exception as error:
        failed.append(f"{found.name}: {type(error).__name__}: {error}")
print("\\n".join(failed))
"""

REPLACE_FOLDER = """
import sys
from pathlib import Path
from musetalk_cli.engine.avatar.whole_folder import create_folder
target = Path(sys.argv[-1])
for text in ("one", "two"):
    with create_folder(target, is_replacing=True) as folder:
        (folder / "file").write_text(text)
assert (target / "file").read_text() == "two"
assert [each.name for each in target.parent.iterdir()] == [target.name]
"""


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "fixtures.pretended_windows", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False, **options)  # type: ignore[call-overload]


def test_every_module_loads() -> None:
    done = run("code", LOAD_ALL)
    assert done.stdout.decode().split("\n", 1) == ["", ""], done.stdout.decode() + done.stderr.decode()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_posix_alone_has_is_imported_where_it_is_used(path: Path) -> None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not set(names) & {*MISSING_MODULES, "msvcrt", "winreg"}


def test_help_and_lists() -> None:
    for command in (["--help"], ["render", "--help"], ["avatars"], ["models", "list"]):
        done = run("musetalk", *command)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout


def test_render_hands_ffmpeg_its_audio_through_a_socket(ffmpeg: str, tmp_path: Path) -> None:
    voice, video = write_wav(tmp_path / "voice.wav", tone(1.0, 2)), tmp_path / "my talk é.mp4"
    done = run("musetalk", "render", voice, "-o", video, "--size", "64")
    assert done.returncode == 0, done.stderr.decode()
    assert len(read_frames(ffmpeg, video, 64, 64)) == 25
    assert "Audio: aac" in describe(ffmpeg, video)


def test_render_refuses_names_of_devices(tmp_path: Path) -> None:
    voice = write_wav(tmp_path / "voice.wav", tone(0.2))
    for name in ("nul.mp4", "a:b.mp4"):
        done = run("musetalk", "render", voice, "-o", tmp_path / name)
        assert done.returncode == 1
        assert b"error: cannot write" in done.stderr


@pytest.mark.parametrize("options", [["--format", "s16le", "--rate", "48000"], []])
def test_stream_reads_and_writes_pipes(options: list[str], tmp_path: Path) -> None:
    samples = tone(1.0)
    said = samples.tobytes() if options else write_wav(tmp_path / "voice.wav", samples).read_bytes()
    done = run("musetalk", "stream", "-i", "-", *options, "--no-pace", "--size", "64", "-o", "-", input=said)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout[4:8] == b"ftyp"
    assert len(done.stdout) > 5000


def test_stream_to_a_folder_and_a_file(ffmpeg: str, tmp_path: Path) -> None:
    voice = write_wav(tmp_path / "voice.wav", tone(1.0))
    outputs = ["-o", f"{tmp_path / 'hls'}/", "-o", tmp_path / "talk.mp4"]
    done = run("musetalk", "stream", "-i", voice, "--no-pace", "--size", "64", *outputs)
    assert done.returncode == 0, done.stderr.decode()
    assert len(read_frames(ffmpeg, tmp_path / "talk.mp4", 64, 64)) == 25
    assert list((tmp_path / "hls").glob("*.m3u8"))


def test_a_folder_is_replaced(tmp_path: Path) -> None:
    done = run("code", REPLACE_FOLDER, tmp_path / "avatar")
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("command", [["serve"], ["stream", "-i", "-", "--control", "control", "-o", "-"]])
def test_what_does_not_run_there_says_so(command: list[str]) -> None:
    done = run("musetalk", *command, stdin=subprocess.DEVNULL, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode
    assert b"Windows" in done.stderr
    assert done.stderr.count(b"\n") == 1, done.stderr.decode()
