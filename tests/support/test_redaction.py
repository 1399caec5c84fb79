"""A log or a report carries no secrets, no folders of the user, and no names."""

from __future__ import annotations

from pathlib import Path

import pytest

from musetalk_cli.support import redaction
from musetalk_cli.support.redaction import find_secrets, mask_secrets, redact


@pytest.fixture
def alice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_home_folders", lambda: ("/srv/people/alice",))
    monkeypatch.setattr(redaction, "_user_name", lambda: "alice")
    monkeypatch.setattr(redaction, "_host_names", lambda: ("wonderland.example", "wonderland"))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rtmp://live.example/app/live_12_AbC", "rtmp://live.example/app/…"),
        ("rtmps://h:443/rtmp/FB-1-2?s_bl=1&s_ps=2", "rtmps://h:443/rtmp/…?s_bl=…&s_ps=…"),
        ("rtmp://h/app/inst/key", "rtmp://h/app/…"),
        ("rtmp://h/key", "rtmp://h/…"),
        (
            "srt://h:9000?mode=caller&passphrase=verysecret&pkt_size=1316",
            "srt://h:9000?mode=caller&passphrase=…&pkt_size=1316",
        ),
        ("https://bob:pass@h/a.mp3?sig=abc", "https://…@h/a.mp3?sig=…"),
        ("Authorization: Bearer abc.def", "Authorization: …"),
        ("-passphrase hunter2hunter2 -y", "-passphrase … -y"),
        ("HF token=hf_abcdef", "HF token=…"),
        ('{"token": "hf_abcdef", "n": 1}', '{"token": "…", "n": 1}'),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': '…'}"),
        ("nothing to hide, /usr/bin/ffmpeg -i file:a.wav", "nothing to hide, /usr/bin/ffmpeg -i file:a.wav"),
        ("the secret is out", "the secret is out"),
    ],
)
def test_secrets_are_masked(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


def test_a_key_is_recognised_where_it_stands_alone() -> None:
    secrets = find_secrets(["musetalk", "-o", "rtmp://live.example/app/live_12_AbC?x=tok3n99"])
    assert secrets == {"live_12_AbC", "tok3n99"}
    assert redact("publish live_12_AbC denied (tok3n99)", secrets) == "publish … denied (…)"


@pytest.mark.parametrize("secret", ["my long secret", "it's a secret", 'so "called"', "a<b>c"])
def test_blanks_and_quotes_end_no_secret_of_a_command(secret: str) -> None:
    words = ["musetalk", "-o", f"srt://h:9000?mode=caller&passphrase={secret}", f"--output=rtmp://h/live/{secret}"]
    assert secret in find_secrets(words)
    assert redact(f"refused: {secret}", find_secrets(words)) == "refused: …"


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/people/alice/talk.mp4", "~/talk.mp4"),
        ("file '/srv/people/alice': gone", "file '~': gone"),
        ("(see /srv/people/alice) [/srv/people/alice]; </srv/people/alice>", "(see ~) [~]; <~>"),
        ("(/mnt/alice)", "(/mnt/USER)"),
        ("/srv/people/alice2/talk.mp4", "/srv/people/alice2/talk.mp4"),
        ("/home/bob/x.wav and /Users/carol/y.wav", "~/x.wav and ~/y.wav"),
        ("C:\\Users\\Dora\\talk.wav", "~\\talk.wav"),
        ("/mnt/alice/talk.wav", "/mnt/USER/talk.wav"),
        ("connected to wonderland.example, wonderland", "connected to HOST, HOST"),
        ("https://example.org/home/bob is a page", "https://example.org/home/bob is a page"),
    ],
)
def test_folders_and_names_are_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_without_a_home_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    redaction._home_folders.cache_clear()
    try:
        assert redact("/usr/bin/ffmpeg") == "/usr/bin/ffmpeg"
    finally:
        redaction._home_folders.cache_clear()
        redaction._user_name.cache_clear()


def test_the_own_folder_is_hidden() -> None:
    assert redact(str(Path.home() / ".cache" / "musetalk")) == "~/.cache/musetalk"
