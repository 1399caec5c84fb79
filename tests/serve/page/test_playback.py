"""The page plays in real browsers: frames are decoded, audio reaches the graph, an interruption silences it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.serve_process import ServeProcess
from fixtures.servers import pulse_audio
from fixtures.webdriver import Tab, open_browser

HELLO = Path(__file__).parents[3] / "examples" / "hello.wav"
ESCAPE = "\ue00c"
# What the video element gives to an audio graph: window.rms() is its level now.
METER = """
const context = new AudioContext();
const analyser = context.createAnalyser();
context.createMediaElementSource(document.querySelector("video")).connect(analyser);
analyser.connect(context.destination);
window.rms = () => {
  const samples = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(samples);
  return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
};
"""
# The level is compared over half a second: speech has gaps.
LOUDEST = """
let loudest = 0;
for (let turn = 0; turn < 25; turn += 1) {
  loudest = Math.max(loudest, window.rms());
  await new Promise((resolve) => setTimeout(resolve, 20));
}
return loudest;
"""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("chromium", marks=pytest.mark.needs("chromium", "chromedriver", "pulseaudio", "pactl")),
        pytest.param("firefox", marks=pytest.mark.needs("firefox-esr", "pulseaudio", "pactl")),
    ],
)
def browser_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tab(browser_name: str, tmp_path: Path) -> Iterator[Tab]:
    """A browser with a device that audio is played to: without one Firefox has no audio graph."""
    with (
        pulse_audio(tmp_path) as pulse,
        open_browser(browser_name, tmp_path / "profile", environment=pulse.environment) as opened,
    ):
        yield opened


def test_it_plays_speaks_and_is_interrupted(
    tab: Tab, server: ServeProcess, start: Callable[[Tab, str], None], tone_wav: Callable[..., Path]
) -> None:
    hum = tone_wav(60.0)  # longer than anything here waits
    start(tab, server.url)
    tab.run(METER)
    tab.wait("document.querySelector('video').currentTime > 0.5")
    assert tab.run("return document.body.dataset.state") == "idle"
    assert tab.run(LOUDEST) < 1e-3
    frames = tab.run("return document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames")
    assert frames > 5

    tab.choose_files("#file-input", hum)
    tab.wait("document.body.dataset.state === 'speaking'")
    tab.wait("window.rms() > 0.01")
    later = tab.run("return document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames")
    assert later > frames
    assert tab.wait("document.querySelector('#latency-value').textContent.match(/\\d+ ms|\\d s/)?.[0]")

    tab.press(ESCAPE)
    assert tab.run("return document.body.dataset.state") == "interrupted"
    tab.wait("document.body.dataset.state === 'idle' && !document.querySelector('video').muted")
    # Firefox's graph lags behind what it plays: the end of the hum may come through.
    tab.wait(f"(await (async () => {{ {LOUDEST} }})()) < 1e-3")

    tab.choose_files("#file-input", HELLO)
    tab.wait("window.rms() > 0.01")
    tab.press(" ")
    assert tab.run("return document.body.dataset.state") == "interrupted"
    tab.wait("window.rms() < 1e-3")
    assert [line for line in tab.log if line.startswith("error")] == []


def test_it_says_when_an_utterance_has_ended(
    tab: Tab, server: ServeProcess, start: Callable[[Tab, str], None], tone_wav: Callable[..., Path]
) -> None:
    start(tab, server.url)
    tab.choose_files("#file-input", tone_wav(1.0, num_channels=2))
    tab.wait("document.body.dataset.state === 'speaking'")
    tab.wait("document.body.dataset.state === 'idle'")
    assert tab.run("return document.querySelector('#interrupt').disabled")


def test_it_catches_up_when_it_is_behind(tab: Tab, server: ServeProcess, start: Callable[[Tab, str], None]) -> None:
    start(tab, server.url)
    tab.run("window.video = document.querySelector('video')")
    behind = "video.buffered.end(0) - video.currentTime"
    tab.wait("video.currentTime > 3")
    tab.run("video.currentTime -= 2.5")
    tab.wait(f"{behind} < 0.7")  # a seek
    tab.run("video.currentTime -= 0.4")
    tab.wait("video.playbackRate > 1.01")
    tab.wait(f"{behind} < 0.4 && video.playbackRate <= 1")


def test_an_avatar_is_changed_while_it_plays(tab: Tab, server: ServeProcess, start: Callable[[Tab, str], None]) -> None:
    start(tab, server.url)
    tab.click(".avatar:nth-child(2)")
    tab.wait("document.body.dataset.phase === 'live' && document.querySelector('video').currentTime > 0.2")
    assert tab.run("return document.querySelector('input[name=avatar]:checked').value") == "theo"
    tab.click("#end")
    tab.wait("document.body.dataset.phase === 'ended'")
    assert "has ended" in tab.run("return document.querySelector('#cover-title').textContent")


def test_a_file_without_audio_is_refused_in_words(
    tab: Tab, server: ServeProcess, start: Callable[[Tab, str], None], tmp_path: Path
) -> None:
    start(tab, server.url)
    (tmp_path / "notes.mp3").write_bytes(b"no audio at all")
    tab.choose_files("#file-input", tmp_path / "notes.mp3")
    assert "notes.mp3 holds no audio" in tab.wait("document.querySelector('#notice.is-error')?.textContent")
    tab.click("#end")
    tab.wait("document.querySelector('#notice').textContent === ''")
