"""The microphone: a fake one of Chromium speaks a file; permission refused, an insecure page; the voice gate."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.media import write_wav
from fixtures.serve_process import ServeProcess
from fixtures.servers import pulse_audio
from fixtures.webdriver import Tab, free_port, open_browser

HELLO = Path(__file__).parents[3] / "examples" / "hello.wav"
RATE_HZ = 48_000
chromium = pytest.mark.needs("chromium", "chromedriver")
Start = Callable[[Tab, str], None]
SPEAKING = "document.body.dataset.state === 'speaking'"
IDLE = "document.body.dataset.state === 'idle'"


def fake_microphone(wav: Path) -> list[str]:
    """Options of Chromium: a microphone that speaks a file again and again, and is allowed."""
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    return [*fake, f"--use-file-for-fake-audio-capture={wav}"]


@pytest.fixture
def word(tmp_path: Path) -> Path:
    """4 s of silence, 1.5 s of a buzz with a syllable rhythm, 2 s of silence."""
    times = np.arange(int(7.5 * RATE_HZ)) / RATE_HZ
    buzz = np.sign(np.sin(2 * np.pi * 140 * times)) * np.clip(np.sin(2 * np.pi * 4 * times), 0, 1)
    spoken = (times > 4) & (times < 5.5)
    return write_wav(tmp_path / "word.wav", (9_000 * buzz * spoken).astype(np.int16)[:, None], RATE_HZ)


@pytest.fixture
def long_speech(tmp_path: Path) -> Path:
    """The example's voice twelve times, 83 s: longer than anybody takes to open a microphone."""
    with wave.open(str(HELLO)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return write_wav(tmp_path / "long.wav", np.tile(pcm, 12)[:, None], file.getframerate())


@chromium
def test_the_avatar_speaks_what_the_microphone_gives(server: ServeProcess, start: Start, tmp_path: Path) -> None:
    with open_browser("chromium", tmp_path / "profile", fake_microphone(HELLO)) as tab:
        start(tab, server.url)
        tab.click("#mic-button")
        tab.wait(SPEAKING)
        assert tab.run("return document.querySelector('#mic-button').ariaPressed") == "true"
        tab.wait("Number(document.querySelector('#meter').style.getPropertyValue('--level')) > 0.2")
        tab.click("#mic-button")
        tab.wait(IDLE)
        assert tab.run("return document.querySelector('#mic-button').ariaPressed") == "false"
        assert [line for line in tab.log if line.startswith("error")] == []


@chromium
def test_the_gate_ends_utterances_and_interrupts_a_file(
    server: ServeProcess, start: Start, tmp_path: Path, word: Path, long_speech: Path
) -> None:
    with open_browser("chromium", tmp_path / "profile", fake_microphone(word)) as tab:
        start(tab, server.url)
        tab.run(
            "window.states = []; new MutationObserver(() => states.push(document.body.dataset.state))"
            ".observe(document.body, { attributeFilter: ['data-state'] })"
        )
        tab.click("#gate")
        tab.choose_files("#file-input", long_speech)
        tab.wait(SPEAKING)
        tab.click("#mic-button")
        tab.wait("states.includes('interrupted')")
        later = "states.slice(states.indexOf('interrupted'))"  # the word itself, which comes again and again
        tab.wait(f"{later}.includes('speaking')")
        tab.wait(f"{later}.slice({later}.indexOf('speaking')).includes('idle')")


@pytest.mark.needs("firefox-esr", "pulseaudio", "pactl", "paplay")
def test_the_microphone_in_firefox(server: ServeProcess, start: Start, tmp_path: Path) -> None:
    allowed = ['user_pref("media.navigator.permission.disabled", true);']
    with (
        pulse_audio(tmp_path) as pulse,
        open_browser("firefox", tmp_path / "profile", allowed, pulse.environment) as tab,
    ):
        start(tab, server.url)
        tab.click("#mic-button")
        tab.wait("document.querySelector('#mic-button').ariaPressed === 'true'")
        player = pulse.play(HELLO)
        try:
            tab.wait("Number(document.querySelector('#meter').style.getPropertyValue('--level')) > 0.2")
            tab.wait(SPEAKING)
        finally:
            player.terminate()
            player.wait(10)


@chromium
def test_a_refused_permission_is_said(server: ServeProcess, start: Start, tmp_path: Path) -> None:
    options = ["--use-fake-device-for-media-stream", "--deny-permission-prompts"]
    with open_browser("chromium", tmp_path / "profile", options) as tab:
        start(tab, server.url)
        tab.click("#mic-button")
        assert "not allowed to use the microphone" in tab.wait(
            "document.querySelector('#notice.is-error')?.textContent"
        )


@chromium
def test_a_page_without_https_says_why_it_has_no_microphone(start: Start, tmp_path: Path) -> None:
    port = free_port()
    origin = f"http://talk.test:{port}"
    options = ("--port", str(port), "--size", "128", "--max-sessions", "2", "--workers", "1", "--allow-origin", origin)
    with (
        ServeProcess(*options),
        open_browser("chromium", tmp_path / "profile", ["--host-resolver-rules=MAP talk.test 127.0.0.1"]) as tab,
    ):
        start(tab, origin)
        tab.click("#mic-button")
        assert "only to pages over https" in tab.wait("document.querySelector('#notice.is-error')?.textContent")


@chromium
def test_a_lost_device_is_said(server: ServeProcess, start: Start, tmp_path: Path) -> None:
    with open_browser("chromium", tmp_path / "profile", fake_microphone(HELLO)) as tab:
        tab.before_each_page(
            "const ask = MediaDevices.prototype.getUserMedia;"
            "MediaDevices.prototype.getUserMedia = async function (wanted) {"
            "  return (window.stream = await ask.call(this, wanted)); };"
        )
        start(tab, server.url)
        tab.click("#mic-button")
        tab.wait("document.querySelector('#mic-button').ariaPressed === 'true'")
        tab.run("window.stream.getTracks()[0].dispatchEvent(new Event('ended'))")
        assert "unplugged" in tab.wait("document.querySelector('#notice.is-error')?.textContent")
        assert tab.run("return document.querySelector('#mic-button').ariaPressed") == "false"


def gate(tab: Tab, levels: list[list[Any]]) -> list[Any]:
    """What the gate says to [RMS, seconds, is strict]: its changes and when, in pieces."""
    return list(
        tab.run(
            """
            const { VoiceGate } = await import("/voice-gate.js");
            const gate = new VoiceGate(0.02);
            const changes = [];
            let piece = 0;
            for (const [rms, seconds, isStrict] of args[0]) {
              for (let turn = 0; turn < seconds / 0.02; turn += 1, piece += 1) {
                const change = gate.take(rms, isStrict);
                if (change) changes.push([change, piece]);
              }
            }
            return changes;
            """,
            levels,
        )
    )


@chromium
def test_the_gate(server: ServeProcess, tmp_path: Path) -> None:
    with open_browser("chromium", tmp_path / "profile") as tab:
        tab.open(server.url)
        assert gate(tab, [[0.0003, 5, False]]) == []
        # Speech opens it within 60 ms; the hangover closes it 700 ms behind its end.
        assert gate(tab, [[0.0003, 1, False], [0.1, 1, False], [0.0003, 2, False]]) == [["opened", 52], ["closed", 134]]
        # A gap of 400 ms does not.
        assert gate(tab, [[0.1, 1, False], [0.0003, 0.4, False], [0.1, 1, False]]) == [["opened", 2]]
        # A click of 40 ms does not open it; nor does what is left of the avatar's own voice while it speaks.
        assert gate(tab, [[0.0003, 1, False], [0.1, 0.04, False], [0.0003, 1, False]]) == []
        assert gate(tab, [[0.004, 1, True]]) == []
        # A fan that is switched on opens it for a while, then is the room's noise.
        changes = gate(tab, [[0.0003, 1, False], [0.01, 60, False]])
        assert [change for change, _ in changes] == ["opened", "closed"]
