"""The contact sheet of a prepared avatar, with its mouth as the warp model would show it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.errors import SinkError, system_words
from musetalk_cli.hints import quote
from musetalk_cli.ui.progress import ProgressDisplay

if TYPE_CHECKING:
    from musetalk_cli.engine.avatar.avatar import Avatar
    from musetalk_cli.engine.models.warp.model import WarpModel
    from musetalk_cli.engine.types.colour import ByteArray

NUM_ROWS = 4  # frames of a video that are shown, spread evenly over those with a face
OPENINGS = (0.0, 0.5, 1.0)  # lip gap and jaw of the three mouths


def check_preview(path: Path, source: Path | None = None, *, is_replacing: bool, hint: str) -> None:
    """Raise SinkError before any work is done when a preview could not be written.

    ``source``: what the avatar is made of, which it must not replace. ``hint``: how to replace a file.
    """
    inputs = [] if source is None else source.iterdir() if source.is_dir() else [source]
    if os.path.realpath(path) in map(os.path.realpath, inputs):
        raise SinkError(f"input and preview are the same file: {path}", hint="choose another name")
    if path.suffix.lower() != ".png":
        raise SinkError(f"cannot draw {path}: only PNG files", hint="give a name that ends in .png")
    if path.exists() and not (is_replacing and path.is_file()):
        raise SinkError(f"{path} exists already", hint=hint)
    if not path.parent.is_dir():
        raise SinkError(f"there is no folder {quote(path.parent)}", hint="create it first, or choose another")


def write_preview(folder: Path, path: Path, display: ProgressDisplay) -> None:
    """Draw the avatar in ``folder`` as a PNG. Raises AvatarError, or SinkError when it cannot be written."""
    from musetalk_cli.engine.avatar.avatar_files import open_avatar_folder

    draw_preview(open_avatar_folder(folder), folder, path, display)


def preview_avatar(name: str, library: Path, path: Path, display: ProgressDisplay) -> None:
    """Draw a built-in avatar, or one of a folder of avatars. Raises AvatarError, or SinkError as ``write_preview``."""
    from musetalk_cli.engine.avatar.library import find_prepared
    from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait, portrait_names

    if name in portrait_names():
        draw_preview(open_portrait(describe_portrait(name)), None, path, display)
    else:
        write_preview(find_prepared(name, library), path, display)


def draw_preview(avatar: Avatar, folder: Path | None, path: Path, display: ProgressDisplay) -> None:
    """Draw an avatar as a PNG and close it.

    Raises AvatarError, or SinkError when it cannot be written. ``folder`` holds what is derived from the avatar.
    """
    from musetalk_cli.engine.avatar.inputs.images import encode_png
    from musetalk_cli.engine.avatar.preparation.contact_sheet import SheetRow, draw_sheet
    from musetalk_cli.engine.avatar.preparation.settings import Progress
    from musetalk_cli.engine.models.musetalk.face.avatar_cache import AvatarCache
    from musetalk_cli.engine.models.musetalk.face.face_parts import PartSettings, face_parts
    from musetalk_cli.engine.models.warp.model import WarpModel
    from musetalk_cli.engine.runtime.files import replace_file

    try:
        parts = face_parts(avatar, PartSettings(), AvatarCache(folder, display.tell))
        model = WarpModel(avatar, avatar.frame_rate or Fraction(25), avatar.height, liveliness=0.0, seed=0)
        chosen = choose_frames(avatar.opacity.tolist())
        rows: list[SheetRow] = []
        for index in chosen:
            display(Progress("preview", len(rows), len(chosen)))
            label = "still" if avatar.frame_rate is None else f"{float(index / avatar.frame_rate):.2f} s"
            mouths = _show_mouths(avatar, model, index)
            image, face = avatar.frames.image(index), avatar.landmarks[index]
            rows.append(SheetRow(label, image, face, parts.boxes[index], parts.masks[index], mouths))
        data = encode_png(draw_sheet(rows))
    finally:
        avatar.close()
    try:
        with replace_file(path) as staged:
            staged.write_bytes(data)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {system_words(error)}", hint="choose another place") from error


def choose_frames(opacity: Sequence[float]) -> list[int]:
    """The frames that are shown, by how much of a new mouth each takes: those with all of it, if there are any."""
    shown = [index for index, share in enumerate(opacity) if share == 1] or list(range(len(opacity)))
    return sorted({shown[round(row * (len(shown) - 1) / (NUM_ROWS - 1))] for row in range(NUM_ROWS)})


def _show_mouths(avatar: Avatar, model: WarpModel, index: int) -> list[ByteArray]:
    """One frame of the avatar, BGR, with the mouth closed, half open and open."""
    import numpy as np

    from musetalk_cli.engine.models.warp.model import NUM_SHAPES
    from musetalk_cli.engine.types.colour import i420_to_bgr
    from musetalk_cli.engine.types.messages import FeatureBatch
    from musetalk_cli.engine.video.compositing import composite

    mouths = np.zeros((len(OPENINGS), NUM_SHAPES), np.float32)
    mouths[:, 0] = mouths[:, 1] = OPENINGS
    silence, times = np.zeros((0, 1), dtype=np.int16), len(OPENINGS)
    images = tuple(avatar.frames.read([index] * times))
    batch = FeatureBatch(mouths, range(times), silence, (index,) * times, images)
    return [i420_to_bgr(image) for image in composite(model.make_faces(batch)).images]
