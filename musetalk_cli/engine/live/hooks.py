"""What a pipeline asks and tells while it runs against a clock; for a file that is rendered, nothing of it happens."""

from __future__ import annotations

from musetalk_cli.engine.runtime.stats import LiveStats
from musetalk_cli.engine.types.messages import AudioArray


class RunHooks:
    """No clock: everything as fast as it goes, all faces made."""

    def hear(self, audio: AudioArray) -> AudioArray:
        """Audio that has just been read, int16 (n, channels), and what to do as if it had been heard."""
        return audio

    def note_block(self, frames: range) -> None:
        """A block is whole."""

    def note_step(self, step: str, frames: range) -> None:
        """A step of ``latency.STEPS`` is done with these frames."""

    def choose(self, frames: range) -> list[bool] | None:
        """Which frames to make a face for; None for all."""
        return None

    def leaves_out(self, frames: range) -> bool:
        """Whether a block with these frames is so late that not even its features are worth making."""
        return False

    @property
    def shows_idle(self) -> bool:
        """Whether frames without a face show the idle avatar, or repeat the last frame."""
        return False

    def wait_for_turn(self, frames: range) -> None:
        """Return when these frames may leave."""

    def note_written(self, frames: range, num_samples: int) -> None:
        """These frames went to the encoder, and so much audio with them."""

    def open_gates(self) -> None:
        """Hold nothing back any more; may be called from any thread."""

    def toggle_mute(self) -> bool:
        """Make the source silent, or heard again; whether it is silent now."""
        return False

    def figures(self) -> LiveStats | None:
        return None
