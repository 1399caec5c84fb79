"""The MuseTalk model: Whisper encodes the audio, and a UNet generates the lower half of the avatar's face."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from torch import OutOfMemoryError, Tensor

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.models.musetalk.audio.feature_extractor import AudioFeatureExtractor
from musetalk_cli.engine.models.musetalk.audio.silence import SilenceGate
from musetalk_cli.engine.models.musetalk.audio.whisper_features import WhisperFeatureEncoder
from musetalk_cli.engine.models.musetalk.audio.windows import STEPS_PER_FRAME
from musetalk_cli.engine.models.musetalk.checkpoints.loading import Nets
from musetalk_cli.engine.models.musetalk.face.face_parts import FaceParts
from musetalk_cli.engine.models.musetalk.face.placement import Masks, Placements, Placing
from musetalk_cli.engine.models.musetalk.face.upstream import UpstreamMasking, UpstreamPlacements
from musetalk_cli.engine.models.musetalk.inference.face_batches import FaceBatchGenerator, expected_sizes
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator
from musetalk_cli.engine.types.audio import LONG_LOW_PASS
from musetalk_cli.engine.types.colour import even_size
from musetalk_cli.engine.types.messages import AudioBlock, FaceBatch, FeatureBatch, FloatArray
from musetalk_cli.errors import AvatarError

MIN_BOX_PX = 2


class MuseTalkModel:
    """LipSyncModel on a GPU, or slowly on a CPU.

    Features are Whisper's hidden states of the ten steps around a frame, and last the frame's weight, 0 … 1: float32
    (n, 10 · levels · dim + 1). The faces of one frame in batches of different sizes may differ by one level of 255.
    """

    def __init__(
        self,
        nets: Nets,
        avatar: Avatar,
        parts: FaceParts,
        latents: Tensor,
        frame_rate: Fraction,
        height_px: int,
        gate: SilenceGate | None,
        *,
        note: str = "",
        masks: Masks | None = None,
        upstream: UpstreamMasking | None = None,
        replicas: Sequence[Nets] = (),
        is_compiled: bool = False,
        has_half_rate: bool = False,
        has_detail: bool = True,
        batch_size: int = 8,
    ) -> None:
        """Bind the nets to an avatar, a frame rate and a frame height.

        Args:
            nets: folded nets on the first device.
            avatar: in its own size.
            parts: face boxes and masks, in pixels of the avatar's own size.
            latents: (frames, 8, 32, 32), masked and reference, of every avatar frame.
            frame_rate: frames per second of the output.
            height_px: height of the output frames; the avatar's frames are resized to it.
            gate: the silence gate; None generates silent frames too.
            note: appended to the model's name.
            masks: replace those of ``parts``.
            upstream: audio features and blending as in the official script, which needs 30 s of audio behind a block:
                for files only.
            replicas: the same nets on further devices, which take batches in turn.
            is_compiled: as ``ForwardPass`` takes it.
            has_half_rate: as ``FaceBatchGenerator`` takes it.
            has_detail: whether faces that are shown larger than generated get the frames' own detail; with ``upstream``
                they never do.
            batch_size: the largest batch to warm up for, frames.

        Raises:
            AvatarError: the numbers of frames, boxes and latents differ.
        """
        _check(avatar, parts, latents)
        self.name = f"musetalk-{nets.version}" + (f" with {note}" if note else "")
        self.low_pass = LONG_LOW_PASS
        self._feature_extractor = _extractor(nets, frame_rate, gate, follows_upstream=upstream is not None)
        self.before_s, self.after_s = self._feature_extractor.before_s, self._feature_extractor.after_s
        # A frame's steps, and how much of the face shows.
        self.num_features = STEPS_PER_FRAME * nets.whisper.config.num_levels * nets.whisper.config.dim + 1
        self._batch_size, self._latents, self._opacity = batch_size, latents, avatar.opacity
        self._masks, self._upstream, self._has_detail = masks, upstream, has_detail
        sizes = expected_sizes(batch_size, has_half_rate=has_half_rate)
        self._generator, *others = (
            FaceGenerator(each, is_compiled=is_compiled, expected_sizes=sizes, max_shared=batch_size)
            for each in (nets, *replicas)
        )
        placing = self._placing(avatar, parts, height_px)
        self._face_batches = FaceBatchGenerator(
            self._generator,
            latents,
            placing,
            replicas=others,
            has_half_rate=has_half_rate,
            shots=_shots(avatar),
        )

    @property
    def num_silent(self) -> int:
        """Frames so far with weight 0, which show the avatar's own mouth."""
        return self._feature_extractor.num_silent

    def features(self, block: AudioBlock) -> FloatArray:
        return self._feature_extractor.features(block)

    def look_ahead_s(self, block_s: float) -> float:
        return self.after_s

    def make_faces(self, batch: FeatureBatch) -> FaceBatch:
        features = batch.features.copy()
        features[:, -1] *= self._opacity[list(batch.avatar_frames)]
        faces = self._face_batches.generate(features, batch.avatar_frames, batch.deadline)
        return FaceBatch(faces, batch.images, batch.frames, batch.audio)

    def close_mouth(self, features: FloatArray, num_frames: int) -> FloatArray:
        # The same face, less and less of it: the last column is how much of it shows.
        rows = np.tile(features, (num_frames, 1))
        rows[:, -1] *= 1.0 - np.arange(1, num_frames + 1, dtype=np.float32) / num_frames
        return rows

    def make_idle(self, batch: FeatureBatch) -> FaceBatch:
        return FaceBatch((), batch.images, batch.frames, batch.audio)

    def clone(self, *, shares_batches: bool = False) -> MuseTalkModel:
        other = copy.copy(self)
        other._feature_extractor = self._feature_extractor.clone()
        if shares_batches:
            other._face_batches = self._face_batches.share()
        return other

    def clone_with(
        self, avatar: Avatar, parts: FaceParts, latents: Tensor, height_px: int, masks: Masks | None = None
    ) -> MuseTalkModel:
        """A model with the same nets for another avatar; clones of both share batches where they do so at all.

        Args:
            avatar: in its own size.
            parts: face boxes and masks, in pixels of the avatar's own size.
            latents: (frames, 8, 32, 32) of every avatar frame.
            height_px: height of the output frames.
            masks: replace those of ``parts``.

        Raises:
            AvatarError: the numbers of frames, boxes and latents differ.
        """
        _check(avatar, parts, latents)
        other = copy.copy(self)
        other._feature_extractor = self._feature_extractor.clone()
        other._latents, other._masks, other._upstream = latents, masks, None
        other._opacity = avatar.opacity
        placing = other._placing(avatar, parts, height_px)
        other._face_batches = self._face_batches.clone_with(latents, placing, _shots(avatar))
        return other

    def clone_for(self, avatar: Avatar, parts: FaceParts, height_px: int) -> MuseTalkModel:
        """A model with the same nets and latents, for frames of another size or another stream.

        ``avatar`` and ``parts`` as in the constructor: the same faces, pixel by pixel, in frames of any size. The
        constructor's ``masks`` and ``upstream`` apply to them as well.
        """
        other = copy.copy(self)
        other._feature_extractor = self._feature_extractor.clone()
        other._opacity = avatar.opacity
        other._face_batches = self._face_batches.clone_for(self._placing(avatar, parts, height_px))
        return other

    def warm_up(self) -> bool:
        """Warm up the nets for blocks and batches. False where memory was not enough for all batch sizes."""
        try:
            self._feature_extractor.warm_up()
        except OutOfMemoryError:
            return False
        return self._face_batches.warm_up(self._batch_size)

    def time_one_face(self) -> float:
        """Generate a face and discard it: seconds that it took. Raises ModelError when there is not enough memory."""
        started = time.perf_counter()
        features = np.zeros((1, self.num_features - 1), np.float32)
        self._generator.generate(self._generator.to_device(self._latents[:1]), features)
        return time.perf_counter() - started

    def _placing(self, avatar: Avatar, parts: FaceParts, height_px: int) -> Callable[[int], Placing]:
        boxes = _boxes_in_frames(parts, avatar, height_px)
        shown = avatar.resized(height_px)
        if self._upstream:
            return UpstreamPlacements(shown.frames, boxes, self._upstream)
        masks = parts.masks if self._masks is None else self._masks
        area = None if shown.visibility is None else shown.visibility.area
        return Placements(boxes, masks, shown.frames if self._has_detail else None, area=area)


def _extractor(
    nets: Nets, frame_rate: Fraction, gate: SilenceGate | None, *, follows_upstream: bool
) -> AudioFeatureExtractor:
    # Today's official script runs version 1.0 with the Whisper of 1.5, which it was not trained with.
    encoder = WhisperFeatureEncoder(nets.whisper, is_version_1_0=nets.version == "1.0" and not follows_upstream)
    return AudioFeatureExtractor(encoder, frame_rate, gate, follows_upstream=follows_upstream)


def _shots(avatar: Avatar) -> list[int] | None:
    """The shot of every frame; None where cuts are not known."""
    return None if avatar.visibility is None else np.cumsum(avatar.visibility.is_cut).tolist()


def _check(avatar: Avatar, parts: FaceParts, latents: Tensor) -> None:
    count = avatar.frames.num_frames
    if not count == len(parts.boxes) == len(latents):
        raise AvatarError(
            f"avatar '{avatar.name}' has {count} frames, {len(parts.boxes)} face boxes and {len(latents)} latents",
            hint="prepare it again with musetalk prepare-avatar --force",
        )


def _boxes_in_frames(parts: FaceParts, avatar: Avatar, height_px: int) -> NDArray[np.int32]:
    own = (avatar.width, avatar.height)
    return scale_boxes(parts.boxes, own, even_size(*own, height_px))


def scale_boxes(boxes: NDArray[np.int32], own: tuple[int, int], shown: tuple[int, int]) -> NDArray[np.int32]:
    """Boxes int32 (n, 4) in pixels of frames of size ``own`` (width, height) → of the same frames at size ``shown``.

    They are clipped to the frame, and at least MIN_BOX_PX wide and high.
    """
    factors = np.tile(np.array(shown, np.float64) / np.array(own, np.float64), 2)
    scaled = np.rint(boxes * factors).astype(np.int32)
    limits = np.array(shown, np.int32)
    low = np.clip(scaled[:, :2], 0, limits - MIN_BOX_PX)
    high = np.clip(scaled[:, 2:], low + MIN_BOX_PX, limits)
    return np.concatenate([low, high], axis=1).astype(np.int32)
