"""Two conversations never mix: each video has its own voice only."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.serve_client import ServeClient, decode_video
from fixtures.serve_process import ServeProcess

RATE_HZ = 16_000
TONES_HZ = (350, 500, 700, 950, 1_300, 1_800)
SPEECH_S = 2.0


@pytest.mark.timeout(120)
def test_six_sessions_at_once_keep_their_own_tone() -> None:
    times = np.arange(round(SPEECH_S * RATE_HZ)) / RATE_HZ
    voices = [(9_000 * np.sin(2 * np.pi * hz * times)).astype(np.int16) for hz in TONES_HZ]
    with ServeProcess("--size", "96", "--fps", "10", "--max-sessions", str(len(TONES_HZ))) as server:
        clients = [ServeClient(server.url, rate_hz=RATE_HZ) for _ in TONES_HZ]
        for begin in range(0, len(times), 3_200):  # turn by turn, so that all are under way together
            for client, voice in zip(clients, voices, strict=True):
                client.push(voice[begin : begin + 3_200])
        for client in clients:
            client.send(type="finish")
        assert [client.wait_closed() for client in clients] == [1000] * len(TONES_HZ)
        heard = [levels(decode_video(client.received).audio) for client in clients]
        for client in clients:
            client.close()
    for own, level in enumerate(heard):
        others = np.delete(level, own)
        assert level[own] > 3_000, "its own tone"
        assert others.max() < level[own] / 300, "and 50 dB below it nobody else's"


def levels(audio: np.ndarray) -> np.ndarray:
    """How strong each of the tones is in the voiced second in the middle."""
    voiced = np.flatnonzero(np.abs(audio.astype(np.int32)) > 2_000)
    middle = (voiced[0] + voiced[-1]) // 2
    part = audio[middle - 24_000 : middle + 24_000].astype(float) * np.hanning(48_000)
    times = np.arange(len(part)) / 48_000
    return np.array([abs(part @ np.exp(-2j * np.pi * hz * times)) * 4 / len(part) for hz in TONES_HZ])
