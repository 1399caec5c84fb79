"""What a preparation has for the user to know, in whole lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.hints import as_file, quote

if TYPE_CHECKING:
    from musetalk_cli.engine.avatar.preparation.prepare import PreparationResult
    from musetalk_cli.engine.types.messages import Tell

MAX_GAPS_TOLD = 4


def command_for(source: Path, name: str | None) -> str:
    """The command that prepares an input."""
    return f"musetalk prepare-avatar {as_file(source)}{f' --name {quote(name)}' if name else ''}"


def tell_result(prepared: PreparationResult, folder: Path, command: str, rest: str, tell: Tell) -> None:
    """Tell, in whole lines, what the user should know of a preparation that succeeded.

    Args:
        prepared: what was made.
        folder: the avatar's.
        command: it prepares the same input; options are put behind it.
        rest: what is to be done behind that.
        tell: takes the lines.
    """
    from musetalk_cli.engine.avatar.avatar_files import LISTING_FILE
    from musetalk_cli.engine.avatar.inputs.clip import MAX_CLIP_S

    record = prepared.record
    if prepared.num_faces > 1:
        face = record.parameters["face"]
        which = "the largest was taken" if face is None else f"face {face} was taken"
        other = 2 if face in (None, 1) else 1
        numbers = f"{folder / LISTING_FILE} numbers them"
        tell(f"{prepared.num_faces} faces were found; {which}. {numbers}; {command} --face {other} takes another{rest}")
    if prepared.gaps and record.frame_rate:
        rate = float(record.frame_rate)
        num_untouched = sum(last - first + 1 for first, last, _ in prepared.gaps)
        times = [f"{first / rate:.2f}–{(last + 1) / rate:.2f} s ({why.value})" for first, last, why in prepared.gaps]
        more = f" and {len(times) - MAX_GAPS_TOLD} more" if len(times) > MAX_GAPS_TOLD else ""
        tell(
            f"{num_untouched} of {record.num_frames} frames have no usable face and stay as they are: "
            f"{', '.join(times[:MAX_GAPS_TOLD])}{more}"
        )
    parameters = record.parameters
    if record.frame_rate and parameters["max_seconds"] is None and record.num_frames >= MAX_CLIP_S * record.frame_rate:
        tell(f"only {MAX_CLIP_S:g} s of the video are used; {command} --start {MAX_CLIP_S:g} takes the next ones{rest}")
    if prepared.is_doubtful:
        doubt = "this may not be a person's face, or something hides its mouth"
        tell(f"warning: {doubt}; {command} --preview sheet.png shows how it talks")
    if prepared.decode_error:
        tell(f"the video could not be read to its end: {prepared.decode_error}")
