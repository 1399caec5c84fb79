"""``musetalk devices``: the microphones that ``stream --mic`` can use."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from musetalk_cli.errors import SourceError
from musetalk_cli.ui.console import printable, say


def devices(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the microphones, with their numbers and sample rates. * marks the default."""
    from musetalk_cli.engine.audio.microphone import find_audio_server, find_no_microphone_hint, list_devices

    found = list_devices()
    if as_json:
        typer.echo(json.dumps([asdict(device) for device in found], indent=1, ensure_ascii=False))
    if not found:
        raise SourceError("there is no microphone", hint=find_no_microphone_hint())
    width = max(len(device.name) for device in found)
    for device in found if not as_json else ():
        mark = "*" if device.is_default else " "
        channels = "mono" if device.num_channels == 1 else f"{device.num_channels} channels"
        facts = f"{device.index:>3}  {device.name:<{width}}  {device.rate_hz} Hz  {channels}  {device.host}"
        typer.echo(printable(f"{mark} {facts}"))
    if not as_json and (server := find_audio_server()):
        say(f"{server} has its own list: pactl list short sources; PULSE_SOURCE=NAME musetalk stream --mic takes one")
