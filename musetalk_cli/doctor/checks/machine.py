"""The version, Python, and the machine that it runs on."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
from pathlib import Path

from musetalk_cli.app.model_choice import count_cores
from musetalk_cli.doctor.checks.finding import Finding, Setup, absent, ok, warning
from musetalk_cli.doctor.checks.limits import cpu_limit, memory_limit_bytes
from musetalk_cli.doctor.checks.programs import ask_python
from musetalk_cli.support.hardware import cpu_name
from musetalk_cli.support.versions import PACKAGE, describe_version, own_distribution

LEAST_MEMORY_BYTES = 1_000_000_000
MODULES = ("numpy", "cv2", "yaml", "pydantic", "ffmpeg", "imageio_ffmpeg", "platformdirs", "psutil", "rich", "typer")
IMPORT_S = 30.0
IMPORT = f"""
import importlib, json
found = {{}}
for name in {MODULES!r}:
    try:
        found[name] = ["", str(getattr(importlib.import_module(name), "__version__", ""))]
    except BaseException as error:
        found[name] = [f"{{type(error).__name__}}: {{error}}", ""]
print(json.dumps(found))
"""


def check_version(setup: Setup) -> list[Finding]:
    """Version and commit, and how it came here."""
    installed = own_distribution()
    how = "installed" if installed else "not installed: run from its folder"
    return [ok("musetalk", f"{describe_version()}, {how}, in {PACKAGE}"), _settings(setup)]


def _settings(setup: Setup) -> Finding:
    if setup.problem is not None:
        return setup.problem
    from dataclasses import asdict

    from musetalk_cli.configuration.loading import flatten
    from musetalk_cli.configuration.schema import Config

    default, given = asdict(Config()), asdict(setup.config)
    changed = [key for key in flatten(given) if _value(given, key) != _value(default, key)]
    variables = sorted(name for name in os.environ if name.startswith("MUSETALK_"))
    parts = [f"from {', '.join(map(str, setup.files))}"] if setup.files else []
    parts += [f"changed: {', '.join(changed)}" if changed else "as they come"]
    parts += [f"variables: {', '.join(variables)}"] if variables else []
    return ok("settings", "; ".join(parts))


def _value(values: object, key: str) -> object:
    for part in key.split("."):
        values = values[part]  # type: ignore[index]
    return values


def check_python(setup: Setup) -> list[Finding]:
    """The interpreter, and whether the libraries that every command needs can be imported."""
    place = "virtual environment" if sys.prefix != sys.base_prefix else "system"
    bits = "" if sys.maxsize > 2**32 else ", 32 bits"
    value = f"{platform.python_version()} ({platform.python_implementation()}{bits}), {place}, {sys.executable}"
    return [ok("Python", value), _check_libraries(), _check_kernel()]


def _check_libraries() -> Finding:
    found, reason = ask_python(IMPORT, IMPORT_S)
    again = "install musetalk again in a fresh virtual environment"
    if found is None:
        return warning("libraries", f"they cannot be imported: {reason}", again)
    bad = [f"{name}: {why}" for name, (why, _) in found.items() if why]
    if bad:
        return Finding("libraries", "failure", "; ".join(bad), again)
    return ok("libraries", ", ".join(f"{name} {version}".strip() for name, (_, version) in found.items()))


def _check_kernel() -> Finding:
    from musetalk_cli.engine.native.library import SWITCH, find

    found = find()
    if found.library is not None:
        return ok("warp kernel", found.describe())
    again = "" if os.environ.get(SWITCH) == "0" else "install a C compiler, then musetalk again: it is faster by far"
    return absent("warp kernel", found.describe(), again)


def check_system(setup: Setup) -> list[Finding]:
    """Operating system, CPU, memory and terminal."""
    return [ok("system", _describe_system()), _check_cpu(), _check_memory(), ok("terminal", _describe_terminal())]


def _describe_system() -> str:
    parts = [f"{platform.system()} {platform.release()} {platform.machine()}"]
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            parts.append(platform.freedesktop_os_release().get("PRETTY_NAME", ""))
        parts.append(" ".join(platform.libc_ver()).strip())
        parts.append("WSL" if "microsoft" in platform.release().lower() else "")
        is_container = any(Path(name).exists() for name in ("/.dockerenv", "/run/.containerenv"))
        parts.append("in a container" if is_container else "")
    elif sys.platform == "darwin":
        parts.append(f"macOS {platform.mac_ver()[0]}")
    return ", ".join(part for part in parts if part)


def _check_cpu() -> Finding:
    total, usable, limit = os.cpu_count() or 1, count_cores(), cpu_limit()
    parts = [cpu_name(), f"{total} logical cores"]
    parts += [f"{usable} of them for us"] if usable != total else []
    parts += [f"limited to {limit:g} by a control group"] if limit is not None else []
    if min(usable, limit or usable) < 2:
        return warning("CPU", ", ".join(parts), "one core renders, but a live stream may hold frames: give it two")
    return ok("CPU", ", ".join(parts))


def _check_memory() -> Finding:
    import psutil

    memory, limit = psutil.virtual_memory(), memory_limit_bytes()
    parts = [f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB available"]
    is_limited = limit is not None and limit < memory.total
    parts += [f"limited to {limit / 1e9:.1f} GB by a control group"] if is_limited and limit else []
    if min(memory.available, limit or memory.available) < LEAST_MEMORY_BYTES:
        return warning("memory", ", ".join(parts), "close other programs or raise the limit: 1 GB is needed")
    return ok("memory", ", ".join(parts))


def _describe_terminal() -> str:
    if sys.stderr is None or not sys.stderr.isatty():
        return f"none on stderr, TERM={os.environ.get('TERM', '')}, {_encoding()}"
    columns, rows = shutil.get_terminal_size()
    program = os.environ.get("TERM_PROGRAM", "")
    parts = [os.environ.get("TERM", "no TERM"), program, f"{columns} × {rows}", _encoding()]
    return ", ".join(part for part in parts if part)


def _encoding() -> str:
    return f"stdout is {getattr(sys.stdout, 'encoding', None) or 'closed'}"
