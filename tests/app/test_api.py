"""The public Python interface: light to import, typed, documented, and the same engine as the commands."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import musetalk_cli as musetalk
from fixtures.media import read_audio, read_frames, write_wav
from musetalk_cli.app import api
from musetalk_cli.errors import ConfigError, SessionError, SinkError, SourceError

SIZE = 96


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path / "home"))


def voice(duration_s: float, rate_hz: int = 48_000) -> np.ndarray:
    times = np.arange(int(duration_s * rate_hz)) / rate_hz
    return (8_000 * np.sign(np.sin(2 * np.pi * 120 * times)) * np.sin(2 * np.pi * 2 * times) ** 2).astype(np.int16)


def test_importing_loads_nothing() -> None:
    code = "import sys, musetalk_cli; print(' '.join(sys.modules))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"numpy", "typer", "rich", "pydantic", "cv2", "asyncio", "torch", "musetalk_cli.config"}


def test_every_name_is_there_and_documented() -> None:
    for name in musetalk.__all__:
        value = getattr(musetalk, name)
        assert name.startswith("_") or inspect.getdoc(value), name
    assert set(musetalk.__all__) <= set(dir(musetalk))
    with pytest.raises(AttributeError, match="no attribute 'rendr'"):
        musetalk.rendr  # noqa: B018


def test_it_is_typed(tmp_path: Path) -> None:
    assert (Path(musetalk.__file__).parent / "py.typed").exists()
    program = tmp_path / "program.py"
    program.write_text(
        "import musetalk_cli as musetalk\n"
        "with musetalk.open_session('nora') as session:\n"
        "    for item in session:\n"
        "        if isinstance(item, musetalk.Frame):\n"
        "            number: int = item.number\n"
        "result: musetalk.RenderResult = musetalk.render('a.wav', 'a.mp4', size=256)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout


def test_a_file_and_its_samples_give_the_same_video(ffmpeg: str, tmp_path: Path) -> None:
    samples = voice(0.8)
    path = write_wav(tmp_path / "voice.wav", samples[:, None])
    of_file = musetalk.render(path, tmp_path / "file.mp4", size=SIZE)
    snapshots: list[object] = []
    of_samples = musetalk.render(
        samples, tmp_path / "samples.mp4", rate_hz=48_000, size=SIZE, on_progress=snapshots.append
    )
    assert (of_file.frames, of_file.seconds) == (of_samples.frames, of_samples.seconds) == (20, 0.8)
    videos = [read_frames(ffmpeg, result.path, SIZE, SIZE) for result in (of_file, of_samples)]
    assert np.array_equal(*videos)
    assert np.array_equal(*(read_audio(ffmpeg, result.path) for result in (of_file, of_samples)))


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"avatar": "norra"}, musetalk.MuseTalkError, "there is no avatar 'norra'"),
        ({"size": 3}, ConfigError, "size: 'video.size' is 3"),
        ({"settings": {"video": {"crff": 3}}}, ConfigError, "unknown key 'video.crff'"),
        ({"settings": {"video": 3}}, ConfigError, "'video' is a section"),
        ({"rate_hz": None}, SourceError, "need rate_hz"),
        ({"rate_hz": 0}, SessionError, "4000 to 384000"),
    ],
)
def test_misuse_is_said(tmp_path: Path, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        musetalk.render(voice(0.2), tmp_path / "x.mp4", **{"rate_hz": 48_000, **options})
    assert list(tmp_path.glob("*.mp4")) == []


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("mine")
    with pytest.raises(SinkError, match="exists already"):
        musetalk.render(voice(0.2), tmp_path / "x.mp4", rate_hz=48_000)
    assert (tmp_path / "x.mp4").read_text() == "mine"


def test_an_exception_in_the_callback_ends_the_run(tmp_path: Path) -> None:
    def refuse(snapshot: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        musetalk.render(voice(20.0), tmp_path / "x.mp4", rate_hz=48_000, size=SIZE, on_progress=refuse)


def test_the_built_in_avatars_are_listed() -> None:
    assert [(each.name, each.kind) for each in musetalk.list_avatars()] == [("nora", "built in"), ("theo", "built in")]


def test_sessions_that_name_one_avatar_share_it() -> None:
    first = musetalk.open_session(size=SIZE)
    second = musetalk.open_session("nora", size=SIZE)
    other = musetalk.open_session("theo", size=SIZE)
    assert len(api._SHARED._open) == 2
    first.close()
    assert isinstance(next(item for item in second if isinstance(item, musetalk.Frame)), musetalk.Frame)
    second.close()
    other.close()
    assert api._SHARED._open == {}


def test_a_session_of_an_open_avatar() -> None:
    with musetalk.open_avatar("nora", size=SIZE, fps=20) as avatar:
        assert (avatar.width, avatar.height, avatar.frame_rate) == (SIZE, SIZE, 20)
        with musetalk.open_session(avatar, num_channels=2) as session:
            frame = next(item for item in session if isinstance(item, musetalk.Frame))
    assert frame.image.shape == (SIZE * 3 // 2, SIZE)
    assert frame.audio.shape == (2400, 2)
    with pytest.raises(SessionError, match="is closed"):
        avatar.open_session()


def test_fragments_play(ffmpeg: str) -> None:
    pytest.importorskip("av", reason="needs PyAV")
    with musetalk.open_session("nora", size=SIZE, output="fragments") as session:
        session.push(voice(0.5), 48_000)
        session.finish()
        items = list(session)
    video = b"".join(item.data for item in items if isinstance(item, (musetalk.InitSegment, musetalk.Fragment)))
    spoken = next(item for item in items if isinstance(item, musetalk.UtteranceFinished))
    assert spoken.position_s == 0.52
    num_frames = sum(item.num_frames for item in items if isinstance(item, musetalk.Fragment))
    assert len(read_frames(ffmpeg, video, SIZE, SIZE)) == num_frames
