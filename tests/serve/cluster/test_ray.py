"""Ray itself: ``serve --ray local``, with a client and a page whose sessions are on its machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import psutil
import pytest

from fixtures.serve_client import ServeClient
from fixtures.serve_process import ServeProcess
from fixtures.webdriver import open_browser

pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform == "win32", reason="Ray is for Linux and macOS"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[ServeProcess]:
    with ServeProcess("--ray", "local", "--size", "128", "--max-sessions", "2", "--workers", "1") as running:
        yield running


def place(server: ServeProcess) -> str:
    """The address of the machine that opens the next session."""
    with urlopen(Request(f"{server.url}/v1/place", method="POST"), timeout=30) as answer:  # noqa: S310 - our own
        return str(json.load(answer)["session"])


def test_a_session_is_on_the_machine(server: ServeProcess) -> None:
    address = place(server)
    assert not address.startswith(server.url.replace("http", "ws", 1))
    client = ServeClient(address.removesuffix("/v1/session"))
    client.wait_for("ready")
    client.send(type="finish")
    assert client.wait_closed() == 1000


@pytest.mark.needs("chromium", "chromedriver")
def test_the_page_has_its_session_there(server: ServeProcess, tmp_path: Path) -> None:
    with open_browser("chromium", tmp_path / "profile") as tab:
        tab.open(f"{server.url}/")
        tab.wait("document.querySelector('.avatar') !== null")
        tab.click("#start")
        tab.wait("document.body.dataset.phase === 'live'")
        tab.wait("document.querySelector('video').currentTime > 0.5")


def test_a_signal_ends_all_processes(server: ServeProcess) -> None:
    processes = server.processes()
    assert server.stop() == 0, "".join(server.messages)
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert alive == []
