"""``musetalk devices``: the microphones that ``stream --mic`` can use."""

from __future__ import annotations

import typer

from musetalk_cli.errors import SourceError


def devices() -> None:
    """List the microphones. Each with its number and its rate; * marks the default."""
    from musetalk_cli.engine.audio.microphone import NO_MICROPHONE_HINT, list_devices

    found = list_devices()
    if not found:
        raise SourceError("there is no microphone", hint=NO_MICROPHONE_HINT)
    width = max(len(device.name) for device in found)
    for device in found:
        mark = "*" if device.is_default else " "
        channels = "mono" if device.num_channels == 1 else f"{device.num_channels} channels"
        typer.echo(f"{mark} {device.index:>3}  {device.name:<{width}}  {device.rate_hz} Hz  {channels}  {device.host}")
