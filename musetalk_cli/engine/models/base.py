"""The one interface that every lip-sync model has."""

from __future__ import annotations

from typing import Protocol

from musetalk_cli.engine.types.messages import AudioBlock, FaceBatch, FeatureBatch, FloatArray, LowPass


class LipSyncModel(Protocol):
    """A model bound to one avatar, one frame rate and one output size.

    ``features`` is called block after block by one thread. ``make_faces`` is called by several threads at once and in
    any order, so a face depends on its frame only: its features, its index and its avatar frame. In a batch of another
    size a network's sums may be rounded differently, which may change a face by one level of 255.
    """

    name: str  # for summaries and statistics
    before_s: float  # context before a block, seconds, a multiple of 20 ms
    after_s: float  # look-ahead behind a block, seconds, likewise
    low_pass: LowPass  # in front of the decimation to 16 kHz
    num_features: int  # of each frame

    @property
    def num_silent(self) -> int:
        """How many frames so far have no face because they are silent."""

    def features(self, block: AudioBlock) -> FloatArray:
        """The features of each frame of a block: float32 (len(block.frames), d).

        A live stream that is late drops blocks, so features must not depend on the block before.
        """

    def look_ahead_s(self, block_s: float) -> float:
        """Seconds of audio that blocks of this length need behind them: a multiple of 20 ms, ``after_s`` at most."""

    def make_faces(self, batch: FeatureBatch) -> FaceBatch:
        """A face for every frame of a batch. The batch's images are passed on and not modified; a model that draws
        whole frames gives these in their place, and no faces."""

    def close_mouth(self, features: FloatArray, num_frames: int) -> FloatArray:
        """Features float32 (num_frames, d) of a mouth that closes from the shape of ``features`` float32 (d,); with the
        last of them it is shut."""

    def make_idle(self, batch: FeatureBatch) -> FaceBatch:
        """The avatar's own frames, for a batch that is too late to be generated: cheap, and with a closed mouth where
        that costs nothing."""

    def clone(self, *, shares_batches: bool = False) -> LipSyncModel:
        """The same for another stream at the same time; nets and what was derived from the avatar are shared.

        ``shares_batches``: the frames of all such clones may be computed together, those due first before others. A
        model that computes every frame by itself has nothing to share.
        """
