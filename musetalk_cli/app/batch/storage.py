"""Files of object stores and other systems that fsspec reaches by an address, such as ``s3://bucket/a.wav``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musetalk_cli.engine.runtime.files import fit_name
from musetalk_cli.engine.types.addresses import is_address, show_address
from musetalk_cli.errors import MuseTalkError, SinkError, SourceError
from musetalk_cli.installation import install_command

if TYPE_CHECKING:
    Opened = tuple[Any, str]  # a file system of fsspec, and a path in it

# What ffmpeg reads by itself. All others are fsspec's, which says whether it knows them.
_FFMPEG_SCHEMES = (
    "crypto data ftp gopher hls http https icecast mmsh mmst rtmp rtmpe rtmps rtmpt rtp rtsp sftp srt srtp tcp tls udp"
)
# A file of these has its name only when the whole of it was sent.
_OBJECT_STORES = frozenset(["s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "r2", "memory"])


def is_stored(name: str) -> bool:
    """Whether a name is an address that is reached through fsspec."""
    return is_address(name) and _scheme(name) not in _FFMPEG_SCHEMES.split()


def join(folder: str, name: str) -> str:
    """A name below a folder, which may be stored; a name that is absolute or stored itself stays as it is."""
    if is_stored(name):
        return name
    if not is_stored(folder):
        return str(Path(folder) / name)
    return f"{folder.rstrip('/')}/{Path(name).as_posix().lstrip('/')}"


def identify(name: str) -> str:
    """What two names of one file have in common."""
    return name if is_stored(name) else os.path.realpath(name)


def list_files(folder: str) -> list[str] | None:
    """The addresses of all files below a stored folder; None where it is a file, or nothing. Raises SourceError."""
    with _as_error(SourceError, f"cannot read {show_address(folder)}"):
        system, path = _open(folder)
        if not system.isdir(path):
            return None
        start = folder.rstrip("/")
        names = system.find(path)
    return sorted(f"{start}/{name[len(path.rstrip('/')) :].lstrip('/')}" for name in names)


class StoredSizes:
    """Sizes of stored files in bytes. A folder is listed once, however many of its files are asked for."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[str, int]] = {}

    def find(self, name: str) -> int | None:
        """None where there is no such file. Raises SinkError."""
        folder, _, last = name.rpartition("/")
        if folder not in self._listed:
            with _as_error(SinkError, f"cannot read {show_address(folder)}"):
                self._listed[folder] = self._list(folder)
        return self._listed[folder].get(last)

    def _list(self, folder: str) -> dict[str, int]:
        system, path = _open(folder)
        try:
            entries = system.ls(path, detail=True)
        except FileNotFoundError:
            return {}
        return {entry["name"].rpartition("/")[2]: entry["size"] for entry in entries if entry["type"] == "file"}


def download(name: str, target: Path) -> None:
    """Copy a stored file, or a folder with all below it. Raises SourceError."""
    with _as_error(SourceError, f"cannot read {show_address(name)}"):
        system, path = _open(name)
        if system.isdir(path):
            system.get(f"{path.rstrip('/')}/", f"{target}/", recursive=True)
        else:
            system.get_file(path, str(target))


def upload(source: Path, name: str) -> None:
    """Copy a file to where it is to be stored; it has its name only when all of it is there. Raises SinkError."""
    with _as_error(SinkError, f"cannot write {show_address(name)}"):
        system, path = _open(name)
        folder, _, last = path.rpartition("/")
        if _scheme(name) in _OBJECT_STORES:
            system.put_file(str(source), path)
            return
        stem, dot, suffix = last.rpartition(".")
        unfinished = f"{folder}/.{fit_name(stem)}.part1{dot}{suffix}"
        system.makedirs(folder, exist_ok=True)
        system.put_file(str(source), unfinished)
        system.mv(unfinished, path)


def _scheme(address: str) -> str:
    return address.partition("://")[0].lower()


def _open(name: str) -> Opened:
    from fsspec.core import url_to_fs

    system, path = url_to_fs(name)
    return system, path


@contextmanager
def _as_error(kind: Callable[..., MuseTalkError], words: str) -> Iterator[None]:
    """Turn whatever a library of a store raises into an error of ours."""
    try:
        yield
    except ModuleNotFoundError as error:
        hint = install_command("ray") if error.name == "fsspec" else "install what reaches it, on every machine"
        raise kind(f"{words}: {error}", hint=hint) from error
    except ImportError as error:  # fsspec names the package
        raise kind(f"{words}: {error}", hint="install it on every machine") from error
    except FileNotFoundError as error:
        raise kind(f"{words}: no such file", hint="check the address") from error
    except Exception as error:
        raise kind(f"{words}: {str(error) or type(error).__name__}", hint="check address and rights") from error
