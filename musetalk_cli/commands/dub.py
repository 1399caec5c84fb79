"""``musetalk dub``: a clip of a person who speaks, and a voice → the clip with a new mouth where the voice speaks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from musetalk_cli.app.settings.flags import print_settings, settings_of, with_settings
from musetalk_cli.commands.common.choices import FILLS, LENGTHS, check_choice, complete_choice
from musetalk_cli.commands.options import (
    ConfigOption,
    ExpressionOption,
    FaceModelsOption,
    ModelOption,
    PrintConfigOption,
)
from musetalk_cli.hints import quote, suggest
from musetalk_cli.ui.usage_errors import UsageError

if TYPE_CHECKING:
    from musetalk_cli.app.dubbing.run import FaceVoice

SIDES = ("left", "right")
LEAST_DB, MOST_DB = -60.0, 12.0


@with_settings(model=ModelOption, face_models=FaceModelsOption, expression=ExpressionOption)
def dub(
    context: typer.Context,
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="Video of a person.", show_default=False)],
    voice: Annotated[
        Path | None,
        typer.Argument(
            metavar="[VOICE]", help="Audio or video file. Without, CLIP's own audio is spoken.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write: .mp4, .mov or .mkv. [default: CLIP's name + -dubbed.mp4]"),
    ] = None,
    length: Annotated[
        str,
        typer.Option(
            "--length",
            help="How long the output is: clip, voice, or longest of both.",
            autocompletion=complete_choice(LENGTHS),
        ),
    ] = "clip",
    fill: Annotated[
        str,
        typer.Option(
            "--fill",
            help="What is shown behind CLIP's end: hold (the last frame), loop or ping-pong.",
            autocompletion=complete_choice(FILLS),
        ),
    ] = "hold",
    keep_sound: Annotated[
        str | None,
        typer.Option("--keep-sound", metavar="GAIN", help="Mix CLIP's own audio below the voice, such as -18dB."),
    ] = None,
    face: Annotated[
        list[str] | None,
        typer.Option(
            "--face", help="Which face: 1 is the largest, left, right; left=a.wav --face right=b.wav for two speakers."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output file.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    config: ConfigOption = None,
    print_config: PrintConfigOption = False,
) -> None:
    """Give the person in CLIP a new mouth where VOICE speaks."""
    loaded = settings_of(context)
    if print_config:
        print_settings(loaded)
        return
    check_choice("--length", length, LENGTHS)
    check_choice("--fill", fill, FILLS)
    gain_db = None if keep_sound is None else parse_gain(keep_sound)
    faces = parse_faces(face or (), voice)
    if gain_db is not None and not any(each.voice for each in faces):
        raise typer.BadParameter("there is no voice to mix it below", param_hint="--keep-sound")

    from musetalk_cli.app.dubbing.run import DubRequest, dub_clip

    output = output or Path(f"{clip.stem}-dubbed.mp4")
    chosen: dict[str, Any] = {"length": length, "fill": fill, "kept_db": gain_db}
    request = DubRequest(clip, tuple(faces), output, **chosen, overwrite=overwrite, is_quiet=quiet)
    dub_clip(loaded.config, request)


def parse_gain(text: str) -> float:
    """``-18dB`` or ``-18`` as decibels. Raises UsageError."""
    found = re.fullmatch(r"\s*([+-]?\d+(?:\.\d+)?)\s*(?:db)?\s*", text, re.IGNORECASE)
    if not found or not LEAST_DB <= float(found[1]) <= MOST_DB:
        raise UsageError(
            f"--keep-sound {quote(text)}: must be a gain from {LEAST_DB:g} to {MOST_DB:g} dB", hint="such as -18dB"
        )
    return float(found[1])


def parse_faces(given: Sequence[str], voice: Path | None) -> list[FaceVoice]:
    """Which face speaks what, from ``2``, ``left`` or ``left=a.wav``. Raises BadParameter or UsageError."""
    from musetalk_cli.app.dubbing.run import FaceVoice

    found = []
    for text in given:
        name, has_voice, path = text.partition("=")
        if name not in SIDES and not (name.isdecimal() and int(name) >= 1):
            hint = suggest(name, SIDES, "1 is the largest, 2 the next")
            raise UsageError(f"--face {quote(text)}: must be left, right or a number from 1", hint=hint)
        if has_voice and (not path or voice is not None):
            hint = f"'{text}' names no file" if not path else f"{voice} and {path} are both given; name one of them"
            raise typer.BadParameter(hint, param_hint="--face")
        chosen: Any = name if name in SIDES else int(name)
        found.append(FaceVoice(chosen, Path(path) if has_voice else voice))
    names = [each.face for each in found]
    if len(set(names)) < len(names):
        raise typer.BadParameter("one face is named twice", param_hint="--face")
    if len(found) > 1 and len({each.voice for each in found}) < len(found):
        raise typer.BadParameter("several faces need a voice each: left=a.wav right=b.wav", param_hint="--face")
    return found or [FaceVoice(None, voice)]
