"""A headless Chromium that a test steers: it runs scripts in the page and returns what they give."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
]
PATIENCE_S = 40.0
POLL_S = 0.1


class Page:
    """One page of the browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._num_calls = 0

    def run(self, script: str) -> Any:
        """What a JavaScript expression gives; a promise is waited for. Raises AssertionError for an exception in it."""
        answer = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """The first value of an expression that is true. Raises AssertionError where none comes."""
        deadline = time.monotonic() + PATIENCE_S
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"never true: {script}"
            time.sleep(POLL_S)  # the page tells of no change
        return value

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._num_calls += 1
        self._socket.send(json.dumps({"id": self._num_calls, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv(PATIENCE_S))).get("id") != self._num_calls:
            pass
        return dict(answer["result"])


@contextmanager
def open_page(address: str, profile: Path) -> Iterator[Page]:
    """``profile``: a folder of the browser's own."""
    command = ["chromium", *OPTIONS, f"--user-data-dir={profile}", address]
    browser = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert browser.stderr is not None
        told = next(line for line in browser.stderr if "DevTools" in line and "ws://" in line)
        port = told.split("ws://")[1].split("/")[0]
        with urllib.request.urlopen(f"http://{port}/json", timeout=PATIENCE_S) as answer:
            target = next(each for each in json.load(answer) if each["type"] == "page")
        with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Page(socket)
    finally:
        browser.terminate()
        browser.communicate(timeout=20)
