"""Downloads weights from the Hugging Face hub: resumable, and checked before a file gets its final name.

huggingface_hub locates the file (HF_ENDPOINT, proxies, redirects, retries) and transfers the bytes. It does not resume
a download that another process began: hf_hub_download starts again. So the partial file is stored here, beside the
models, under a name that identifies the file and its version.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from musetalk_cli.engine.runtime.files import hash_file
from musetalk_cli.engine.types.addresses import hide_address, show_address
from musetalk_cli.engine.weights.registry import WeightFile
from musetalk_cli.engine.weights.store import STAGING
from musetalk_cli.errors import ModelError, system_words
from musetalk_cli.installation import install_command
from musetalk_cli.system.locks import lock_file

# An interruption loses at most one chunk. The library's default is 10 MB, a minute on a slow connection.
CHUNK_BYTES = 1 << 18
# Room on the disk for other programs meanwhile.
SPARE_BYTES = 200_000_000

OnProgress = Callable[[str, int, int], None]  # (task, bytes done, bytes in total)


class RemoteFile(NamedTuple):
    """A file's metadata from the hub; ``sha256`` is None where the hub has none."""

    url: str
    num_bytes: int
    sha256: str | None


def count_missing_bytes(files: Sequence[WeightFile], models: Path) -> int:
    """How many bytes of ``files``, none of which is complete, are still to be downloaded."""
    return sum(file.num_bytes - count_downloaded_bytes(file, models) for file in files)


def count_downloaded_bytes(file: WeightFile, models: Path) -> int:
    """The size of a file's interrupted download, 0 without one."""
    partial = partial_path(file, models)
    return min(partial.stat().st_size, file.num_bytes) if partial.exists() else 0


def partial_path(file: WeightFile, models: Path) -> Path:
    """Where a file is stored until it is complete; another version of it has another name."""
    version = file.sha256 or file.repository.revision
    return models / STAGING / f"{file.path.replace('/', '--')}-{version[:12]}"


def check_space(folder: Path, num_bytes: int, what: str) -> None:
    """Raise ModelError when the disk of ``folder`` (which need not exist) lacks room for ``num_bytes`` of ``what``."""
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if num_bytes and free < num_bytes + SPARE_BYTES:
        raise ModelError(
            f"no space for {what}: {size_text(num_bytes)} needed and {size_text(SPARE_BYTES)} to spare, "
            f"{size_text(free)} free at {existing}",
            hint="make room, or set MUSETALK_HOME to a folder on another disk",
        )


def download_file(file: WeightFile, models: Path, on_progress: OnProgress) -> Path:
    """Download a file into the models folder, resuming an interrupted download.

    Raises ModelError: no network, not on the hub, not the expected file, no space, or another process downloads it. The
    partial file is kept, except when its checksum is wrong.
    """
    target, partial = models / file.path, partial_path(file, models)
    if target.exists():
        raise ModelError(
            f"{target} exists and is not the published file ({target.stat().st_size:,} of {file.num_bytes:,} bytes)",
            hint="delete it or move it away, then run this command again",
        )
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab") as opened, _exclusive_lock(opened, file):
            remote = _query_hub(file)
            _transfer(file, remote, opened, on_progress)
            opened.flush()
            os.fsync(opened.fileno())
            _check_sum(file, partial, remote, on_progress)
            partial.replace(target)
    except OSError as error:
        raise _disk_error(error, file, models) from error
    with contextlib.suppress(OSError):
        partial.parent.rmdir()  # if it is empty
    return target


def size_text(num_bytes: float) -> str:
    """``3.4 GB``"""
    for unit in ("bytes", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.2f} GB"


class _CountingFile:
    """A file that reports its position, with the methods that a transfer needs."""

    def __init__(self, file: BinaryIO, tell: Callable[[int], None]) -> None:
        self._file = file
        self._tell = tell

    def write(self, data: bytes) -> int:
        count = self._file.write(data)
        self._tell(self._file.tell())
        return count

    def seek(self, position: int, whence: int = 0) -> int:
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        return self._file.truncate(size)


@contextlib.contextmanager
def _exclusive_lock(opened: BinaryIO, file: WeightFile) -> Iterator[None]:
    """Two downloads that append to one file would corrupt it."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock_file(opened))
        except BlockingIOError:
            hint = "wait for it, then run this command again"
            raise ModelError(f"{file.path} is being downloaded by another process", hint=hint) from None
        yield


def _query_hub(file: WeightFile) -> RemoteFile:
    """The file's metadata at the pinned revision."""
    hub = _import_hub()
    url = hub.hf_hub_url(file.repository.name, file.name, revision=file.repository.revision)
    with _translate_errors(file, url):
        # No token: the files are public, and a mirror must not see the user's token.
        metadata = hub.get_hf_file_metadata(url, token=False)
        if metadata.size is not None and metadata.size != file.num_bytes:
            raise ModelError(
                f"{show_address(url)} has {metadata.size:,} bytes, but {file.name} has {file.num_bytes:,}: "
                "it is not that file",
                hint=_mirror_hint(),
            )
        etag = metadata.etag or ""
        return RemoteFile(metadata.location, file.num_bytes, etag if re.fullmatch("[0-9a-f]{64}", etag) else None)


def _transfer(file: WeightFile, remote: RemoteFile, opened: BinaryIO, on_progress: OnProgress) -> None:
    from huggingface_hub.file_download import http_get

    done = opened.seek(0, os.SEEK_END)
    if done > file.num_bytes:
        done = opened.truncate(0)
    task = f"downloading {file.path}"
    on_progress(task, done, file.num_bytes)
    counted = _CountingFile(opened, lambda position: on_progress(task, position, file.num_bytes))
    # Uncompressed: an offset into a compressed response is not an offset into the file.
    headers = {"Accept-Encoding": "identity"}
    with _translate_errors(file, remote.url):
        http_get(
            remote.url,
            cast(BinaryIO, counted),
            resume_size=done,
            headers=headers,
            expected_size=remote.num_bytes,
        )


def _check_sum(file: WeightFile, unfinished: Path, remote: RemoteFile, on_progress: OnProgress) -> None:
    wanted = file.sha256 or remote.sha256
    if wanted is not None and hash_file(unfinished, partial(on_progress, f"checking {file.path}")) != wanted:
        unfinished.unlink()
        raise ModelError(
            f"the download of {file.path} is another file or is damaged: its sha256 is not {wanted[:12]}…",
            hint=f"run this command again; {_mirror_hint()}",
        )


def check_download(files: Sequence[WeightFile], folder: Path) -> int:
    """How many bytes are still to come. Raises ModelError where there is no space for them, or no library."""
    _check_library()
    num_bytes = count_missing_bytes(files, folder)
    check_space(folder, num_bytes, "the download")
    return num_bytes


def _check_library() -> None:
    if find_spec("huggingface_hub") is None:
        raise ModelError("downloading weights needs huggingface_hub", hint=install_command("neural"))


def _import_hub() -> Any:
    # The library reads these at import. Xet transfers cannot be resumed; its progress bars show one attempt, ours the
    # whole file; and no telemetry is sent.
    for switch in ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[switch] = "1"
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    _check_library()
    import huggingface_hub
    from huggingface_hub import constants

    constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
    return huggingface_hub


@contextlib.contextmanager
def _translate_errors(file: WeightFile, url: str) -> Iterator[None]:
    """Translate errors of huggingface_hub to ModelError, with the cause and what to do."""
    from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled, RepositoryNotFoundError
    from huggingface_hub.errors import RevisionNotFoundError as NoRevision

    resumable = "run the same command again, it resumes the download"
    try:
        yield
    except ModelError:
        raise
    except OfflineModeIsEnabled as error:
        raise ModelError(f"cannot download {file.path}: HF_HUB_OFFLINE is set", hint="unset it") from error
    except (EntryNotFoundError, RepositoryNotFoundError, NoRevision) as error:
        repository = f"{file.repository.name} at {file.repository.revision[:12]}"
        raise ModelError(f"{_host(url)} does not have {file.name} of {repository}", hint=_mirror_hint()) from error
    # The library has had three HTTP clients so far, each with its own exceptions.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        for address in (url, os.environ.get("HF_ENDPOINT", "")):
            reason = hide_address(reason, address) if address else reason
        raise ModelError(
            f"cannot download {file.path} from {_host(url)}: {reason}", hint=f"{resumable}; {_mirror_hint()}"
        ) from error


def _host(url: str) -> str:
    return "/".join(show_address(url).split("/")[:3])


def _mirror_hint() -> str:
    endpoint = os.environ.get("HF_ENDPOINT")
    named = f"is HF_ENDPOINT={show_address(endpoint)} right?" if endpoint else ""
    mirror = named or "HF_ENDPOINT=https://… chooses a mirror;"
    return f"{mirror} musetalk models import DIR takes files that you already have"


def _disk_error(error: OSError, file: WeightFile, models: Path) -> ModelError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ModelError(
            f"no space left in {models} while downloading {file.path}",
            hint="make room and run this command again, it resumes the download",
        )
    return ModelError(f"cannot write {file.path} in {models}: {system_words(error)}", hint="set MUSETALK_HOME")
