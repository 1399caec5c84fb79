"""One server and one browser for the tests of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.serve_process import ServeProcess
from fixtures.webdriver import Tab

SMALL = ("--size", "128", "--max-sessions", "4", "--workers", "1")
HELLO = Path(__file__).parents[3] / "examples" / "hello.wav"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    with ServeProcess(*SMALL, "--allow-avatar", "theo") as running:
        yield running


@pytest.fixture
def start() -> Callable[[Tab, str], None]:
    """Open the page and click, until the first frame is there."""

    def open_and_click(tab: Tab, address: str) -> None:
        tab.open(address)
        tab.wait("document.querySelector('.avatar') !== null")
        tab.click("#start")
        tab.wait("document.body.dataset.phase === 'live'")

    return open_and_click
