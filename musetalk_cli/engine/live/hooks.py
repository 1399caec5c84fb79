"""What a pipeline asks and tells while it runs against a clock; for a file that is rendered, nothing of it happens."""

from __future__ import annotations

from collections.abc import Callable

from musetalk_cli.engine.runtime.stats import LiveStats
from musetalk_cli.engine.types.messages import AudioArray, AudioBlock, FrameBatch, IdleBlock


class RunHooks:
    """No clock: everything as fast as it goes, all faces made."""

    def process_audio(self, audio: AudioArray) -> AudioArray:
        """Audio that has just been read, int16 (n, channels) → what takes its place."""
        return audio

    def note_block(self, block: AudioBlock | IdleBlock) -> None:
        """A block is planned."""

    def note_step(self, step: str, frames: range) -> None:
        """A step of ``latency.STEPS`` is done with these frames."""

    def choose(self, frames: range) -> list[bool] | None:
        """Which frames to make a face for; None for all."""
        return None

    def due_at(self, frames: range) -> float | None:
        """When these frames are due, in seconds of ``time.monotonic``; None where there is no hurry."""
        return None

    def leaves_out(self, frames: range) -> bool:
        """Whether a block with these frames is so late that not even its features are worth making."""
        return False

    @property
    def shows_idle(self) -> bool:
        """Whether frames without a face show the idle avatar, or repeat the last frame."""
        return False

    def wait_for_turn(self, frames: range, is_current: Callable[[], bool]) -> None:
        """Return when these frames may leave, or are not current any more."""

    def note_written(self, batch: FrameBatch) -> None:
        """These frames and their audio went to the encoder."""

    def note_clear(self) -> None:
        """The voice was interrupted, so other frames are current; may be called from any thread."""

    def open_gates(self) -> None:
        """Hold nothing back any more; may be called from any thread."""

    def toggle_mute(self) -> bool:
        """Make the source silent, or audible again; whether it is silent now."""
        return False

    def stats(self) -> LiveStats | None:
        """The live figures of this moment, None without a clock."""
        return None
