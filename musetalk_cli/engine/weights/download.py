"""Fetching weights from the Hugging Face hub: resumed where they were interrupted, and in place only when checked.

huggingface_hub finds the file (HF_ENDPOINT, proxies, redirects, retries) and moves the bytes. What it does not do is
go on with a file that another process began: hf_hub_download starts over. So the half file is kept here, beside the
models, under a name that says which file it is half of.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from musetalk_cli.engine.runtime.files import hash_file
from musetalk_cli.engine.weights.registry import WeightFile
from musetalk_cli.engine.weights.store import STAGING
from musetalk_cli.errors import NEURAL_HINT, ModelError

# An interruption loses what has come of one chunk. The library's own are 10 MB, a minute on a slow line.
CHUNK_BYTES = 1 << 18
# What else is written meanwhile must not be what fills the disk.
SPARE_BYTES = 200_000_000

OnProgress = Callable[[str, int, int], None]  # what is done, bytes done, bytes in all


class Announced(NamedTuple):
    """What the hub says of a file: where its bytes are, how many, and their sum if it is known."""

    url: str
    num_bytes: int
    sha256: str | None


def count_missing_bytes(files: Sequence[WeightFile], models: Path) -> int:
    """How many bytes are still to be fetched of ``files``, none of which is there."""
    return sum(file.num_bytes - count_fetched_bytes(file, models) for file in files)


def count_fetched_bytes(file: WeightFile, models: Path) -> int:
    """How much of a file an interrupted download has left."""
    half = half_path(file, models)
    return min(half.stat().st_size, file.num_bytes) if half.exists() else 0


def half_path(file: WeightFile, models: Path) -> Path:
    """Where a file is kept until it is whole; another version of it has another name."""
    version = file.sha256 or file.repository.revision
    return models / STAGING / f"{file.path.replace('/', '--')}-{version[:12]}"


def check_space(folder: Path, num_bytes: int, what: str) -> None:
    """Raise ModelError when the disk under ``folder`` (which need not exist) lacks room for ``num_bytes``."""
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if num_bytes and free < num_bytes + SPARE_BYTES:
        raise ModelError(
            f"no space for {what}: {size_text(num_bytes)} needed and {size_text(SPARE_BYTES)} to spare, "
            f"{size_text(free)} free at {existing}",
            hint="make room, or set MUSETALK_HOME to a folder on another disk",
        )


def fetch(file: WeightFile, models: Path, on_progress: OnProgress) -> Path:
    """Fetch a file into the models folder, going on from what an interrupted attempt has left.

    Raises ModelError: no network, not on the hub, another file than expected, no space, or already being fetched. What
    came so far is kept, except when it turns out to be another file.
    """
    target, half = models / file.path, half_path(file, models)
    if target.exists():
        raise ModelError(
            f"{target} is there and is not the published file ({target.stat().st_size:,} of {file.num_bytes:,} bytes)",
            hint="delete it or move it away, then run this command again",
        )
    try:
        half.parent.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with half.open("ab") as opened, _alone(opened, file):
            announced = _ask(file)
            _transfer(file, announced, opened, on_progress)
            opened.flush()
            os.fsync(opened.fileno())
            _check_sum(file, half, announced, on_progress)
            half.replace(target)
    except OSError as error:
        raise _disk_error(error, file, models) from error
    with contextlib.suppress(OSError):
        half.parent.rmdir()  # the last one leaves no empty folder
    return target


def size_text(num_bytes: float) -> str:
    """``3.4 GB``"""
    for unit in ("bytes", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.2f} GB"


class _Counted:
    """A file that tells how far it has come, with the few methods that a transfer needs."""

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
def _alone(opened: BinaryIO, file: WeightFile) -> Iterator[None]:
    """Two downloads that append to one file would ruin it."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ModelError(
            f"{file.path} is being downloaded by another process", hint="wait for it, then run this command again"
        ) from None
    yield


def _ask(file: WeightFile) -> Announced:
    """What the hub has under the pinned revision."""
    hub = _import_hub()
    url = hub.hf_hub_url(file.repository.name, file.name, revision=file.repository.revision)
    with _explained(file, url):
        # No token: the files are public, and the user's is nobody's business, least of all a mirror's.
        metadata = hub.get_hf_file_metadata(url, token=False)
        if metadata.size is not None and metadata.size != file.num_bytes:
            raise ModelError(
                f"{url} has {metadata.size:,} bytes, but {file.name} has {file.num_bytes:,}: it is not that file",
                hint=_mirror_hint(),
            )
        etag = metadata.etag or ""
        return Announced(metadata.location, file.num_bytes, etag if re.fullmatch("[0-9a-f]{64}", etag) else None)


def _transfer(file: WeightFile, announced: Announced, opened: BinaryIO, on_progress: OnProgress) -> None:
    from huggingface_hub.file_download import http_get

    done = opened.seek(0, os.SEEK_END)
    if done > file.num_bytes:
        done = opened.truncate(0)
    what = f"fetching {file.path}"
    on_progress(what, done, file.num_bytes)
    counted = _Counted(opened, lambda position: on_progress(what, position, file.num_bytes))
    # Uncompressed: a position in a compressed answer is no position in the file.
    headers = {"Accept-Encoding": "identity"}
    with _explained(file, announced.url):
        http_get(
            announced.url,
            cast(BinaryIO, counted),
            resume_size=done,
            headers=headers,
            expected_size=announced.num_bytes,
        )


def _check_sum(file: WeightFile, half: Path, announced: Announced, on_progress: OnProgress) -> None:
    wanted = file.sha256 or announced.sha256
    if wanted is not None and hash_file(half, partial(on_progress, f"checking {file.path}")) != wanted:
        half.unlink()
        raise ModelError(
            f"what came as {file.path} is another file or was damaged on its way: its sha256 is not {wanted[:12]}…",
            hint=f"run this command again; {_mirror_hint()}",
        )


def _import_hub() -> Any:
    # The library reads these when it is imported. Its Xet transfers cannot be resumed; its bars show one attempt where
    # ours shows the whole; and nobody needs to be told what is used here.
    for switch in ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[switch] = "1"
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        import huggingface_hub
        from huggingface_hub import constants
    except ImportError:
        raise ModelError("downloading weights needs huggingface_hub", hint=NEURAL_HINT) from None
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
    return huggingface_hub


@contextlib.contextmanager
def _explained(file: WeightFile, url: str) -> Iterator[None]:
    """Turn what the hub's library raises into what it means."""
    from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled, RepositoryNotFoundError
    from huggingface_hub.errors import RevisionNotFoundError as NoRevision

    kept = "what came so far is kept, the same command goes on from there"
    try:
        yield
    except ModelError:
        raise
    except OfflineModeIsEnabled as error:
        raise ModelError(f"cannot fetch {file.path}: HF_HUB_OFFLINE is set", hint="unset it") from error
    except (EntryNotFoundError, RepositoryNotFoundError, NoRevision) as error:
        repository = f"{file.repository.name} at {file.repository.revision[:12]}"
        raise ModelError(f"{_host(url)} does not have {file.name} of {repository}", hint=_mirror_hint()) from error
    # The library has had three HTTP clients so far, each with exceptions of its own.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"cannot fetch {file.path} from {_host(url)}: {reason}", hint=f"{kept}; {_mirror_hint()}"
        ) from error


def _host(url: str) -> str:
    return "/".join(url.split("/")[:3])


def _mirror_hint() -> str:
    endpoint = os.environ.get("HF_ENDPOINT")
    mirror = f"is HF_ENDPOINT={endpoint} right?" if endpoint else "HF_ENDPOINT=https://… chooses a mirror;"
    return f"{mirror} musetalk models import DIR takes files that you already have"


def _disk_error(error: OSError, file: WeightFile, models: Path) -> ModelError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ModelError(
            f"no space left in {models}, in the middle of {file.path}",
            hint="make room and run this command again, it goes on from there",
        )
    return ModelError(f"cannot write {file.path} in {models}: {error.strerror or error}", hint="set MUSETALK_HOME")
