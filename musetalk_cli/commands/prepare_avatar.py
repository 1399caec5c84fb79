"""``musetalk prepare-avatar``: an image or a video of a face → an avatar with a name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from musetalk_cli import ending
from musetalk_cli.app.settings.arguments import (
    BBOX_SHIFT_PX,
    FACE,
    HEIGHT_PX,
    MAX_SECONDS,
    START_S,
    PreparationArguments,
)
from musetalk_cli.app.settings.flags import NoUserConfigOption, load_settings
from musetalk_cli.commands.options import (
    AvatarDirOption,
    BackgroundOption,
    ConfigOption,
    FaceModelsOption,
    FpsOption,
    LosslessOption,
)
from musetalk_cli.commands.values.parsers import HeightParser, be_finite
from musetalk_cli.ui.console import say
from musetalk_cli.ui.figures import frames_text, size_text

if TYPE_CHECKING:
    from musetalk_cli.app.avatars.preparation import PreparedAvatar
    from musetalk_cli.configuration.schema import Config
    from musetalk_cli.engine.avatar.avatar_files import AvatarRecord


def prepare_avatar(
    input_: Annotated[Path, typer.Argument(metavar="INPUT", help="An image, a video, or a folder of images.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the avatar. [default: INPUT's name]")] = None,
    start: Annotated[
        float, typer.Option("--start", min=START_S.least, callback=be_finite, help="Skip this many seconds of a video.")
    ] = 0.0,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--max-seconds",
            min=MAX_SECONDS.least,
            callback=be_finite,
            help="Use at most this many seconds of a video. [default: 600]",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            parser=HeightParser(HEIGHT_PX.least, HEIGHT_PX.most),
            metavar="HEIGHT",
            help="Scale down to this height in pixels, such as 720 or 720p.",
        ),
    ] = None,
    background: BackgroundOption = None,
    fps: FpsOption = None,
    face: Annotated[
        int | None, typer.Option("--face", min=FACE.least, help="Which face to use of several; 1 is the largest.")
    ] = None,
    bbox_shift: Annotated[
        int,
        typer.Option(
            "--bbox-shift",
            min=BBOX_SHIFT_PX.least,
            max=BBOX_SHIFT_PX.most,
            help="Move MuseTalk's crop box down, in pixels. Opens the mouth further.",
        ),
    ] = 0,
    lossless: LosslessOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing avatar or preview.")] = False,
    preview: Annotated[Path | None, typer.Option("--preview", help="Write a contact sheet to this PNG file.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    avatar_dir: AvatarDirOption = None,
    face_models: FaceModelsOption = None,
    config: ConfigOption = None,
    no_user_config: NoUserConfigOption = False,
) -> None:
    """Prepare an avatar from an image or a video of a face. Other commands use it by its name."""
    started_at = time.perf_counter()
    settings = load_settings(
        config,
        reads_user_file=not no_user_config,
        fps=fps,
        background=background,
        avatar_dir=avatar_dir,
        face_models=face_models,
        lossless=lossless,
    ).config

    arguments = PreparationArguments(name, start, max_seconds, size, face, bbox_shift)
    prepared = _prepare(settings, input_, arguments, preview, force=force, is_quiet=quiet)
    if not quiet:
        say(
            describe_result(prepared.record, prepared.folder, time.perf_counter() - started_at)
            if prepared.is_new
            else f"avatar '{prepared.name}' is up to date: {prepared.folder}"
        )


def _prepare(
    config: Config, source: Path, arguments: PreparationArguments, preview: Path | None, *, force: bool, is_quiet: bool
) -> PreparedAvatar:
    """Prepare the avatar and draw its preview, both displayed step by step. Raises MuseTalkError."""
    from musetalk_cli.app.avatars.preparation import prepare_named
    from musetalk_cli.system.imports import load_apart

    load_apart("numpy")
    from musetalk_cli.app.avatars.preview import check_preview, write_preview
    from musetalk_cli.ui.progress import ProgressDisplay

    if preview is not None:
        check_preview(preview, source, is_replacing=force, hint="name another file with --preview, or --force")
    display = ProgressDisplay(is_quiet=is_quiet)
    prepared = None
    try:
        prepared = prepare_named(
            config, source, arguments, force=force, report=display, tell=display.tell, completing=ending.final_step
        )
        if preview is not None:
            with ending.further_step():
                write_preview(prepared.folder, preview, display)
    except ending.SignalExit as end:
        nothing = "no avatar was made, and nothing was changed"
        display.tell(
            f"stopped: {f'the avatar is there, its preview is not: {prepared.folder}' if prepared else nothing}"
        )
        end.is_told = True
        raise
    finally:
        display.close()
    return prepared


def describe_result(record: AvatarRecord, folder: Path, elapsed_s: float) -> str:
    """``500 frames of 1080 × 1920, 20.0 s at 25 fps, 98.0 MB in 12.1 s (41 frames/s) → …/talk``"""
    size = f"{record.width} × {record.height}"
    disk = size_text(sum(int(file["bytes"]) for file in record.files.values()))
    if record.frame_rate is None:
        return f"a still of {size}, {disk} in {elapsed_s:.1f} s → {folder}"
    rate = float(record.frame_rate)
    clip = f"{frames_text(record.num_frames)} of {size}, {record.num_frames / rate:.1f} s at {rate:g} fps"
    return f"{clip}, {disk} in {elapsed_s:.1f} s ({record.num_frames / elapsed_s:.0f} frames/s) → {folder}"
