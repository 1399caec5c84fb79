"""``musetalk prepare-avatar``: an image or a video of a face → an avatar with a name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from musetalk_cli.app.flags import load_settings
from musetalk_cli.commands.options import (
    AvatarDirOption,
    ConfigOption,
    FaceModelsOption,
    FpsOption,
    be_finite,
)
from musetalk_cli.errors import SinkError
from musetalk_cli.ui.console import say

if TYPE_CHECKING:
    from musetalk_cli.engine.avatar.preparation.prepare import PreparationResult


def prepare_avatar(
    input_: Annotated[Path, typer.Argument(metavar="INPUT", help="An image, a video, or a folder of images.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the avatar. [default: INPUT's name]")] = None,
    start: Annotated[
        float, typer.Option("--start", min=0, callback=be_finite, help="Skip this many seconds of a video.")
    ] = 0.0,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--max-seconds",
            min=0.04,
            callback=be_finite,
            help="Use at most this many seconds of a video. [default: all]",
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=64, max=2160, help="Scale down to this height in pixels.")
    ] = None,
    fps: FpsOption = None,
    face: Annotated[
        int | None, typer.Option("--face", min=1, help="Which face to use of several; 1 is the largest.")
    ] = None,
    bbox_shift: Annotated[
        int,
        typer.Option(
            "--bbox-shift", min=-100, max=100, help="Move MuseTalk's crop box down, in pixels. Opens the mouth further."
        ),
    ] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing avatar or preview.")] = False,
    preview: Annotated[Path | None, typer.Option("--preview", help="Write a contact sheet to this PNG file.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    avatar_dir: AvatarDirOption = None,
    face_models: FaceModelsOption = None,
    config: ConfigOption = None,
) -> None:
    """Prepare an avatar from an image or a video of a face. Other commands use it by its name."""
    started_at = time.perf_counter()
    settings = load_settings(config, fps=fps, avatar_dir=avatar_dir, face_models=face_models).config
    chosen = input_.name if name is None and input_.is_dir() else input_.stem if name is None else name
    if preview is not None:
        check_preview(preview, force=force)

    from musetalk_cli.app.avatar_library import prepare_named, report_preparation
    from musetalk_cli.app.preview import write_preview
    from musetalk_cli.engine.avatar.preparation.prepare import PreparationSettings
    from musetalk_cli.ui.progress import ProgressDisplay

    wanted = PreparationSettings(settings.video.frame_rate, start, max_seconds, size, face, bbox_shift)
    display = ProgressDisplay(is_quiet=quiet)
    try:
        folder, prepared = prepare_named(settings, input_, chosen, wanted, force=force, display=display)
        if prepared is not None:
            report_preparation(prepared, folder, display.tell)
        if preview is not None:
            write_preview(folder, preview, display)
    finally:
        display.close()
    if not quiet:
        say(
            describe_result(prepared, folder, time.perf_counter() - started_at)
            if prepared
            else f"avatar '{chosen}' is up to date: {folder}"
        )


def check_preview(path: Path, *, force: bool) -> None:
    """Raise before any work is done when a preview could not be written."""
    if path.suffix.lower() != ".png":
        raise SinkError(f"the preview {path} must be a .png")
    if path.exists() and not (force and path.is_file()):
        raise SinkError(f"{path} exists already", hint="name another file with --preview, or --force")
    if not path.parent.is_dir():
        raise SinkError(f"there is no folder {path.parent} for the preview")


def describe_result(prepared: PreparationResult, folder: Path, elapsed_s: float) -> str:
    """``500 frames of 1080 × 1920, 20.0 s at 25 fps, 98.0 MB in 12.1 s (41 frames/s) → …/talk``"""
    record = prepared.record
    size = f"{record.width} × {record.height}"
    num_mb = sum(int(file["bytes"]) for file in record.files.values()) / 1e6
    if record.frame_rate is None:
        return f"a still of {size}, {num_mb:.1f} MB in {elapsed_s:.1f} s → {folder}"
    rate = float(record.frame_rate)
    clip = f"{record.num_frames} frames of {size}, {record.num_frames / rate:.1f} s at {rate:g} fps"
    return f"{clip}, {num_mb:.1f} MB in {elapsed_s:.1f} s ({record.num_frames / elapsed_s:.0f} frames/s) → {folder}"
