"""ffmpeg: which one is used, whether it starts, what it really encodes, and the protocols that it speaks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from musetalk_cli.app.settings.tools import find_ffmpeg
from musetalk_cli.doctor.checks.finding import Finding, Setup, failure, ok, warning
from musetalk_cli.doctor.checks.programs import Ended, run_program
from musetalk_cli.engine.runtime.ffmpeg import find_error, is_bundled
from musetalk_cli.errors import MuseTalkError
from musetalk_cli.support.hardware import list_nvidia_gpus

START_S = 10.0
ENCODE_S = 15.0
NEEDED = ("libx264", "aac")
# What --encoder chooses from, besides x264.
CHOOSABLE = {"h264_nvenc": "nvenc", "h264_videotoolbox": "videotoolbox"}
PROTOCOLS = ("rtmp", "rtmps", "srt", "udp", "https", "hls")
OUTPUT_PROTOCOLS = {"hls"}  # a muxer, not a protocol
INSTALL = "apt install ffmpeg, dnf install ffmpeg or brew install ffmpeg; 'ffmpeg: bundled' uses the one that ships"
LISTED = re.compile(r"^ [VAS][.A-Z]{5} (\S+)", re.MULTILINE)
VIDEO = ("-f", "lavfi", "-i", "testsrc2=s=256x256:r=25:d=0.2", "-pix_fmt", "yuv420p")
AUDIO = ("-f", "lavfi", "-i", "sine=d=0.2:r=48000")


def check_ffmpeg(setup: Setup) -> list[Finding]:
    """The program that would be used, and everything of it that matters."""
    told: list[str] = []
    try:
        program = find_ffmpeg(setup.config, told.append)
    except MuseTalkError as error:
        return [failure("ffmpeg", str(error), error.hint or INSTALL)]
    started = run_program([program, "-hide_banner", "-version"], START_S)
    if not started.is_good:
        return [failure("ffmpeg", f"{program}: {started.reason}", INSTALL)]
    findings = [ok("ffmpeg", f"{_version(started)}, {program}{_origin(program)}")]
    if (local := find_ffmpeg(setup.config, told.append, is_local=True)) != program:
        version = _version(run_program([local, "-hide_banner", "-version"], START_S))
        findings.append(ok("ffmpeg for files", f"{version}, {local}{_origin(local)}"))
    # An ffmpeg on PATH that is not used, though it would be if it worked.
    findings += [warning("ffmpeg on PATH", _shorten(line), "repair or remove it") for line in told]
    return [*findings, *_check_encoders(program), _check_protocols(program)]


def _shorten(line: str) -> str:
    return line.removeprefix("musetalk: warning: ")


def _version(started: Ended) -> str:
    words = started.stdout.decode("utf-8", "replace").split()
    return words[2] if len(words) > 2 and words[1] == "version" else "of an unknown version"


def _origin(program: str) -> str:
    return ", bundled" if is_bundled(program) else ""


def _check_encoders(program: str) -> list[Finding]:
    """Each encoder for H.264 and AAC that is listed, tried on a few frames: being listed means nothing."""
    listed = run_program([program, "-hide_banner", "-encoders"], START_S).stdout.decode("utf-8", "replace")
    found = LISTED.findall(listed)
    names = [name for name in found if "264" in name and not name.startswith("libx264rgb")]
    names += [name for name in found if re.fullmatch(r"(lib\w*)?aac(_\w+)?", name)]
    names += [name for name in NEEDED if name not in names]
    with ThreadPoolExecutor(2) as pool:
        reasons = dict(zip(names, pool.map(lambda name: _try_encoder(program, name), names), strict=True))
    return [*_judge_needed(reasons), _judge_hardware(reasons)]


def _try_encoder(program: str, name: str) -> str:
    """Empty when it encodes, else what ffmpeg says."""
    source, codec = (AUDIO, "-c:a") if "aac" in name else (VIDEO, "-c:v")
    quiet = ["-hide_banner", "-nostdin", "-loglevel", "level+error"]
    done = run_program([program, *quiet, *source, codec, name, "-f", "null", "-"], ENCODE_S)
    return "" if done.is_good else find_error(done.stderr.splitlines()) or done.reason


def _judge_needed(reasons: dict[str, str]) -> list[Finding]:
    missing = [f"{name}: {reasons[name]}" for name in NEEDED if reasons[name]]
    others = [name for name, reason in reasons.items() if name not in NEEDED and not reason]
    if missing:
        return [failure("encoders", "; ".join(missing), INSTALL)]
    return [ok("encoders", f"{' and '.join(NEEDED)} work{_also(others)}")]


def _also(names: Sequence[str]) -> str:
    return f"; so do {', '.join(names)}" if names else ""


def _judge_hardware(reasons: dict[str, str]) -> Finding:
    usable = [CHOOSABLE[name] for name in CHOOSABLE if reasons.get(name) == ""]
    if usable:
        return ok("hardware encoders", f"{', '.join(usable)} works; --encoder auto uses it in live streams")
    reason = reasons.get("h264_nvenc")
    if list_nvidia_gpus():
        why = reason or "this ffmpeg was built without nvenc"
        step = "x264 is used; nvenc needs a newer driver or ffmpeg, and a GPU with an encoder (A100 and H100 have none)"
        return warning("hardware encoders", f"nvenc: {why}", step)
    tried = ", ".join(name for name in reasons if name not in NEEDED and reasons[name])
    return ok("hardware encoders", f"none; x264 is used{f' (tried: {tried})' if tried else ''}")


def _check_protocols(program: str) -> Finding:
    said = run_program([program, "-hide_banner", "-protocols"], START_S).stdout.decode("utf-8", "replace")
    found = set(said.split())
    missing = [name for name in PROTOCOLS if name not in found and name not in OUTPUT_PROTOCOLS]
    here = ", ".join(name for name in PROTOCOLS if name not in missing)
    if missing:
        step = "streams to such addresses need another build of ffmpeg"
        return warning("protocols", f"{here}; without {', '.join(missing)}", step)
    return ok("protocols", here)
