"""Whether what was left on the disk plays, or is whole."""

from __future__ import annotations

from pathlib import Path

from musetalk_cli.engine.avatar.avatar_files import open_avatar_folder
from musetalk_cli.errors import MuseTalkError


def count_frames(path: Path) -> tuple[int, str]:
    """How many frames of a video decode, and why no more of them do: "" where it came to its end."""
    import av

    count = 0
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                count += not frame.is_corrupt
    except (av.FFmpegError, IndexError) as error:
        return count, str(error)
    return count, ""


def find_problem(folder: Path) -> str:
    """Why an avatar's folder cannot be used; "" where it is whole."""
    try:
        open_avatar_folder(folder).close()
    except MuseTalkError as error:
        return str(error)
    return ""
