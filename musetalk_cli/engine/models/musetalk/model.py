"""The MuseTalk model: Whisper hears, and the UNet paints the lower half of the avatar's face."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from torch import OutOfMemoryError, Tensor

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.models.musetalk.audio.feature_extractor import Hearing
from musetalk_cli.engine.models.musetalk.audio.silence import SilenceGate
from musetalk_cli.engine.models.musetalk.audio.whisper_features import WhisperListener
from musetalk_cli.engine.models.musetalk.audio.windows import STEPS_PER_FRAME
from musetalk_cli.engine.models.musetalk.checkpoints.loading import Nets
from musetalk_cli.engine.models.musetalk.face.face_parts import FaceParts
from musetalk_cli.engine.models.musetalk.face.placement import Masks, Placements, Placing
from musetalk_cli.engine.models.musetalk.face.upstream import UpstreamLook, UpstreamPlacements
from musetalk_cli.engine.models.musetalk.inference.face_batches import FaceMaker, asked_sizes
from musetalk_cli.engine.models.musetalk.inference.face_generator import FacePainter
from musetalk_cli.engine.types.colour import even_size
from musetalk_cli.engine.types.messages import AudioBlock, FaceBatch, FeatureBatch, FloatArray
from musetalk_cli.errors import AvatarError

MIN_BOX_PX = 2


class MuseTalkModel:
    """LipSyncModel on a GPU, or slowly on a CPU.

    Features are what Whisper says of the ten steps around a frame, and last how much the frame speaks: float32
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
        upstream: UpstreamLook | None = None,
        others: Sequence[Nets] = (),
        is_compiled: bool = False,
        has_half_rate: bool = False,
        batch_size: int = 8,
    ) -> None:
        """``avatar`` and ``parts`` in the avatar's own size; faces are made for its frames resized to ``height_px``.

        ``latents`` (frames, 8, 32, 32): each frame's, masked and reference. ``gate`` None lets the network paint
        silence too. ``note`` is put beside the model's name. ``masks`` replace those of ``parts``. With ``upstream``,
        audio is heard and faces are put into frames as by the official script, which needs 30 s of audio behind a
        block: for files only. ``others``: the same nets on further devices, which share the batches. ``is_compiled`` as
        ``Drawing`` takes it, ``has_half_rate`` as ``FaceMaker`` does. ``batch_size``: the largest batch to be ready
        for. Raises AvatarError when the parts do not fit the avatar.
        """
        count = avatar.frames.num_frames
        if not count == len(parts.boxes) == len(latents):
            raise AvatarError(
                f"avatar '{avatar.name}' has {count} frames, {len(parts.boxes)} face boxes and {len(latents)} latents",
                hint="prepare it again with musetalk prepare-avatar --force",
            )
        self.name = f"musetalk-{nets.version}" + (f" with {note}" if note else "")
        # Today's script runs version 1.0 with the Whisper of 1.5, which it was not trained with.
        listener = WhisperListener(nets.whisper, is_original=nets.version == "1.0" and not upstream)
        self._hearing = Hearing(listener, frame_rate, gate, follows_upstream=upstream is not None)
        self.before_s, self.after_s = self._hearing.before_s, self._hearing.after_s
        sizes = asked_sizes(batch_size, has_half_rate=has_half_rate)
        painters = [FacePainter(each, is_compiled=is_compiled, asked_sizes=sizes) for each in (nets, *others)]
        self._painter, *further = painters
        self._batch_size = batch_size
        self._latents = latents
        self._num_features = STEPS_PER_FRAME * nets.whisper.config.num_levels * nets.whisper.config.dim
        self._masks, self._upstream = masks, upstream
        placing = self._placing(avatar, parts, height_px)
        self._maker = FaceMaker(self._painter, latents, placing, others=further, has_half_rate=has_half_rate)

    @property
    def num_silent(self) -> int:
        """Frames so far that show the avatar's own mouth because nobody speaks."""
        return self._hearing.num_silent

    def features(self, block: AudioBlock) -> FloatArray:
        return self._hearing.features(block)

    def make_faces(self, batch: FeatureBatch) -> FaceBatch:
        faces = self._maker.make(batch.features, batch.avatar_frames)
        return FaceBatch(faces, batch.images, batch.frames, batch.audio)

    def make_idle(self, batch: FeatureBatch) -> FaceBatch:
        return FaceBatch((), batch.images, batch.frames, batch.audio)

    def clone_for(self, avatar: Avatar, parts: FaceParts, height_px: int) -> MuseTalkModel:
        """A model of its own on the same nets and latents, for frames of another size or for another stream.

        ``avatar`` and ``parts`` as in the constructor: the same faces, pixel by pixel, in images of any size. Masks
        or classes that the constructor was given are those of the faces still.
        """
        other = copy.copy(self)
        other._hearing = self._hearing.clone_for()
        other._maker = self._maker.clone_for(self._placing(avatar, parts, height_px))
        return other

    def warm_up(self) -> bool:
        """Do beforehand what the first block and its batches would wait for; whether there was memory for all of it."""
        try:
            self._hearing.warm_up()
        except OutOfMemoryError:
            return False
        return self._maker.warm_up(self._batch_size)

    def time_one_face(self) -> float:
        """Paint a face that nobody sees: seconds that it took. Raises ModelError when there is no memory for it."""
        started = time.perf_counter()
        self._painter.paint(self._painter.hold(self._latents[:1]), np.zeros((1, self._num_features), np.float32))
        return time.perf_counter() - started

    def _placing(self, avatar: Avatar, parts: FaceParts, height_px: int) -> Callable[[int], Placing]:
        boxes = _boxes_in_frames(parts, avatar, height_px)
        if self._upstream:
            return UpstreamPlacements(avatar.resized(height_px).frames, boxes, self._upstream)
        return Placements(boxes, parts.masks if self._masks is None else self._masks)


def _boxes_in_frames(parts: FaceParts, avatar: Avatar, height_px: int) -> NDArray[np.int32]:
    own = (avatar.width, avatar.height)
    return scale_boxes(parts.boxes, own, even_size(*own, height_px))


def scale_boxes(boxes: NDArray[np.int32], own: tuple[int, int], shown: tuple[int, int]) -> NDArray[np.int32]:
    """Boxes int32 (n, 4) in pixels of frames of size ``own`` (width, height) → of the same frames at size ``shown``.

    They stay within the frame, and at least MIN_BOX_PX wide and high.
    """
    factors = np.tile(np.array(shown, np.float64) / np.array(own, np.float64), 2)
    scaled = np.rint(boxes * factors).astype(np.int32)
    limits = np.array(shown, np.int32)
    low = np.clip(scaled[:, :2], 0, limits - MIN_BOX_PX)
    high = np.clip(scaled[:, 2:], low + MIN_BOX_PX, limits)
    return np.concatenate([low, high], axis=1).astype(np.int32)
