"""Whole sessions of the neural model: they share nets and batches, and one that breaks harms no other."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

import musetalk_cli as musetalk  # noqa: E402
from fixtures.small_nets import CONFIGS  # noqa: E402
from musetalk_cli.engine.models.musetalk import factory  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import random_encoder, random_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator, SharedFace  # noqa: E402
from musetalk_cli.engine.models.musetalk.model import MuseTalkModel  # noqa: E402
from musetalk_cli.engine.runtime.batch_scheduler import BatchScheduler  # noqa: E402
from musetalk_cli.engine.session import Session  # noqa: E402

pytestmark = pytest.mark.timeout(240)
SETTINGS = {"random_weights": True, "device": "cpu", "silence": {"gate": False}}


@pytest.fixture(autouse=True)
def _small_nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(factory, "random_nets", lambda *args, **options: random_nets(*args, configs=CONFIGS, **options))
    monkeypatch.setattr(factory, "random_encoder", lambda *args: random_encoder(*args, configs=CONFIGS))


@pytest.fixture
def avatars() -> Iterator[list[musetalk.OpenAvatar]]:
    """Two of them, open at once."""
    opened = [
        musetalk.open_avatar(name, model="musetalk-1.5", size=128, settings=SETTINGS) for name in ("nora", "theo")
    ]
    yield opened
    for avatar in opened:
        avatar.close()


def model_of(avatar: musetalk.OpenAvatar) -> MuseTalkModel:
    assert isinstance(avatar._model, MuseTalkModel)
    return avatar._model


def voice() -> np.ndarray:
    times = np.arange(48_000) / 48_000
    return (8_000 * np.sign(np.sin(2 * np.pi * 120 * times))).astype(np.int16)


def say(session: Session, outcome: list[object]) -> None:
    """Push a voice and take all that comes; an error is an outcome, too."""
    try:
        session.push(voice(), 48_000)
        session.finish()
        outcome.extend(session)
    except Exception as error:
        outcome.append(error)


def say_in_threads(sessions: Sequence[Session]) -> list[list[object]]:
    outcomes: list[list[object]] = [[] for _ in sessions]
    threads = [threading.Thread(target=say, args=each) for each in zip(sessions, outcomes, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def spoken_frames(outcome: list[object]) -> list[musetalk.Frame]:
    return [item for item in outcome if isinstance(item, musetalk.Frame) and item.utterance is not None]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[int]]]:
    """Whose faces were computed together: of each batch, which avatar each face is of.

    A first batch, ``occupy`` asks for it, goes on until both sessions have asked for faces. Nothing has a deadline: on
    a busy machine that batch takes long, no larger one would seem to be in time, and no two would share one.
    """
    seen: list[list[int]] = []
    callers: set[object] = set()
    all_have_asked = threading.Event()
    submit, generate_faces = BatchScheduler.submit, FaceGenerator._generate_faces

    def note_caller(self: object, caller: object, items: Sequence[SharedFace], deadline: object = None) -> object:
        futures = submit(self, caller, items)  # type: ignore[arg-type]
        callers.add(caller)
        if len(callers) == 3:
            all_have_asked.set()
        return futures

    def note_batch(self: FaceGenerator, faces: Sequence[SharedFace]) -> object:
        seen.append([id(face.prefix_cache) for face in faces])
        assert all_have_asked.wait(200)
        return generate_faces(self, faces)

    monkeypatch.setattr(BatchScheduler, "submit", note_caller)
    monkeypatch.setattr(FaceGenerator, "_generate_faces", note_batch)
    yield seen
    all_have_asked.set()


def occupy(model: MuseTalkModel) -> threading.Thread:
    """Have a face generated, for nobody, in the thread that batches are shared in."""
    [(generator, prefix_cache)] = model._face_batches._devices
    features = np.zeros((1, model.num_features - 1), np.float32)
    arguments = ("nobody", prefix_cache, [0], features, None)
    thread = threading.Thread(target=generator.generate_shared, args=arguments)
    thread.start()
    return thread


def test_sessions_of_two_avatars_share_nets_and_batches(
    batches: list[list[int]], avatars: list[musetalk.OpenAvatar]
) -> None:
    nets = [model_of(avatar)._generator._nets for avatar in avatars]
    for name in ("unet", "whisper"):
        pairs = zip(*(getattr(each, name).parameters() for each in nets), strict=True)
        assert all(one is other for one, other in pairs), name
    nobody = occupy(model_of(avatars[0]))
    sessions = [avatar.open_session(is_patient=True) for avatar in avatars]
    outcomes = say_in_threads(sessions)
    nobody.join()
    for session in sessions:
        session.close()
    for outcome in outcomes:
        frames = spoken_frames(outcome)
        assert len(frames) == 25
        assert musetalk.UtteranceFinished(0, 1.0, is_interrupted=False) in outcome  # "late" may follow
        assert all(frame.image.shape == (192, 128) for frame in frames)
    first, second = ([frame.image for frame in spoken_frames(outcome)] for outcome in outcomes)
    assert not any(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert any(len(set(batch)) == 2 for batch in batches), "a call of the nets with faces of both"


def test_a_session_that_breaks_leaves_the_other_unharmed(
    avatars: list[musetalk.OpenAvatar],
) -> None:
    good, bad = (avatar.open_session(is_patient=True) for avatar in avatars)
    break_placing(bad)
    outcome, failed = say_in_threads([good, bad])
    good.close()
    bad.close()
    assert isinstance(failed[-1], musetalk.StageError)
    assert "this avatar breaks" in str(failed[-1])
    frames = spoken_frames(outcome)
    assert np.array_equal(np.concatenate([frame.audio[:, 0] for frame in frames]), voice())
    assert musetalk.UtteranceFinished(0, 1.0, is_interrupted=False) in outcome
    [idle] = avatars[0]._shown.frames.read([0])
    assert not any(np.array_equal(frame.image, idle) for frame in frames), "each has its face"


def break_placing(session: Session) -> None:
    """Let one session's model raise, behind the nets, for its first face: later ones are left out when it is late."""

    def fail(frame: int) -> object:
        raise ValueError("this avatar breaks")

    session._pipeline._model._face_batches._placing = fail  # type: ignore[attr-defined]
