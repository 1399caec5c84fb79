"""From audio to placed faces: silence, cross-fades, avatar frames, and the same bytes for every cut of a stream."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'musetalk[neural]'")

from fixtures.small_nets import CONFIGS, CPU, noise  # noqa: E402
from musetalk_cli.engine.audio.blocks import BlockCutter  # noqa: E402
from musetalk_cli.engine.models.musetalk.audio.feature_extractor import Hearing  # noqa: E402
from musetalk_cli.engine.models.musetalk.audio.silence import SilenceGate, SilenceSettings  # noqa: E402
from musetalk_cli.engine.models.musetalk.audio.whisper_features import WhisperListener  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import Nets, random_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.placement import NOTHING, Placements  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_batches import FaceMaker  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_generator import FacePainter  # noqa: E402

FPS = Fraction(25)
BOXES = np.array([[20, 30, 84, 94], [21, 31, 90, 99]], np.int32)
MASKS = np.full((2, 64, 64), 255, np.uint8)
LATENTS = noise(2, 8, 8, 8, seed=8)


@pytest.fixture(scope="module")
def nets() -> Nets:
    return random_nets("1.5", CPU, seed=2, configs=CONFIGS)


def hearing(nets: Nets, *, has_gate: bool = True) -> Hearing:
    gate = SilenceGate(SilenceSettings()) if has_gate else None
    return Hearing(WhisperListener(nets.whisper, is_original=False), FPS, gate)


def voice(*parts: tuple[float, bool]) -> np.ndarray:
    """48 kHz int16 (n, 1): (seconds, is it speech) one after the other."""
    rng = np.random.default_rng(3)
    pieces = []
    for duration_s, is_speech in parts:
        count = int(duration_s * 48_000)
        syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * np.arange(count) / 48_000)
        pieces.append(rng.normal(0, 6000, count) * syllables if is_speech else np.zeros(count))
    return np.concatenate(pieces).clip(-32_000, 32_000).astype(np.int16)[:, None]


def features_of(hears: Hearing, audio: np.ndarray, sizes: list[int]) -> np.ndarray:
    cutter = BlockCutter(2.0, hears.before_s, hears.after_s, FPS)
    parts, at = [], 0
    for size in [*sizes, len(audio)]:
        parts += [hears.features(block) for block in cutter.push(audio[at : at + size])]
        at = min(len(audio), at + size)
    return np.concatenate([*parts, *(hears.features(block) for block in cutter.finish())])


def test_silence_has_no_weight_and_is_counted(nets: Nets) -> None:
    hears = hearing(nets)
    features = features_of(hears, voice((2.0, True), (3.0, False)), [])
    weights = features[:, -1]
    assert features.shape == (125, 50 * CONFIGS.whisper.dim + 1)
    assert (weights[5:45] == 1).all()
    assert (weights[62:] == 0).all()
    assert ((weights > 0) & (weights < 1)).any()
    assert hears.num_silent == (weights == 0).sum()


@pytest.mark.parametrize("follows_upstream", [False, True])
def test_streams_at_the_same_time_hear_nothing_of_each_other(nets: Nets, follows_upstream: bool) -> None:
    listener = WhisperListener(nets.whisper, is_original=False)
    first = Hearing(listener, FPS, None, follows_upstream=follows_upstream)
    second = first.clone_for()
    audio_blocks = [voice((1.5, True)), voice((0.4, False), (1.1, True))]
    blocks = []
    for audio in audio_blocks:
        cutter = BlockCutter(1.0, first.before_s, first.after_s, FPS)
        blocks.append([*cutter.push(audio), *cutter.finish()])
    for one, other in zip(*blocks, strict=True):
        for hears, block in ((first, one), (second, other)):
            alone = Hearing(listener, FPS, None, follows_upstream=follows_upstream)
            np.testing.assert_array_equal(hears.features(block), alone.features(block))


def test_the_first_block_finds_the_nets_warm(nets: Nets) -> None:
    hears = hearing(nets)
    hears.warm_up()
    assert hears.num_silent == 0
    np.testing.assert_array_equal(*(features_of(each, voice((0.5, True)), []) for each in (hears, hearing(nets))))


def test_without_a_gate_every_frame_speaks(nets: Nets) -> None:
    hears = hearing(nets, has_gate=False)
    assert (features_of(hears, voice((0.5, False)), [])[:, -1] == 1).all()
    assert hears.num_silent == 0


def test_silent_frames_are_left_alone_and_fading_ones_thinned(nets: Nets) -> None:
    maker = FaceMaker(FacePainter(nets), LATENTS, Placements(BOXES, MASKS))
    heard = noise(3, 50 * CONFIGS.unet.audio_dim, seed=9).numpy()
    features = np.concatenate([heard, np.array([[1.0], [0.0], [0.5]], np.float32)], axis=1)
    speaking, silent, fading = maker.make(features, [0, 1, 1])
    assert silent.region == NOTHING
    assert not silent.mask.any()
    assert speaking.region == (20, 30, 64, 64)
    assert fading.region == (20, 30, 70, 70)
    assert speaking.mask.max() == 255
    assert fading.mask.max() == 128


def test_each_frame_has_the_face_of_its_avatar_frame_and_audio(nets: Nets) -> None:
    painter = FacePainter(nets)
    maker = FaceMaker(painter, LATENTS, Placements(BOXES, MASKS))
    heard = noise(2, 50 * CONFIGS.unet.audio_dim, seed=9).numpy()
    features = np.concatenate([heard, np.ones((2, 1), np.float32)], axis=1)
    together = maker.make(features, [1, 0])
    for row, index in enumerate((1, 0)):
        alone = maker.make(features[row : row + 1], [index])[0]
        difference = np.abs(together[row].planes.luma.astype(int) - alone.planes.luma)
        assert difference.max() <= 1
    swapped = maker.make(features, [0, 1])
    assert swapped[0].planes.luma.shape != together[0].planes.luma.shape


def test_faces_are_the_same_bytes_however_a_stream_arrives(nets: Nets) -> None:
    maker = FaceMaker(FacePainter(nets), LATENTS, Placements(BOXES, MASKS))
    audio = voice((1.2, True), (0.8, False), (0.6, True))
    rng = np.random.default_rng(5)
    hashes = set()
    for sizes in ([], list(rng.integers(1, 20_000, 40)), list(rng.integers(1, 2_000, 100))):
        features = features_of(hearing(nets), audio, sizes)
        digest = hashlib.sha256(features.tobytes())
        for start in range(0, len(features), 8):
            batch = features[start : start + 8]
            for face in maker.make(batch, [row % 2 for row in range(len(batch))]):
                digest.update(face.planes.luma.tobytes() + face.planes.chroma.tobytes() + face.mask.tobytes())
        hashes.add(digest.hexdigest())
    assert len(hashes) == 1
