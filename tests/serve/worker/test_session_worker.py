"""A session behind a connection: what is pushed, what comes out, and how either side ends it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from socket import socketpair
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fixtures.worker_client import WorkerClient, decode_fragments
from musetalk_cli.configuration.schema import Config, SessionConfig, VideoConfig, WarpConfig
from musetalk_cli.serve.protocol import MAX_MESSAGE_BYTES, CloseCode, Ready
from musetalk_cli.serve.wire import Kind
from musetalk_cli.serve.worker.capacity import make_voice
from musetalk_cli.serve.worker.offer import Offer
from musetalk_cli.serve.worker.rest import Rest
from musetalk_cli.serve.worker.session_worker import serve_connection

RATE_HZ = 48_000
CONFIG = Config(
    model="warp",
    video=VideoConfig(size=128),
    session=SessionConfig(max_queued_s=3.0),
    warp=WarpConfig(life=False),
)


@pytest.fixture(scope="module")
def offer() -> Iterator[Offer]:
    offer = Offer(CONFIG, ["nora", "theo"], lambda line: None)
    yield offer
    offer.close()


@contextmanager
def connected(offer: Offer, on_rest: Callable[[], None] = lambda: None) -> Iterator[WorkerClient]:
    ours, theirs = socketpair()
    thread = threading.Thread(target=serve_connection, args=(theirs, offer, on_rest))
    thread.start()
    try:
        with WorkerClient(ours) as client:
            yield client
    finally:
        thread.join(10)
        assert not thread.is_alive()


@contextmanager
def started(offer: Offer, **start: Any) -> Iterator[WorkerClient]:
    with connected(offer) as client:
        assert client.start(**{"rate_hz": RATE_HZ, **start})["type"] == "ready"
        yield client


def voice(duration_s: float) -> np.ndarray:
    return make_voice(duration_s)


def test_a_whole_conversation_is_one_mp4_with_a_mouth_that_moves_while_it_speaks(offer: Offer) -> None:
    with started(offer) as client:
        client.push(voice(1.0))
        client.send(Kind.END_UTTERANCE)
        client.send(Kind.FINISH)
        log = client.read_all()
    begun = next(each for each in log if each.get("type") == "utterance_started")
    ended = next(each for each in log if each.get("type") == "utterance_finished")
    assert ended == {**ended, "utterance": 0, "position_s": 1.0, "interrupted": False}
    assert log[-1] == {"kind": "FINISHED"}
    images, audio = decode_fragments(bytes(client.data))
    first = round(begun["time_s"] * 25)
    assert len(images) == client.num_fragments - 1 >= first + 25  # the last one is the rest of the audio
    changed = [int((np.abs(image.astype(int) - images[1].astype(int)) > 40).sum()) for image in images]
    assert max(changed[1:first]) == 0 < 20 < max(changed[first : first + 25])
    assert np.abs(audio[: int(begun["time_s"] * RATE_HZ) - 2048]).max() < 0.01 < 0.1 < np.abs(audio).max()


def test_the_first_answer_says_what_the_session_is(offer: Offer) -> None:
    with connected(offer) as client:
        message = client.start(avatar="theo", size=64, fps=10, block_s=0.1, lead_s=0.3, rate_hz=8000)
        assert message.pop("kind") == "READY"
        ready = Ready.model_validate(message)
        assert (ready.avatar, ready.model, ready.width, ready.height, ready.fps) == ("theo", "warp", 64, 64, 10.0)
        assert (ready.lead_s, ready.block_s, ready.rate_hz) == (0.3, 0.1, 8000)
        assert ready.mime.startswith('video/mp4; codecs="avc1.42')
        kinds = [(client.read() or (None,))[0] for _ in range(2)]
    assert kinds == [Kind.INIT_SEGMENT, Kind.KEY_FRAGMENT]


def test_it_rests_soon_after_the_start_each_voice_and_each_interruption_and_ever_more_rarely_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, rests = [0.0], list[float]()
    monkeypatch.setattr("musetalk_cli.serve.worker.rest.time", SimpleNamespace(monotonic=lambda: now_s[0]))
    rest = Rest(lambda: rests.append(now_s[0]))

    def rests_until(until_s: float) -> list[float]:
        rests.clear()
        while now_s[0] < until_s:
            now_s[0] += 0.5
            rest.check()
        return list(rests)

    assert rests_until(0.5) == []
    assert rests_until(18.0) == [1.0, 3.0, 7.0, 11.0, 15.0]
    rest.end(0)
    assert rests_until(50.0) == []  # somebody speaks
    rest.begin(0)  # said or interrupted
    assert rests_until(50.5) == []
    rest.end(1)
    assert rests_until(60.0) == []  # the next came soon
    rest.begin(1)
    assert rests_until(64.0) == [61.0, 63.0]


def test_it_rests_where_a_voice_is_interrupted_at_the_moment_at_which_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("musetalk_cli.serve.worker.rest.time", SimpleNamespace(monotonic=lambda: now_s))
    now_s, rests = 0.0, list[float]()
    rest = Rest(lambda: rests.append(now_s))
    rest.begin(0)
    rest.end(0)  # its frame was on its way
    now_s = 1.0
    rest.check()
    assert rests == [1.0]


def test_a_session_rests_from_its_start_not_while_it_speaks_and_after_an_interruption(
    offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musetalk_cli.serve.worker.rest.REST_S", 0.0)
    rests = list[None]()
    with connected(offer, lambda: rests.append(None)) as client:

        def rests_within(num_fragments: int) -> bool:
            before = len(rests)
            for _ in range(num_fragments):
                client.wait_for_fragments(1)
                if len(rests) > before:
                    return True
            return False

        assert client.start(rate_hz=RATE_HZ)["type"] == "ready"
        assert rests_within(100)
        client.push(voice(2.0))
        client.wait_for_message("utterance_started")
        assert not rests_within(5)
        client.send(Kind.CLEAR)
        assert client.wait_for_message("utterance_finished")["interrupted"]
        assert rests_within(100)
        client.send(Kind.FINISH)
        client.read_all()


def test_an_interruption_is_answered_with_its_position_behind_the_last_fragment_of_the_voice(offer: Offer) -> None:
    with started(offer) as client:
        client.push(voice(2.0))
        client.wait_for_message("utterance_started")
        client.wait_for_fragments(5)
        client.send(Kind.CLEAR)
        cleared = client.wait_for_message("cleared")
        assert cleared["utterance"] == 0
        assert 0.16 <= cleared["position_s"] < 1.5
        client.send(Kind.FINISH)
        log = client.read_all()
    ended = next(each for each in log if each.get("type") == "utterance_finished")
    assert (ended["interrupted"], ended["position_s"]) == (True, cleared["position_s"])
    _, audio = decode_fragments(bytes(client.data))
    begun = next(each for each in log if each.get("type") == "utterance_started")
    silent_from = int((begun["time_s"] + cleared["position_s"] + 0.1) * RATE_HZ)
    assert np.abs(audio[silent_from:]).max(initial=0.0) < 0.01


def test_an_interruption_of_nobody_has_no_utterance(offer: Offer) -> None:
    with started(offer) as client:
        client.send(Kind.CLEAR)
        cleared = client.wait_for_message("cleared")
    assert (cleared["utterance"], cleared["position_s"]) == (None, 0.0)


def test_a_keyframe_comes_when_it_is_asked_for(offer: Offer) -> None:
    with started(offer) as client:
        client.wait_for_fragments(3)
        client.send(Kind.KEYFRAME)
        kinds = [(client.read() or (None,))[0] for _ in range(15)]
    assert Kind.KEY_FRAGMENT in kinds


def test_figures_come_once_a_second(offer: Offer) -> None:
    with started(offer) as client:
        client.push(voice(1.5))
        stats = client.wait_for_message("stats")
    assert stats["num_frames"] == client.num_fragments
    assert stats["time_s"] == pytest.approx(client.num_fragments / 25)
    assert stats["latency_ms"] > 0
    assert stats["num_bytes"] > 0 == stats["num_held"]


@pytest.mark.parametrize(
    ("start", "payload", "code"),
    [
        ({}, b"abc", "bad_message"),
        ({"channels": 2}, b"ab", "bad_message"),
        ({"format": "f32le"}, b"abcdef", "bad_message"),
        ({"format": "f32le"}, np.array([0, np.nan], "<f4").tobytes(), "bad_message"),
        ({"format": "f32le"}, np.array([0, np.inf], "<f4").tobytes(), "bad_message"),
        ({}, bytes(MAX_MESSAGE_BYTES + 2), "message_too_big"),
    ],
)
def test_pcm_that_is_none_ends_the_connection_with_a_reason(
    offer: Offer, start: dict[str, Any], payload: bytes, code: str
) -> None:
    with started(offer, **start) as client:
        client.send(Kind.AUDIO, payload)
        last = client.read_all()[-1]
    assert (last["kind"], last["code"], last["fatal"]) == ("ERROR", code, True), last
    assert last["message"]


@pytest.mark.parametrize("format", ["s16le", "f32le"])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_is_spoken(offer: Offer, format: str, channels: int) -> None:
    samples = np.repeat(voice(0.5), channels, axis=1)
    if format == "f32le":
        samples = (samples / 32768).astype("<f4")
    with started(offer, format=format, channels=channels) as client:
        client.push(samples)
        client.send(Kind.FINISH)
        log = client.read_all()
    assert next(each for each in log if each.get("type") == "utterance_finished")["position_s"] == pytest.approx(
        0.52, abs=0.03
    )


def test_float_samples_out_of_range_are_clipped(offer: Offer) -> None:
    with started(offer, format="f32le", rate_hz=16_000) as client:
        client.push(np.full(8000, 3e38, "<f4"))
        client.push(np.array([], "<f4"))
        client.send(Kind.FINISH)
        assert client.read_all()[-1] == {"kind": "FINISHED"}


def test_voice_that_finds_no_room_is_dropped_and_told(offer: Offer) -> None:
    with started(offer) as client:
        for _ in range(6):
            client.push(voice(1.0))
        error = client.wait_for_message("error")
        assert (error["code"], error["fatal"]) == ("queue_full", False)
        client.send(Kind.CLEAR)
        client.wait_for_message("cleared")
        client.push(voice(0.2))
        client.send(Kind.FINISH)
        assert client.read_all()[-1] == {"kind": "FINISHED"}


def test_a_flood_ends_the_connection(offer: Offer) -> None:
    with started(offer, rate_hz=8000) as client:
        with suppress(BrokenPipeError):  # more than may wait, as some of it may be spoken meanwhile
            for _ in range(60):
                client.push(np.ones(8000, "<i2"))
        last = client.read_all()[-1]
    assert (last["kind"], last["code"]) == ("ERROR", "flooded")


def test_many_tiny_utterances_are_too_many_to_wait(offer: Offer) -> None:
    with started(offer) as client:
        for _ in range(2000):
            client.push(np.ones(1, "<i2"))
            client.send(Kind.END_UTTERANCE)
        error = client.wait_for_message("error")
    assert error["code"] == "queue_full"


@pytest.mark.parametrize(
    "start",
    [
        {"avatar": "nobody"},
        {"avatar": "../nora"},
        {"avatar": "/etc/passwd"},
        {"avatar": "http://127.0.0.1:1/a.png"},
        {"avatar": "face.png"},
        {"model": "musetalk-1.5"},
        {"model": "../warp"},
    ],
)
def test_only_what_is_offered_is_opened(offer: Offer, start: dict[str, Any], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "face.png").write_bytes(b"an image that would be opened")
    monkeypatch.setattr("musetalk_cli.serve.worker.offer.open_avatar", lambda *args: pytest.fail("opened"))
    with connected(offer) as client:
        error = client.start(**start)
        assert client.read_all()[-1] is error
    assert (error["kind"], error["code"], error["fatal"]) == ("ERROR", "not_found", True)


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        (Kind.CLEAR, b"", "out_of_order"),
        (Kind.START, b"{", "bad_message"),
        (Kind.START, b'{"type": "ping"}', "bad_message"),
        (Kind.START, b'{"type": "start", "rate_hz": 1}', "bad_message"),
        (Kind.START, b"\xff", "bad_message"),
    ],
)
def test_a_connection_that_begins_wrongly_ends_with_a_reason(
    offer: Offer, kind: Kind, payload: bytes, code: str
) -> None:
    with connected(offer) as client:
        client.send(kind, payload)
        assert [each["code"] for each in client.read_all()] == [code]


def test_a_setting_that_no_session_has_is_told(offer: Offer) -> None:
    with connected(offer) as client:
        error = client.start(block_s=0.05)
    assert error["code"] == "bad_message"
    assert "block_s" in error["message"]


@pytest.mark.parametrize("kind", [Kind.START, Kind.READY])
def test_a_message_out_of_order_ends_the_connection(offer: Offer, kind: Kind) -> None:
    with started(offer) as client:
        client.send(kind, b"{}")
        assert client.read_all()[-1]["code"] == "out_of_order"


def test_voice_behind_the_finish_ends_the_connection(offer: Offer) -> None:
    with started(offer) as client:
        client.push(voice(1.0))
        client.send(Kind.FINISH)
        client.push(voice(0.1))
        assert client.read_all()[-1]["code"] == "out_of_order"


def test_bytes_of_no_kind_end_the_connection(offer: Offer) -> None:
    with started(offer) as client:
        client.connection.sendall(b"\xff\xff\xff\xff\xff")
        assert client.read_all()[-1]["kind"] == "ERROR"


@pytest.mark.parametrize("sent", [b"", b"\x01", b"\x01\x10\0\0\0{"])
def test_a_connection_that_ends_before_its_session_is_nothing(offer: Offer, sent: bytes) -> None:
    with connected(offer) as client:
        client.connection.sendall(sent)


@pytest.mark.parametrize("reads", [0, 1, 5])
def test_a_connection_that_ends_in_the_middle_ends_the_session(offer: Offer, reads: int) -> None:
    with started(offer) as client:
        client.push(voice(2.0))
        client.wait_for_fragments(reads) if reads else None


def test_a_session_whose_reader_does_not_read_waits_and_ends_with_its_connection(offer: Offer) -> None:
    with started(offer, size=256) as client:
        client.push(voice(2.0))
        client.connection.recv(1)


def test_a_bug_in_a_session_is_told_without_its_details(offer: Offer, monkeypatch, capsys) -> None:
    def fail(self: Offer, start: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Offer, "open_session", fail)
    with connected(offer) as client:
        error = client.start()
    assert (error["code"], error["message"]) == (CloseCode.SESSION_FAILED.name.lower(), "internal error: RuntimeError")
    assert "secret" in capsys.readouterr().err


def test_sessions_in_other_sizes_release_what_was_opened_for_them() -> None:
    offer = Offer(replace(CONFIG, avatar="nora"), ["nora"], lambda line: None)
    with started(offer, size=96):
        assert len(offer._open) == 2
    assert len(offer._open) == 1
    offer.close()


def test_messages_are_json_of_the_protocol(offer: Offer) -> None:
    from musetalk_cli.serve.protocol import SERVER_MESSAGES

    with started(offer) as client:
        client.push(voice(0.4))
        client.send(Kind.FINISH)
        client.read_all()
    for message in client.log:
        if message.pop("kind") != "FINISHED":
            SERVER_MESSAGES.validate_json(json.dumps(message))
