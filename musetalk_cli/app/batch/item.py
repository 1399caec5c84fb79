"""What a batch is made of: plain messages that any process can be sent."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from musetalk_cli.errors import MuseTalkError

if TYPE_CHECKING:
    from musetalk_cli.configuration.schema import Config

log = logging.getLogger(__name__)

NUM_TOLD = 5  # wrong lines that are named


@dataclass(frozen=True)
class BatchItem:
    """One voice that becomes one video.

    ``voice``: path, URL, or - for standard input. ``output``: the file. ``config``: all settings of this item.
    ``origin``: where it was asked for, such as ``list.csv:3``; empty for an argument. ``problem``: why it cannot be
    made, found before it was begun.
    """

    voice: str
    output: str
    config: Config
    origin: str = ""
    problem: str = ""


def list_lines(items: Iterable[BatchItem]) -> str:
    """``wrong are also the lines 4, 7``, of items that a manifest names; empty where there are none."""
    lines = [item.origin.rpartition(":")[2] for item in items if item.origin]
    told = f"{', '.join(lines[:NUM_TOLD])}{' …' if lines[NUM_TOLD:] else ''}"
    return f"wrong are also the lines {told}" if lines else ""


@dataclass(frozen=True)
class ItemResult:
    """How an item ended: frames, seconds of video, seconds it took, bytes; or the error, and what helps."""

    item: BatchItem
    num_frames: int = 0
    media_s: float = 0.0
    elapsed_s: float = 0.0
    num_bytes: int = 0
    error: str = ""
    hint: str = ""

    @property
    def speed(self) -> float:
        """Seconds of video a second."""
        return self.media_s / self.elapsed_s if self.elapsed_s else 0.0

    def as_record(self) -> dict[str, Any]:
        """The line of the report."""
        made = not self.error
        return {
            "input": self.item.voice,
            "avatar": self.item.config.avatar,
            "output": self.item.output,
            "frames": self.num_frames if made else 0,
            "seconds": round(self.media_s, 3) if made else 0.0,
            "elapsed_s": round(self.elapsed_s, 3),
            "speed": round(self.speed, 3) if made else 0.0,
            "bytes": self.num_bytes if made else 0,
            "error": f"{self.error} ({self.hint})" if self.hint else self.error or None,
        }


def failed(item: BatchItem, error: BaseException, elapsed_s: float) -> ItemResult:
    """The result of an item that an error ended."""
    if isinstance(error, MuseTalkError):
        return ItemResult(item, elapsed_s=elapsed_s, error=str(error), hint=error.hint)
    log.info("an item failed", exc_info=error)
    return ItemResult(item, elapsed_s=elapsed_s, error=f"internal error: {type(error).__name__}: {error}")
