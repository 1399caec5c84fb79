"""docs/recipes.md is true: its options exist, its settings load, and a stream fits the services."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from fixtures.media import packet_times
from musetalk_cli.cli import app
from musetalk_cli.configuration.loading import load_config

ROOT = Path(__file__).parent.parent
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
SETTINGS = re.findall(r"```yaml\n(.*?)```", RECIPES, re.DOTALL)[0]
LONGEST_GAP_S = 2.05  # what services ask for, and a frame


def commands() -> Iterator[list[str]]:
    """The words of each ``musetalk`` command in the examples, from the name of its subcommand on."""
    lines = re.findall(r"^    (.*\bmusetalk .*)$", RECIPES, re.MULTILINE)
    lines += re.findall(r"`(musetalk (?:serve|stream|render)[^`…]*)`", RECIPES)
    for line in lines:
        for part in re.split(r"\||&&|&$|;", line):
            words = shlex.split(part.replace("<", " < "))
            if "musetalk" in words and (rest := words[words.index("musetalk") + 1 :]) and rest[0] in SUBCOMMANDS:
                yield rest


SUBCOMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
COMMANDS = list(commands())


def test_there_are_recipes() -> None:
    assert len(COMMANDS) >= 15


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_options_exist(words: list[str]) -> None:
    known = {name for option in SUBCOMMANDS[words[0]].params for name in (*option.opts, *option.secondary_opts)}
    assert {word for word in words if word.startswith("-") and word != "-"} <= known


@pytest.mark.needs("ffmpeg")
def test_a_service_gets_what_it_asks_for(
    tmp_path: Path, ffmpeg: str, tone_wav: Callable[..., Path], run_cli: Callable[..., Any]
) -> None:
    (tmp_path / "live.yaml").write_text(SETTINGS, encoding="utf-8")
    config = load_config([tmp_path / "live.yaml"]).config
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"rtmp://127.0.0.1:{free.getsockname()[1]}/app/key"
    received = tmp_path / "received.flv"
    service = subprocess.Popen([ffmpeg, "-v", "error", "-listen", "1", "-i", address, "-c", "copy", str(received)])
    try:
        options = ("--config", tmp_path / "live.yaml", "--size", "96", "-q", "-o", address)
        done = run_cli("stream", "-i", tone_wav(5.0), *options)
        assert done.returncode == 0, done.stderr.decode()
        service.wait(20)
    finally:
        service.kill()
        service.wait()
    said = subprocess.run([ffmpeg, "-hide_banner", "-i", str(received)], capture_output=True, text=True, check=False)
    assert re.search(r"Video: h264 .*yuv420p.*, 30 fps", said.stderr)
    assert re.search(r"Audio: aac \(LC\), 48000 Hz", said.stderr)
    copy = tmp_path / "keyframes.mkv"
    only_keys = [ffmpeg, "-v", "error", "-i", str(received), "-c", "copy", "-bsf:v", "noise=drop=not(key)", str(copy)]
    subprocess.run(only_keys, check=True)
    times = packet_times(ffmpeg, copy, "v")
    assert len(times) >= 3
    assert max(later - earlier for earlier, later in pairwise(times)) <= LONGEST_GAP_S
    assert config.video.bitrate_kbps
