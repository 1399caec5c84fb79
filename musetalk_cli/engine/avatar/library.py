"""A folder of avatars: their names, what is in it, and whether one still is what would be made today."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musetalk_cli.engine.avatar.avatar_files import AvatarRecord, is_avatar_folder, read_record
from musetalk_cli.engine.avatar.portrait import portrait_names
from musetalk_cli.engine.avatar.whole_folder import rename_folder
from musetalk_cli.engine.runtime.files import find_similar
from musetalk_cli.engine.types.addresses import is_address, show_address
from musetalk_cli.errors import AvatarError, MuseTalkError, system_words
from musetalk_cli.hints import quote, suggest
from musetalk_cli.option_names import option
from musetalk_cli.system.names import find_name_problem

MAX_NAME = 64  # characters
_NAME = re.compile(r"\w(?:[\w .-]*\w)?")


def check_avatar_name(name: str) -> None:
    """Raise AvatarError, saying why, for a name that an avatar cannot have."""
    hint = f"use letters, digits, spaces and . _ - inside, at most {MAX_NAME}"
    if not name:
        raise AvatarError("an avatar's name cannot be empty", hint=hint)
    if name in portrait_names():
        raise AvatarError(f"'{name}' is a built-in avatar", hint="choose another name")
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise AvatarError(f"'{name}' cannot be an avatar's name", hint=hint)
    if problem := find_name_problem(name):
        raise AvatarError(f"'{name}' cannot be an avatar's name: {problem}", hint="choose another name")


def name_for(source: Path) -> str:
    """An avatar's name from an input's: ``photo (1).jpg`` gives ``photo 1``. Raises AvatarError when there is none."""
    stem = source.name if source.is_dir() else source.stem
    name = re.sub(r"[^\w.-]+", " ", stem).strip(" .-")[:MAX_NAME].strip(" .-")
    if not name or name in portrait_names():
        why = "is that of a built-in avatar" if name else "has no letters or digits"
        raise AvatarError(f"the name of {source} {why}", hint=f"give the avatar another one with {option('--name')}")
    return name


@dataclass(frozen=True)
class ListedAvatar:
    """An avatar in a library: its record, or why that cannot be read."""

    folder: Path
    record: AvatarRecord | None
    problem: str = ""

    @property
    def num_bytes(self) -> int:
        """What it takes on disk."""
        return num_bytes_of(self.folder)


def num_bytes_of(folder: Path) -> int:
    """What the files of an avatar take on disk; nothing of what somebody else removes meanwhile."""
    num_bytes = 0
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                facts = path.stat()
                num_bytes += facts.st_size if stat.S_ISREG(facts.st_mode) else 0
    return num_bytes


def list_avatars(library: Path) -> list[ListedAvatar]:
    """Every avatar in a folder, by name, damaged ones included. Raises AvatarError when it cannot be read."""
    try:
        folders = sorted(path for path in library.iterdir() if not path.name.startswith(".") and is_avatar_folder(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise AvatarError(f"cannot read the avatars in {library}: {system_words(error)}") from error
    return [_read_listed(folder) for folder in folders]


def _read_listed(folder: Path) -> ListedAvatar:
    try:
        return ListedAvatar(folder, read_record(folder))
    except MuseTalkError as error:
        return ListedAvatar(folder, None, str(error))


def explain_unknown(wanted: str, library: Path, *, takes_files: bool = True) -> AvatarError:
    """What to say of an avatar that is neither a name nor a file, with the nearest name there is.

    ``takes_files``: an image or a video would have done as well.
    """
    names = [*portrait_names(), *(listed.folder.name for listed in list_avatars(library))]
    if is_address(wanted):
        return explain_address(wanted)
    if takes_files and ("/" in wanted or Path(wanted).suffix):
        hint = find_similar(Path(wanted)) or "musetalk avatars lists the names"
        return AvatarError(f"there is no avatar and no file '{wanted}'", hint=hint)
    there_are = f"there are: {', '.join(names)}{'; or give an image or a video' if takes_files else ''}"
    return AvatarError(f"there is no avatar '{wanted}'", hint=suggest(wanted, names, there_are))


def explain_address(address: str) -> AvatarError:
    """What to say of an avatar that is on a server."""
    shown = show_address(address)
    hint = f"download it first: curl -LO {quote(shown)}" if shown == address else "download it first"
    return AvatarError(f"an avatar is made from a file, and {shown} is an address", hint=hint)


def find_prepared(name: str, library: Path) -> Path:
    """The folder of an avatar that the user made. Raises AvatarError for a built-in one and for an unknown name."""
    if name in portrait_names():
        raise AvatarError(f"'{name}' is a built-in avatar", hint="only prepared ones can be renamed and removed")
    folder = library / name
    if Path(name).name != name or not is_avatar_folder(folder):
        raise explain_unknown(name, library, takes_files=False)
    return folder


def rename_avatar(name: str, new_name: str, library: Path) -> Path:
    """Give a prepared avatar another name and return its folder. Raises AvatarError."""
    folder = find_prepared(name, library)
    check_avatar_name(new_name)
    rename_folder(folder, library / new_name)
    return library / new_name


def changes_since(record: AvatarRecord, parameters: Mapping[str, Any]) -> list[str]:
    """Which of ``parameters`` an avatar was made with other values of: ``max_seconds: 5 → all``, sorted by name.

    What only the record has is no parameter any more, so it does not count.
    """
    return [
        f"{name}: {_show(record.parameters.get(name))} → {_show(parameters.get(name))}"
        for name in sorted(parameters)
        if record.parameters.get(name) != parameters.get(name)
    ]


def _show(value: object) -> str:
    return "none" if value is None else str(value)


def cached_name(source: Path, source_sha256: str, parameters: Mapping[str, Any]) -> str:
    """The name of an avatar that was made on the fly: another input or another setting gives another name."""
    key = json.dumps([source_sha256, dict(parameters)], sort_keys=True)
    stem = re.sub(r"[^\w-]+", "-", source.stem)[: MAX_NAME // 2].strip("-") or "avatar"
    return f"{stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
