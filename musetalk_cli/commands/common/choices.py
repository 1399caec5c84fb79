"""Options with a few values that are no settings: what they take, for the shell, and when it is something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from musetalk_cli.hints import one_of, quote, suggest
from musetalk_cli.ui.usage_errors import UsageError

SAMPLE_FORMATS = ("u8", "s16le", "s16be", "s24le", "s32le", "f32le", "f64le")
SWEEPS = ("batch", "workers", "precision", "block", "size")
LENGTHS = ("clip", "voice", "longest")
FILLS = ("hold", "loop", "ping-pong")


def complete_choice(choices: Sequence[str]) -> Callable[[], list[str]]:
    """What the shell offers behind an option."""
    return lambda: list(choices)


def check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    """Raise UsageError for what is none of the choices."""
    if value not in choices:
        raise UsageError(f"{option} {quote(value)}: must be {one_of(choices)}", hint=suggest(value, choices))
