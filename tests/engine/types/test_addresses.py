from __future__ import annotations

import pytest

from musetalk_cli.engine.types.addresses import find_secrets, hide_address, is_address, show_address


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtmp://host/live/key", "rtmp://host/live/…"),
        ("rtmp://host/live/key/with/slashes", "rtmp://host/live/…"),
        ("rtmp://host/KEY", "rtmp://host/…"),
        ("rtmps://user:PW@host:443/app/key?auth=1", "rtmps://host:443/app/…"),
        ("rtmp://host", "rtmp://host"),
        ("srt://user:PW@host:9000?passphrase=secret", "srt://host:9000"),
        ("udp://239.0.0.1:5000?ttl=3", "udp://239.0.0.1:5000"),
        ("https://user:p@ss@host/voice.mp3?token=abcd#t=3", "https://host/voice.mp3"),
        ("srt://[::1]:9000", "srt://[::1]:9000"),
        ("HTTP://A:B@host/", "HTTP://host/"),
        ("rtmp://joe:hun#ter2@host/live/key", "rtmp://joe:…"),
        ("a folder/file.mp4", "a folder/file.mp4"),
        ("-", "-"),
    ],
)
def test_what_is_shown_of_an_address(address: str, shown: str) -> None:
    assert show_address(address) == shown


@pytest.mark.parametrize(
    "words",
    [
        "rtmp://joe:hunter2@host/live/abcd-1234?token=s3cret: Input/output error",
        "[rtmp] Server error: no such stream abcd-1234",
        "Server said: password hunter2 is wrong",
        "joe:hunter2 refused, s3cret",
    ],
)
def test_what_ffmpeg_says_carries_no_secret(words: str) -> None:
    said = hide_address(words, "rtmp://joe:hunter2@host/live/abcd-1234?token=s3cret")
    assert not any(secret in said for secret in ("hunter2", "abcd-1234", "s3cret"))
    assert "…" in said


def test_a_path_is_no_address() -> None:
    assert not is_address("C:/voice.wav")
    assert not is_address("voice.wav")
    assert is_address("srt://host:1")


def test_a_user_stays_out_with_the_password() -> None:
    said = hide_address("login as joe:hunter2 failed", "rtmp://joe:hunter2@host/live/abcd-1234")
    assert said == "login as … failed"


def test_the_host_is_no_secret() -> None:
    words = "no route to example.org"
    assert hide_address(words, "rtmp://joe:hunter2@example.org/live/abcd-1234") == words


def test_what_is_never_secret_stays_in_messages() -> None:
    address = "srt://joe:hunter2@host:9000?mode=caller&passphrase=verysecret&pkt_size=1316"
    assert find_secrets(address) == {"joe:hunter2", "hunter2", "verysecret"}
    assert hide_address("srt: caller mode, 1316 bytes, verysecret", address) == "srt: caller mode, 1316 bytes, …"
