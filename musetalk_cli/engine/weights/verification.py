"""Whether the weights on this computer are what they are taken for."""

from __future__ import annotations

import json
import struct
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from musetalk_cli.engine.runtime.files import hash_file
from musetalk_cli.engine.weights.download import OnProgress, size_text
from musetalk_cli.engine.weights.registry import Part, WeightFile, published_as, published_at, set_of
from musetalk_cli.errors import ModelError

READ_BYTES = 1 << 20

Standing = Literal["official", "converted", "unofficial", "damaged", "missing"]
SOURCE_KEY = "musetalk.source"  # in the header of a converted file: which published file it was made of


@dataclass(frozen=True)
class Verdict:
    """What is known of one part's file: ``note`` says it in words, for ``damaged`` what to do as well."""

    part: Part
    path: Path | None
    settings: Path | None
    standing: Standing
    note: str
    hint: str = ""

    @property
    def is_good(self) -> bool:
        """Whether a model can use it."""
        return self.standing in ("official", "converted", "unofficial")


def verify(part: Part, path: Path | None, settings: Path | None, on_progress: OnProgress) -> Verdict:
    """Look at everything: that the file is there and whole, its sum, the names and shapes of its tensors.

    A file that fits but is no published one is ``unofficial`` – somebody's own training, perhaps.
    """
    if path is None:
        return Verdict(
            part, None, None, "missing", f"{part.file.path} is missing", f"musetalk models download {set_of(part)}"
        )
    try:
        check_settings(part, settings)
        standing, note = identify(part, path, on_progress)
        # Only now: torch takes seconds to load, and says less of a file that is another one altogether.
        from musetalk_cli.engine.weights.nets import read_checked

        read_checked(part, path, settings)
    except ModelError as error:
        return Verdict(part, path, settings, "damaged", str(error), error.hint)
    return Verdict(part, path, settings, standing, note)


def check_settings(part: Part, settings: Path | None) -> None:
    """Raise ModelError when the settings beside the weights are a web page or the like: JSON must be JSON."""
    if settings is None:
        return
    try:
        json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{settings} does not hold the settings of the {part.title}: {error}",
            hint="delete it and download it again",
        ) from None


def identify(part: Part, path: Path, on_progress: OnProgress) -> tuple[Standing, str]:
    """Which file this is, by its size and sum. Raises ModelError when it is one of another model's."""
    size = path.stat().st_size
    source = read_source(path)
    if source is not None:
        _check_own(part, path, published_at(source))
        return "converted", f"made of {source}, {size_text(size)}"
    known = part.known_file(path.name)
    total = hash_file(path, partial(on_progress, f"checking {path.name}"))
    if (known is not None and known.sha256 == total) or total in part.other_sums:
        return "official", f"the published file, sha256 {total[:12]}…, {size_text(size)}"
    if known is not None and known.sha256 is None and size == known.num_bytes:
        return "official", f"has the published file's size (its sha256 was never published), {size_text(size)}"
    _check_own(part, path, published_as(size, total))
    _check_records(path)
    return "unofficial", f"not the published file (sha256 {total[:12]}…), {size_text(size)}"


def read_source(path: Path) -> str | None:
    """The published file that a converted one was made of; None when it is no converted one."""
    about = read_header(path).get("__metadata__", {}) if path.suffix == ".safetensors" else {}
    source = about.get(SOURCE_KEY) if isinstance(about, dict) else None
    return source if isinstance(source, str) else None


def read_header(path: Path) -> dict[str, Any]:
    """A safetensors file's table of contents, without its tensors; empty when it has none. Needs no torch."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length < path.stat().st_size else {}
    except (OSError, ValueError, struct.error):
        return {}
    return header if isinstance(header, dict) else {}


def is_likely_whole(part: Part, path: Path) -> bool:
    """A quick look without reading the file: it ends where its own header says, or has the published size."""
    size = path.stat().st_size
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            head = file.read(8)
        ends = [entry["data_offsets"][1] for name, entry in read_header(path).items() if name != "__metadata__"]
        return bool(ends) and size == 8 + struct.unpack("<Q", head)[0] + max(ends)
    known = part.known_file(path.name)
    return size > 0 and (known is None or size == known.num_bytes)


def _check_records(path: Path) -> None:
    """Raise ModelError when something of a PyTorch file changed after it was written: its archive keeps a sum of each
    record, unless it was told not to. Other files have none."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = next(filter(None, (_find_damage(archive, record) for record in archive.infolist())), None)
    except Exception as error:  # a damaged table of contents can mean anything
        damaged = f"it cannot be read as the archive that it is ({error})"
    if damaged:
        raise ModelError(f"{path} is damaged: {damaged}", hint="get another copy of it")


def _find_damage(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> str | None:
    if not record.CRC:  # torch.serialization.set_crc32_options(False), or an empty record
        return None
    try:
        with archive.open(record) as data:
            while data.read(READ_BYTES):
                pass
    except zipfile.BadZipFile:
        return f"its record {record.filename} has another checksum than it was written with"
    return None


def _check_own(part: Part, path: Path, published: WeightFile | None) -> None:
    if published is not None and published not in (part.file, *part.other_files):
        raise ModelError(
            f"{path} is really {published.path}, under another name", hint="put the right file there, or rename it"
        )
