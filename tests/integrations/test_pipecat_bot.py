"""examples/pipecat_bot.py: a browser plays the avatar through Pipecat's WebRTC transport, and interrupts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pipecat", reason="needs the extra pipecat")
pytest.importorskip("aiortc", reason="needs pipecat-ai[webrtc]")
from tests.integrations.devtools import open_page

ROOT = Path(__file__).parent.parent.parent
# The page's connection is its own; a script that comes before it keeps hold of each that is made.
KEEP_CONNECTION = """
    window.original = RTCPeerConnection;
    window.RTCPeerConnection = class extends original {
        constructor(...options) { super(...options); window.connection = this; }
    };
"""
RECEIVED = """
    (async () => {
        const received = {};
        for (const report of (await connection.getStats()).values())
            if (report.type === "inbound-rtp") received[report.kind] = report;
        return { ...received, time: document.getElementById("video").currentTime };
    })()
"""


@pytest.fixture
def bot() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The example at a free port: its address, and its process."""
    command = [sys.executable, str(ROOT / "examples" / "pipecat_bot.py"), "--port", "0", "--size", "128"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        address = next(line for line in process.stdout if "http://" in line)
        yield address.split("Running on ")[1].split(" ")[0], process
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.mark.needs("chromium")
def test_a_browser_plays_the_avatar_and_interrupts_it(bot: tuple[str, subprocess.Popen[str]], tmp_path: Path) -> None:
    address, process = bot
    with open_page(address, tmp_path) as page:
        page.wait_for("!!document.getElementById('start')?.onclick")
        page.run(KEEP_CONNECTION)
        page.run("document.getElementById('start').click()")
        page.wait_for("window.connection && connection.connectionState === 'connected'")
        page.wait_for(f"{RECEIVED}.then(received => received.audio?.totalAudioEnergy > 0.01)")
        begin = page.run(RECEIVED)
        page.wait_for(
            f"{RECEIVED}.then(received => received.video.framesDecoded > {begin['video']['framesDecoded'] + 20})"
        )
        page.run("document.getElementById('interrupt').click()")
        assert process.stdout is not None
        assert "interrupted" in next(line for line in process.stdout if " after " in line)
        end = page.run(RECEIVED)
    assert (end["video"]["frameWidth"], end["video"]["frameHeight"]) == (128, 128)
    assert end["time"] > begin["time"] > 0
