"""The public Python interface: light to import, typed, documented, and the same engine as the commands."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import musetalk_cli as musetalk
from fixtures.clips import portrait_image
from fixtures.fakes import tone
from fixtures.media import read_audio, read_frames, write_wav
from musetalk_cli.app import session_assembly
from musetalk_cli.app.avatars import preparation
from musetalk_cli.app.settings import arguments
from musetalk_cli.engine.avatar.preparation.face_models import FaceModels
from musetalk_cli.errors import AvatarError, ConfigError, SessionError, SinkError, SourceError

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
    assert not loaded & {
        "numpy",
        "typer",
        "rich",
        "pydantic",
        "cv2",
        "asyncio",
        "torch",
        "musetalk_cli.configuration.schema",
    }


def test_every_name_is_there_and_documented() -> None:
    for name in musetalk.__all__:
        value = getattr(musetalk, name)
        assert name.startswith("_") or inspect.getdoc(value), name
    assert set(musetalk.__all__) <= set(dir(musetalk))
    with pytest.raises(AttributeError, match="no attribute 'rendr'"):
        musetalk.rendr  # noqa: B018


@pytest.mark.timeout(240)  # mypy reads the whole package
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


def test_what_is_no_voice_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="must be a path, a URL or samples, not bytes"):
        musetalk.render(b"RIFF", tmp_path / "x.mp4")  # type: ignore[arg-type]


NAN = float("nan")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"start_s": -1}, "'start_s' is -1: must be 0 or more"),
        ({"start_s": NAN}, "'start_s' is nan: .*finite"),
        ({"start_s": float("inf")}, "'start_s' is inf: .*finite"),
        ({"start_s": "1"}, "'start_s' is '1'"),
        ({"max_seconds": 0}, "'max_seconds' is 0: must be 0.04 or more"),
        ({"max_seconds": NAN}, "'max_seconds' is nan"),
        ({"size": 3}, "'size' is 3: must be from 64 to 2160"),
        ({"size": 64.5}, "'size' is 64.5"),
        ({"size": 2161}, "'size' is 2161: must be from 64 to 2160"),
        ({"face": 0}, "'face' is 0"),
        ({"face": True}, "'face' is True"),
        ({"bbox_shift": 10**9}, "'bbox_shift' is 1000000000: .*100"),
        ({"fps": 0}, "fps: 'video.fps' is 0"),
        ({"fps": NAN}, "fps: 'video.fps' is nan"),
        ({"name": 5}, "'name' is 5: must be text"),
        ({"source": None}, "'source' is None: .*path"),
        ({"source": ""}, "'source' is ''"),
        ({"settings": 5}, "settings must hold keys and values, not 5"),
        ({"settings": {"video": {"fps": 0}}}, "settings: 'video.fps' is 0"),
    ],
)
def test_a_preparation_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict, message: str
) -> None:
    def begin(*given: object, **named: object) -> None:
        raise AssertionError("nothing may be done")

    monkeypatch.setattr(preparation, "prepare_named", begin)
    with pytest.raises(ConfigError, match=message):
        musetalk.prepare_avatar(**{"source": tmp_path / "me.png", **given})


@pytest.mark.parametrize("name", ["", "nora", "a/b", ".."])
def test_a_name_that_no_avatar_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(AvatarError, match=r"name|built-in"):
        musetalk.prepare_avatar(tmp_path / "me.png", name)


def test_the_command_has_the_same_limits() -> None:
    from typer.main import get_command

    from musetalk_cli.cli import app

    kinds = {each.name: each.type for each in get_command(app).commands["prepare-avatar"].params}  # type: ignore[attr-defined]
    options = {name: getattr(kind, "func", kind) for name, kind in kinds.items()}
    limits = {
        "start": arguments.START_S,
        "max_seconds": arguments.MAX_SECONDS,
        "size": arguments.HEIGHT_PX,
        "face": arguments.FACE,
        "bbox_shift": arguments.BBOX_SHIFT_PX,
    }
    for name, limit in limits.items():
        most = float("inf") if options[name].max is None else options[name].max
        assert (options[name].min, most) == (limit.least, limit.most), name


def test_a_preparation_reports_its_steps_and_what_to_know(
    face_models: FaceModels, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUSETALK_FACE_MODELS", str(face_models.mesh.parent))
    two = np.hstack([portrait_image(256), portrait_image(256)])
    assert cv2.imwrite(str(tmp_path / "us.png"), two)
    steps: list[str] = []
    told: list[str] = []
    info = musetalk.prepare_avatar(
        tmp_path / "us.png", on_progress=lambda progress: steps.append(progress.stage), tell=told.append
    )
    assert (info.name, info.kind, info.source, info.models) == ("us", "still", "us.png", ("warp",))
    assert steps[0] == "hash"
    assert "smooth" in steps
    assert "2 faces were found; the largest was taken" in told[-1]
    assert musetalk.list_avatars()[-1] == info
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"size": 3}, "size: 'video.size' is 3"),
        ({"size": 97}, "size: 'video.size' is 97: must be even"),
        ({"fps": -1}, "fps: 'video.fps' is -1"),
        ({"avatar": 5}, "avatar: 'avatar' is 5"),
        ({"model": "wrap"}, "'model' is 'wrap': must be auto, warp, musetalk-1.5 or musetalk-1.0"),
        ({"block_s": NAN}, "'block_s' is nan: .*finite"),
        ({"block_s": 0.05}, "'block_s' is 0.05: must be a multiple"),
        ({"block_s": 0}, "'block_s' is 0"),
        ({"lead_s": -1}, "'lead_s' is -1: must be from 0.1 to 5"),
        ({"num_channels": 3}, "'num_channels' is 3: .*1 or 2"),
        ({"pixel_format": "bgr"}, "'pixel_format' is 'bgr': must be i420 or rgb"),
        ({"output": "x"}, "'output' is 'x': must be frames or fragments"),
        ({"output": None}, "'output' is None"),
        ({"settings": {"compat": "upstream"}}, "official script"),
    ],
)
def test_a_session_is_refused_before_an_avatar_is_loaded(
    monkeypatch: pytest.MonkeyPatch, given: dict, message: str
) -> None:
    monkeypatch.setattr(session_assembly, "build_model", None)
    with pytest.raises(ConfigError, match=message):
        musetalk.open_session(**given)
    assert session_assembly.SHARED._shared == {}


def test_an_open_avatar_refuses_the_same() -> None:
    with musetalk.open_avatar(size=SIZE) as avatar:
        for own in ({"block_s": NAN}, {"lead_s": -1}, {"num_channels": 3}, {"pixel_format": "bgr"}, {"output": "x"}):
            with pytest.raises(ConfigError, match=f"'{next(iter(own))}' is"):
                avatar.open_session(**own)
        with pytest.raises(ConfigError, match="when the avatar was opened"):
            musetalk.open_session(avatar, size=SIZE)
        with musetalk.open_session(avatar, block_s=0.4, lead_s=0.1) as session:
            assert (session.settings.block_s, session.settings.lead_s) == (0.4, 0.1)


@pytest.mark.parametrize("output", [None, 5, ""])
def test_an_output_that_is_no_path_is_refused(output: object) -> None:
    with pytest.raises(ConfigError, match=r"'output' is .*path"):
        musetalk.render(voice(0.2), output, rate_hz=48_000)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [None, 5, [1, 2], b"ab"])
def test_a_voice_that_is_none_is_refused(tmp_path: Path, given: object) -> None:
    with pytest.raises(musetalk.MuseTalkError):
        musetalk.render(given, tmp_path / "x.mp4", rate_hz=48_000)  # type: ignore[arg-type]
    with pytest.raises(musetalk.MuseTalkError):
        musetalk.render(given, tmp_path / "x.mp4")  # type: ignore[arg-type]


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("mine")
    with pytest.raises(SinkError, match="exists already") as refused:
        musetalk.render(voice(0.2), tmp_path / "x.mp4", rate_hz=48_000)
    assert refused.value.hint == "give another name with 'output', or overwrite=True"
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
    assert len(session_assembly.SHARED._shared) == 2
    first.close()
    assert isinstance(next(item for item in second if isinstance(item, musetalk.Frame)), musetalk.Frame)
    second.close()
    other.close()
    assert session_assembly.SHARED._shared == {}


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
    with musetalk.open_session("nora", size=SIZE, output="fragments") as session:
        session.push(voice(0.5), 48_000)
        session.finish()
        items = list(session)
    video = b"".join(item.data for item in items if isinstance(item, (musetalk.InitSegment, musetalk.Fragment)))
    spoken = next(item for item in items if isinstance(item, musetalk.UtteranceFinished))
    assert spoken.position_s == 0.52
    num_frames = sum(item.num_frames for item in items if isinstance(item, musetalk.Fragment))
    assert len(read_frames(ffmpeg, video, SIZE, SIZE)) == num_frames


def test_the_last_fragment_has_the_audio_that_the_encoder_held_back(ffmpeg: str) -> None:
    pytest.importorskip("av", reason="needs PyAV")
    with musetalk.open_session("nora", size=SIZE, output="fragments") as session:
        session.push(tone(0.5), 48_000)
        session.finish()
        items = list(session)
    fragments = [item for item in items if isinstance(item, musetalk.Fragment)]
    video = b"".join(item.data for item in items if isinstance(item, (musetalk.InitSegment, musetalk.Fragment)))
    audio = read_audio(ffmpeg, video)[:, 0]
    loud = np.flatnonzero(np.abs(audio) > 2_000)
    assert len(audio) >= sum(fragment.num_frames for fragment in fragments) * 1920
    assert 23_900 < loud[-1] - loud[0] < 24_100
