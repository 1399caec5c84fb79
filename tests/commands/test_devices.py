"""``musetalk devices`` with a PortAudio that the tests make up."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[bytes]]

FAKE = """
class default:
    device = (0, -1)
def query_hostapis():
    return [{{"name": "ALSA"}}]
def query_devices():
    return {devices!r}
"""
MICROPHONE = {"name": "Desk", "hostapi": 0, "max_input_channels": 1, "default_samplerate": 44100.0}
SPEAKER = {"name": "Wall", "hostapi": 0, "max_input_channels": 0, "default_samplerate": 48000.0}


@pytest.fixture
def listed(run_cli: Run, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs the command where PortAudio lists these devices and ``runtime`` is the user's folder of sockets."""

    def run(devices: list[dict[str, object]], *args: str, runtime: str = "none") -> subprocess.CompletedProcess[bytes]:
        (tmp_path / "sounddevice.py").write_text(FAKE.format(devices=devices))
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "XDG_RUNTIME_DIR": str(tmp_path / runtime)}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # the fake is written twice within a second, in as many bytes
        environment.pop("PULSE_SERVER", None)
        return run_cli("devices", *args, env=environment)

    return run


def test_microphones_and_no_loudspeakers_are_listed(listed: Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    done = listed([MICROPHONE, SPEAKER])
    assert done.stdout.decode().split() == ["*", "0", "Desk", "44100", "Hz", "mono", "ALSA"]
    assert done.stderr == b""


def test_json_lists_them_too(listed: Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    (device,) = json.loads(listed([SPEAKER, MICROPHONE], "--json").stdout)
    assert (device["index"], device["name"], device["rate_hz"], device["is_default"]) == (1, "Desk", 44100, False)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_without_a_microphone_the_next_step_is_not_the_same_command(
    listed: Callable[..., subprocess.CompletedProcess[bytes]], options: tuple[str, ...]
) -> None:
    done = listed([SPEAKER], *options)
    assert done.returncode == 1
    assert b"there is no microphone (plug one in" in done.stderr
    assert b"musetalk devices" not in done.stderr
    assert not options or json.loads(done.stdout) == []


@pytest.mark.parametrize(("socket", "words"), [("pipewire-0", "pipewire-alsa"), ("pulse/native", "libasound2-plugins")])
def test_users_of_a_audio_server_learn_how_to_choose(
    listed: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path, socket: str, words: str
) -> None:
    (tmp_path / "run" / socket).parent.mkdir(parents=True)
    (tmp_path / "run" / socket).touch()
    assert words in listed([SPEAKER], runtime="run").stderr.decode()
    assert b"PULSE_SOURCE=NAME musetalk stream --mic" in listed([MICROPHONE], runtime="run").stderr
