"""No check can take the page with it: exceptions and hangs become findings."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from musetalk_cli.configuration.schema import Config
from musetalk_cli.doctor import checkup
from musetalk_cli.doctor.checks.finding import Finding, Setup, ok
from musetalk_cli.doctor.checkup import Check, hide, load_setup, run_guarded
from musetalk_cli.errors import AvatarError

SETUP = Setup(Config())


def raising(error: BaseException) -> Check:
    def run(setup: Setup) -> Sequence[Finding]:
        raise error

    return Check("lamp", run, 5, "light")


@pytest.mark.parametrize("error", [OSError("no lamp"), SystemExit(3), MemoryError(), KeyboardInterrupt()])
def test_whatever_a_check_raises_is_a_finding(error: BaseException) -> None:
    (found,) = run_guarded(raising(error), SETUP)
    assert (found.name, found.state) == ("lamp", "warning")
    assert type(error).__name__ in found.value


def test_our_own_errors_bring_their_hint() -> None:
    (found,) = run_guarded(raising(AvatarError("it is dark", hint="switch it on")), SETUP)
    assert found == Finding("lamp", "failure", "it is dark", "switch it on")


def test_a_check_that_hangs_is_given_up() -> None:
    is_over = threading.Event()

    def hang(setup: Setup) -> Sequence[Finding]:
        is_over.wait()
        return []

    (found,) = run_guarded(Check("lamp", hang, 0.05, "light"), SETUP)
    is_over.set()
    assert found.state == "warning"
    assert "no answer" in found.value


def test_a_render_that_hangs_is_a_failure() -> None:
    is_over = threading.Event()

    def hang(setup: Setup) -> Sequence[Finding]:
        is_over.wait()
        return []

    (found,) = run_guarded(Check(checkup.RENDER.name, hang, 0.05, "self-test"), SETUP)
    is_over.set()
    assert found.state == "failure"


def test_settings_that_cannot_be_read_are_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("there is no home")

    monkeypatch.setattr("musetalk_cli.app.settings.flags.load_settings", fail)
    setup = load_setup([])
    assert setup.config == Config()
    assert setup.problem is not None
    assert "there is no home" in setup.problem.value


def test_nothing_private_is_shown() -> None:
    shown = hide(ok("lamp", "in /home/bob/lamps\nat rtmp://h/app/secret-key", "see https://u:p@h/x"))
    assert shown == ok("lamp", "in ~/lamps at rtmp://h/app/…", "see https://…@h/x")
