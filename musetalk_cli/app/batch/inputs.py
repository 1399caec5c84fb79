"""From what the command line names to items: files, folders and addresses, and where their videos go."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from musetalk_cli.app.batch.item import BatchItem
from musetalk_cli.app.batch.names import STDIN, video_name
from musetalk_cli.app.batch.storage import identify, is_stored, join, list_files
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.outputs.destinations import FILE_SUFFIXES
from musetalk_cli.engine.types.addresses import is_address
from musetalk_cli.engine.types.messages import Tell
from musetalk_cli.errors import SinkError, SourceError, system_words

# Files of a folder that are voices by their names; what is named itself may be called anything.
_SUFFIXES = (
    "aac ac3 aif aifc aiff amr ape au avi caf eac3 flac flv m4a m4b m4v mka mkv mov mp2 mp3 mp4 mpeg mpg mxf oga ogg "
    "opus spx tta ts w64 wav webm wma wmv wv"
)
VOICE_SUFFIXES = frozenset(f".{name}" for name in _SUFFIXES.split())


def find_folder(outputs: Sequence[str] | None, *, takes_stored: bool = False) -> str:
    """The folder of a batch's videos, from what ``-o`` names: the current one by default; with ``takes_stored`` also an
    address of a store. Raises SinkError."""
    if not outputs:
        return "."
    if len(outputs) > 1:
        raise SinkError("several inputs go to one folder", hint="give -o once, such as -o videos/")
    name = outputs[0]
    if takes_stored and is_stored(name):
        return name
    path = Path(name)
    is_file = path.is_file() or (path.suffix.lower() in FILE_SUFFIXES and not path.is_dir())
    if not name or name == STDIN or is_address(name) or is_file:
        hint = "--ray writes there" if is_stored(name) else "several inputs need one, such as -o videos/"
        raise SinkError(f"{name or 'an empty name'} is no folder", hint=hint)
    return name


def list_items(
    inputs: Sequence[str], folder: str, config: Config, tell: Tell, *, takes_stored: bool = False
) -> Iterator[BatchItem]:
    """The items of files, folders (with all below them) and addresses, in order; those of a folder by name.

    Args:
        inputs: what the command line names.
        folder: where the videos go; those of a folder's subfolders go into such.
        config: the settings of all.
        tell: takes a line on files of folders that are left out.
        takes_stored: whether an address may be a folder in a store.

    Raises:
        SourceError: a folder cannot be read, or holds no voice.
    """
    for name in inputs:
        for voice, below in _voices(name, tell, takes_stored=takes_stored):
            yield BatchItem(voice, join(folder, str(below / video_name(voice))), config)


def leave_out_made(items: Sequence[BatchItem], *, resumes: bool) -> list[BatchItem]:
    """Without what others of them make: a folder of voices may hold the videos, too.

    What would replace itself stays, to be refused, unless the batch ``resumes`` and replaces nothing.
    """
    makers: dict[str, list[BatchItem]] = {}
    for item in items:
        makers.setdefault(identify(item.output), []).append(item)

    def is_made(item: BatchItem) -> bool:
        found = makers.get(identify(item.voice), [])
        return any(maker is not item for maker in found) and (resumes or item not in found)

    return [item for item in items if item.voice == STDIN or not is_made(item)]


def _voices(name: str, tell: Tell, *, takes_stored: bool) -> Iterator[tuple[str, Path]]:
    """The voices that a name stands for, and below which folder of its own each was found."""
    if takes_stored and is_stored(name) and (stored := list_files(name)) is not None:
        for voice in _only_voices(name, stored, tell):
            yield voice, Path(voice[len(name.rstrip("/")) + 1 :]).parent
    elif name in (STDIN, "") or is_address(name) or not Path(name).is_dir():
        yield name, Path()
    else:
        for voice in _only_voices(name, _list_files(Path(name)), tell):
            yield voice, Path(voice).relative_to(name).parent


def _list_files(folder: Path) -> Iterator[str]:
    """All files below a folder whose names are not hidden, by name. Raises SourceError."""

    def refuse(error: OSError) -> None:
        raise SourceError(f"cannot read the folder {error.filename}: {system_words(error)}")

    for above, below, names in os.walk(folder, onerror=refuse):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (str(Path(above, name)) for name in sorted(names) if not name.startswith("."))


def _only_voices(folder: str, files: Iterable[str], tell: Tell) -> list[str]:
    """Those that are voices by their names; ``tell`` is told of others. Raises SourceError where there is none."""
    found, left_out = list[str](), list[str]()
    for file in files:
        (found if Path(file).suffix.lower() in VOICE_SUFFIXES else left_out).append(file)
    if not found:
        raise SourceError(f"{folder} holds no voice", hint="give a folder of audio or video files")
    if left_out:
        files = "file is" if len(left_out) == 1 else "files are"
        tell(f"{folder}: {len(left_out)} {files} no audio by name and left out, such as {Path(left_out[0]).name}")
    return found
