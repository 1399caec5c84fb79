"""The options of ``stream`` that say where its audio comes from, checked against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from musetalk_cli.commands.common.choices import SAMPLE_FORMATS, check_choice
from musetalk_cli.hints import quote
from musetalk_cli.ui.corrections import explain_missing_input
from musetalk_cli.ui.usage_errors import UsageError

if TYPE_CHECKING:
    from musetalk_cli.app.live_assembly import LiveInput

RATES_HZ = (4_000, 384_000)
EXAMPLES = (
    "musetalk stream --mic | ffplay -",
    "musetalk stream --input speech.wav -o talk.mp4",
    "musetalk stream --demo",
)


def describe_input(
    mic: bool,
    device: str | None,
    input_: str | None,
    sample_format: str | None,
    rate: int | None,
    channels: int,
    is_paced: bool,
    duration: float | None,
) -> LiveInput:
    """The input that these options of the command describe.

    Args:
        mic: whether a microphone is asked for.
        device: which one.
        input_: a file, an address, or - for standard input; the example voice with ``--demo``.
        sample_format: that of raw samples on standard input.
        rate: in Hz, of raw samples or of the microphone.
        channels: of raw samples.
        is_paced: whether it runs in real time.
        duration: seconds after which it ends.

    Raises:
        UsageError, BadParameter: they do not fit together, or are out of range.
    """
    from musetalk_cli.app.live_assembly import LiveInput

    if mic and input_ is not None:
        raise typer.BadParameter("give only one of --mic, --input and --demo", param_hint="--mic")
    if not mic and input_ is None:
        message, hint = explain_missing_input("stream", EXAMPLES)
        raise UsageError(message, hint=hint)
    if device is not None and not mic:
        raise UsageError(
            f"--device {quote(device)}: names a microphone, so it needs --mic", hint="--model-device is for the model"
        )
    if sample_format is not None:
        _check_format(sample_format, input_)
    if rate is not None:
        _check_rate(rate, is_wanted=mic or sample_format is not None)
    if mic and not is_paced:
        raise typer.BadParameter("a microphone always runs in real time", param_hint="--no-pace")
    return LiveInput(input_, device, sample_format, rate, channels, is_paced, duration)


def _check_format(name: str, input_: str | None) -> None:
    check_choice("--format", name, SAMPLE_FORMATS)
    if input_ != "-":
        hint = "leave it out: the format of a file or an address is recognised" if input_ else "it needs --input -"
        raise UsageError(f"--format {name}: is for raw samples on standard input", hint=hint)


def _check_rate(rate: int, *, is_wanted: bool) -> None:
    least, most = RATES_HZ
    if not least <= rate <= most:
        raise UsageError(f"--rate {rate}: must be from {least} to {most}", hint="16000, 24000 and 48000 are usual")
    if not is_wanted:
        raise UsageError(
            f"--rate {rate}: is for a microphone or raw samples", hint="with --mic, or --input - --format s16le"
        )
