"""The microphone, and what PortAudio lists. It is asked in a process of its own: audio drivers crash and hang."""

from __future__ import annotations

from typing import Any

from musetalk_cli.doctor.checks.finding import Finding, Setup, ok, warning
from musetalk_cli.doctor.checks.programs import ask_python

LIMIT_S = 15.0
ONLY_FOR = "only stream --mic needs one"
ASK = """
import json
from dataclasses import asdict
from musetalk_cli.errors import MuseTalkError
from musetalk_cli.engine.audio.microphone import list_devices
try:
    devices = [asdict(device) for device in list_devices()]
    import sounddevice
    hosts = [host["name"] for host in sounddevice.query_hostapis()]
    answer = {"version": sounddevice.get_portaudio_version()[1], "hosts": hosts, "devices": devices}
except MuseTalkError as error:
    answer = {"error": str(error), "hint": error.hint}
except Exception as error:
    answer = {"error": f"{type(error).__name__}: {error}", "hint": ""}
print(json.dumps(answer))
"""


def check_microphone(setup: Setup) -> list[Finding]:
    """PortAudio, and the microphones that it lists."""
    said, reason = ask_python(ASK, LIMIT_S)
    if said is None:
        return [warning("microphone", f"PortAudio does not answer: {reason}", f"restart the audio system; {ONLY_FOR}")]
    if "error" in said:
        return [warning("microphone", said["error"], said["hint"] or ONLY_FOR)]
    hosts = ", ".join(said["hosts"]) or "no audio system"
    library = ok("PortAudio", f"{said['version'].split(',')[0]}, {hosts}")
    return [library, _judge(said["devices"])]


def _judge(devices: list[dict[str, Any]]) -> Finding:
    if not devices:
        return warning(
            "microphone",
            "there is none",
            f"{ONLY_FOR}; with PulseAudio or PipeWire, pactl list short sources lists what could be one",
        )
    chosen = next((each for each in devices if each["is_default"]), devices[0])
    others = f", and {len(devices) - 1} more" if len(devices) > 1 else ""
    value = f"{chosen['index']} {chosen['name']}, {chosen['rate_hz']} Hz, {chosen['host']}{others}"
    return ok("microphone", value, "musetalk devices lists all" if others else "")
