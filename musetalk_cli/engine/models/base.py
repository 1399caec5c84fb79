"""The one interface that every lip-sync model has."""

from __future__ import annotations

from typing import Protocol

from musetalk_cli.engine.types.messages import AudioBlock, FaceBatch, FeatureBatch, FloatArray


class LipSyncModel(Protocol):
    """A model bound to one avatar, one frame rate and one output size.

    ``features`` is called block after block by one thread; ``make_faces`` by several at once and in any order, so that
    a face depends on nothing but its frame: the features, its number, and the avatar frame it goes into. In a batch of
    another size a network's sums may be rounded otherwise, which may change a face by one level of 255.
    """

    name: str  # as summaries and statistics have it
    before_s: float  # context in front of a block, a multiple of 20 ms
    after_s: float  # look-ahead behind it, likewise

    @property
    def num_silent(self) -> int:
        """How many frames so far were left without a face because nobody speaks in them."""

    def features(self, block: AudioBlock) -> FloatArray:
        """What the audio says for each frame of a block: float32 (len(block.frames), d).

        A live stream that is far behind leaves blocks out, so nothing may be taken over from the block before.
        """

    def make_faces(self, batch: FeatureBatch) -> FaceBatch:
        """A face for every frame of a batch, whose images are passed on as they are, not written into."""

    def make_idle(self, batch: FeatureBatch) -> FaceBatch:
        """The avatar's own frames in place of a batch that cannot be made in time: quickly, and with a closed mouth
        where that is as quick."""
