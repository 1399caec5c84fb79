"""All checks, each guarded: none can raise, and none can take longer than its time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from musetalk_cli.doctor.checks import (
    accelerators,
    ffmpeg,
    folders,
    machine,
    microphone,
    models,
    network,
    self_test,
)
from musetalk_cli.doctor.checks.finding import Finding, Setup, failure, warning
from musetalk_cli.doctor.checks.programs import kill_programs
from musetalk_cli.errors import MuseTalkError
from musetalk_cli.support.redaction import redact

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    """A function that finds something; ``name`` stands for its findings where it has none to give in ``limit_s``."""

    name: str
    run: Callable[[Setup], Sequence[Finding]]
    limit_s: float
    group: str


CHECKS = (
    Check("musetalk", machine.check_version, 20, "musetalk"),
    Check("Python", machine.check_python, 60, "musetalk"),
    Check("system", machine.check_system, 20, "machine"),
    Check("GPU", accelerators.check_accelerators, 90, "machine"),
    Check("folders", folders.check_folders, 20, "folders"),
    Check("ffmpeg", ffmpeg.check_ffmpeg, 120, "ffmpeg"),
    Check("microphone", microphone.check_microphone, 30, "microphone"),
    Check("models", models.check_models, 30, "models"),
    Check("avatars", models.check_avatars, 30, "models"),
    Check("extras", models.check_extras, 30, "extras"),
)
NETWORK = Check("network", network.check_network, 60, "network")
RENDER = Check(self_test.NAME, self_test.check_render, 240, "self-test")


@dataclass(frozen=True)
class GroupedFinding:
    """A finding, and the ``group`` of the page that it belongs to."""

    group: str
    finding: Finding


def examine(files: Sequence[Path], *, has_network: bool) -> Iterator[GroupedFinding]:
    """Examine this machine; findings come as they are made, the self-test's last. Raises nothing.

    Args:
        files: configuration files, as of ``--config``.
        has_network: whether the network may be used.
    """
    setup = load_setup(files)
    checks = (*CHECKS, NETWORK, RENDER) if has_network else (*CHECKS, RENDER)
    try:
        for check in checks:
            yield from (GroupedFinding(check.group, hide(found)) for found in run_guarded(check, setup))
    finally:
        kill_programs()


def load_setup(files: Sequence[Path]) -> Setup:
    """The settings in force; the defaults where they are wrong, and what is wrong."""
    from musetalk_cli.configuration.schema import Config

    try:
        from musetalk_cli.app.settings.flags import load_settings

        loaded = load_settings(list(files))
        return Setup(loaded.config, loaded.files, tuple(files))
    except MuseTalkError as error:
        problem = failure("settings", str(error), error.hint or "correct the file; the defaults are examined instead")
    except Exception as error:  # no HOME, a library that is missing
        log.info("the settings cannot be read", exc_info=error)
        problem = failure("settings", f"they cannot be read: {describe(error)}", "the defaults are examined instead")
    return Setup(Config(), named=tuple(files), problem=problem)


def run_guarded(check: Check, setup: Setup) -> Sequence[Finding]:
    """The findings of a check, or one that says how it failed, or that it did not end in time."""
    found: list[Sequence[Finding]] = []
    thread = threading.Thread(target=lambda: found.append(_run(check, setup)), name=check.name, daemon=True)
    started_at = time.monotonic()
    thread.start()
    thread.join(check.limit_s)
    log.info("check %s: %.3f s", check.name, time.monotonic() - started_at)
    if found:
        return found[0]
    lost = f"no answer within {check.limit_s:.0f} s"
    is_render = check.name == self_test.NAME
    return [
        (failure if is_render else warning)(check.name, lost, "something hangs: try again, then restart the machine")
    ]


def _run(check: Check, setup: Setup) -> Sequence[Finding]:
    try:
        return check.run(setup)
    except MuseTalkError as error:
        return [failure(check.name, str(error), error.hint or "musetalk doctor -v logs where")]
    except BaseException as error:  # a check must never take the page with it
        log.info("check %s failed", check.name, exc_info=error)
        value = f"cannot be examined: {describe(error)}"
        return [
            (failure if check.name == self_test.NAME else warning)(check.name, value, "musetalk doctor -v logs where")
        ]


def describe(error: BaseException) -> str:
    """The kind of an error and what it says."""
    return f"{type(error).__name__}: {error}"


def hide(finding: Finding) -> Finding:
    """The finding without secrets and names, in one line."""
    value, step = (" ".join(redact(text).split()) for text in (finding.value, finding.next_step))
    return replace(finding, value=value, next_step=step)
