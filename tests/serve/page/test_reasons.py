"""What the page says when it is refused, loses its server, or is asked for a token; and that it comes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from fixtures.serve_process import ServeProcess
from fixtures.webdriver import Tab, free_port, open_browser

Start = Callable[[Tab, str], None]
SMALL = ("--size", "128", "--workers", "1")
TOKEN = "a-token-of-this-test/+?"  # noqa: S105
TITLE = "document.querySelector('#cover-title').textContent"
LIVE = "document.body.dataset.phase === 'live' && document.querySelector('video').currentTime > 0.1"
pytestmark = pytest.mark.needs("chromium", "chromedriver")


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    with open_browser("chromium", tmp_path / "profile") as opened:
        yield opened


def test_it_reconnects_when_the_server_is_back(tab: Tab, start: Start, tmp_path: Path) -> None:
    port = free_port()
    with ServeProcess(*SMALL, "--port", str(port), "--max-sessions", "1") as server:
        start(tab, server.url)
        server.kill()
        tab.wait("document.body.dataset.phase === 'reconnecting'")
        assert "connection to the server was lost" in tab.run(f"return {TITLE}")
        assert tab.run("return document.querySelector('#state-word').textContent") == "Reconnecting"
        assert tab.wait(f"{TITLE}.includes('does not answer')")
        assert not tab.run("return document.querySelector('#still').hidden")  # its last frame stays
    with ServeProcess(*SMALL, "--port", str(port), "--max-sessions", "1"):
        tab.wait(LIVE)
        assert tab.run("return document.querySelector('#cover').hidden")


def test_a_full_server_is_said_and_waited_for(tab: Tab, tmp_path: Path) -> None:
    with ServeProcess(*SMALL, "--max-sessions", "1") as server:
        address = server.url.replace("http", "ws") + "/v1/session"
        with connect(address, subprotocols=[Subprotocol("musetalk.v1")], proxy=None) as other:
            other.send('{"type": "start"}')
            assert json.loads(other.recv())["type"] == "ready"
            tab.open(server.url)
            tab.wait("document.querySelector('.avatar') !== null")
            tab.click("#start")
            assert "session is taken" in tab.wait(f"document.body.dataset.phase === 'reconnecting' && {TITLE}")
            assert "until one is free" in tab.run("return document.querySelector('#cover-hint').textContent")
        tab.click("#start")  # Try now
        tab.wait(LIVE)


def test_an_avatar_that_is_no_longer_offered(tab: Tab, tmp_path: Path) -> None:
    port = free_port()
    options = (*SMALL, "--port", str(port), "--max-sessions", "1")
    with ServeProcess(*options, "--allow-avatar", "theo") as server:
        tab.open(server.url)
        tab.wait("document.querySelectorAll('.avatar').length === 2")
        tab.click(".avatar:nth-child(2)")
    with ServeProcess(*options, "--allow-avatar", "nora"):
        tab.click("#start")
        tab.wait(f"{TITLE} === 'This server does not offer that avatar.'")
        tab.click(".avatar:nth-child(1)")
        tab.click("#start")
        tab.wait(LIVE)


def test_a_token_is_asked_for_and_stays_out_of_addresses(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    options = (*SMALL, "--max-sessions", "2", "--token-file", str(tmp_path / "token"))
    with ServeProcess(*options) as server:
        tab.open(server.url)
        tab.wait(f"{TITLE} === 'This server asks for a token.'")
        enter(tab, "a-wrong-token-of-this-test")
        tab.wait(f"{TITLE} === 'The server does not accept this token.'")
        enter(tab, TOKEN)
        tab.wait("document.querySelector('.avatar') !== null")
        tab.click("#start")
        tab.wait(LIVE)
        assert tab.run("return document.querySelector('.avatar img').naturalWidth") > 0

        tab.run("sessionStorage.clear()")
        tab.open("about:blank")
        tab.open(f"{server.url}/#token={TOKEN.replace('+', '%2B')}")
        tab.wait("document.querySelector('.avatar') !== null")
        addresses = tab.run(
            "return [location.href, ...performance.getEntriesByType('resource').map(({ name }) => name)]"
        )
        assert not [address for address in addresses if "token" in address]
        tab.click("#start")
        tab.wait(LIVE)
        assert TOKEN not in "".join(server.messages)


def enter(tab: Tab, token: str) -> None:
    tab.run("document.querySelector('#token').value = args[0]", token)
    tab.click("#token-form button")


def test_trying_again_can_be_stopped(tab: Tab, start: Start, tmp_path: Path) -> None:
    with ServeProcess(*SMALL, "--max-sessions", "1") as server:
        start(tab, server.url)
        server.kill()
    tab.wait("document.body.dataset.phase === 'reconnecting'")
    tab.click("#stop-trying")
    tab.wait("document.body.dataset.phase === 'ended'")
    assert tab.run("return document.querySelector('#start').textContent") == "Start again"
