"""A browser plays the stream while it is made."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.media import write_wav

PAGE = Path(__file__).parents[2] / "fixtures" / "player.html"


class Broadcast(http.server.ThreadingHTTPServer):
    """Serves the page, the stream as the command writes it, and takes the page's reports."""

    daemon_threads = False

    def __init__(self, command: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.command = command
        self.reports: list[dict[str, Any]] = []
        self.child: subprocess.Popen[bytes] | None = None


class Handler(http.server.BaseHTTPRequestHandler):
    server: Broadcast

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4" if self.path == "/live.mp4" else "text/html")
        self.end_headers()
        if self.path != "/live.mp4":
            self.wfile.write(PAGE.read_bytes() if self.path == "/" else b"")
            return
        self.server.child = subprocess.Popen(self.server.command, stdout=subprocess.PIPE)
        assert self.server.child.stdout
        while data := self.server.child.stdout.read1(1 << 16):  # type: ignore[attr-defined]
            self.wfile.write(data)
        self.server.child.stdout.close()
        self.server.child.wait()

    def do_POST(self) -> None:
        self.server.reports.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def broadcast(tmp_path: Path) -> Iterator[Broadcast]:
    hum = (6_000 * np.sin(2 * np.pi * 150 * np.arange(4 * 48_000) / 48_000)).astype(np.int16)[:, None]
    wav = write_wav(tmp_path / "hum.wav", hum)
    command = [sys.executable, "-m", "musetalk_cli", "stream", "-i", str(wav), "--size", "96", "--block", "0.4", "-q"]
    server = Broadcast(command)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    if server.child:
        server.child.kill()
        server.child.wait()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.needs("chromium")
def test_chromium_plays_it_to_the_end(broadcast: Broadcast, tmp_path: Path) -> None:
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    profile = [f"--user-data-dir={tmp_path / 'profile'}", "--autoplay-policy=no-user-gesture-required"]
    address = f"http://127.0.0.1:{broadcast.server_address[1]}/"
    # A session of its own, since the browser is a family of processes.
    browser = subprocess.Popen(
        ["chromium", *options, *profile, address], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 50
        while not (broadcast.reports and (broadcast.reports[-1]["ended"] or broadcast.reports[-1]["errors"])):
            assert time.monotonic() < deadline, f"last heard of it: {broadcast.reports[-1:]}"
            time.sleep(0.1)
    finally:
        browser.terminate()
        browser.wait(20)
    times = [report["time"] for report in broadcast.reports]
    last = broadcast.reports[-1]
    assert last["errors"] == []
    assert (last["width"], last["frames"]) == (96, 100)
    assert times == sorted(times)
    assert len(set(times)) > 5, "it advanced while the stream was being made"
    assert times[-1] == pytest.approx(4.0, abs=0.1)
