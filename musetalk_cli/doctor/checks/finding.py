"""What a check finds, and what all checks are told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from musetalk_cli.configuration.schema import Config

State = Literal["ok", "absent", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """One line of the page: what was examined, its ``state``, what was found, and what to do next, if anything."""

    name: str
    state: State
    value: str
    next_step: str = ""


@dataclass(frozen=True)
class Setup:
    """The settings in force, all ``files`` that they come from, and the ``named`` ones of ``--config``; where these
    cannot be used, the defaults and the ``problem``."""

    config: Config
    files: tuple[Path, ...] = ()
    named: tuple[Path, ...] = ()
    problem: Finding | None = None


def ok(name: str, value: str, next_step: str = "") -> Finding:
    return Finding(name, "ok", value, next_step)


def absent(name: str, value: str, next_step: str = "") -> Finding:
    """What is not there and need not be."""
    return Finding(name, "absent", value, next_step)


def warning(name: str, value: str, next_step: str) -> Finding:
    return Finding(name, "warning", value, next_step)


def failure(name: str, value: str, next_step: str) -> Finding:
    return Finding(name, "failure", value, next_step)
