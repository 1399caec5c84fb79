"""The one interface that every lip-sync model has."""

from __future__ import annotations

from typing import Protocol

from musetalk_cli.engine.messages import AudioBlock, ByteArray, FaceBatch, FeatureBatch, FloatArray


class LipSyncModel(Protocol):
    """A model bound to one avatar, one frame rate and one output size.

    ``features`` is called block after block by one thread; ``make_faces`` by several at once, so it keeps no state.
    """

    before_s: float  # context in front of a block, a multiple of 20 ms
    after_s: float  # look-ahead behind it, likewise

    @property
    def resting(self) -> ByteArray:
        """The avatar's own picture, planar I420, uint8 (height · 3/2, width)."""

    def features(self, block: AudioBlock) -> FloatArray:
        """What the sound says for each frame of a block: float32 (len(block.frames), d).

        A live stream that is far behind leaves blocks out, so nothing may be taken over from the block before.
        """

    def make_faces(self, batch: FeatureBatch) -> FaceBatch:
        """A face for every frame of a batch."""

    def make_idle(self, batch: FeatureBatch) -> FaceBatch:
        """The avatar's own frames in place of a batch that cannot be made in time: quick, and with a closed mouth."""
