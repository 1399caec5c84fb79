"""Batches of features → placed faces: weights, avatar frames, half rate, several devices."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from fixtures.feature_windows import extract_features  # noqa: E402
from fixtures.small_nets import (  # noqa: E402
    CONFIGS,
    FixedSizeForwardPass,
    noise,
    small_extractor,
    small_nets,
    syllables,
)
from musetalk_cli.engine.models.musetalk.checkpoints.loading import Nets, replicate_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.placement import Placements  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference import face_generator  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_batches import (  # noqa: E402
    FaceBatchGenerator,
    choose_generated,
    expected_sizes,
)
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.forward_pass import CUDA_SIZES, choose_sizes  # noqa: E402
from musetalk_cli.engine.types.messages import NO_REGION, Deadline  # noqa: E402

BOXES = np.array([[20, 30, 84, 94], [21, 31, 90, 99]], np.int32)
MASKS = np.full((2, 64, 64), 255, np.uint8)
STEP_DIM = CONFIGS.whisper.num_levels * CONFIGS.unet.audio_dim
LATENTS = noise(3, 8, 8, 8, seed=5)


@pytest.fixture(scope="module")
def nets() -> Nets:
    return small_nets()


@pytest.fixture
def features() -> np.ndarray:
    return noise(7, 10 * STEP_DIM, seed=4).numpy()


def differ(mine: np.ndarray, wanted: np.ndarray) -> int:
    assert mine.shape == wanted.shape
    return int(np.abs(mine.astype(int) - wanted).max())


def batch_generator(generators: list[FaceGenerator], *, has_half_rate: bool = False) -> FaceBatchGenerator:
    boxes = np.array([[4, 4, 40, 44]] * 3, np.int32)
    masks = np.full((3, 40, 36), 255, np.uint8)
    return FaceBatchGenerator(
        generators[0], LATENTS, Placements(boxes, masks), replicas=generators[1:], has_half_rate=has_half_rate
    )


def weighed(features: np.ndarray, weights: list[float]) -> np.ndarray:
    return np.concatenate([features, np.array(weights, np.float32)[:, None]], axis=1)


def test_silent_frames_are_unchanged_and_fading_ones_blended(nets: Nets) -> None:
    faces = FaceBatchGenerator(FaceGenerator(nets), LATENTS, Placements(BOXES, MASKS))
    audio_features = noise(3, 50 * CONFIGS.unet.audio_dim, seed=9).numpy()
    features = np.concatenate([audio_features, np.array([[1.0], [0.0], [0.5]], np.float32)], axis=1)
    speaking, silent, fading = faces.generate(features, [0, 1, 1])
    assert silent.region == NO_REGION
    assert not silent.mask.any()
    assert speaking.region == (20, 30, 64, 64)
    assert fading.region == (20, 30, 70, 70)
    assert speaking.mask.max() == 255
    assert fading.mask.max() == 128


def test_each_frame_has_the_face_of_its_avatar_frame_and_audio(nets: Nets) -> None:
    generator = FaceGenerator(nets)
    faces = FaceBatchGenerator(generator, LATENTS, Placements(BOXES, MASKS))
    audio_features = noise(2, 50 * CONFIGS.unet.audio_dim, seed=9).numpy()
    features = np.concatenate([audio_features, np.ones((2, 1), np.float32)], axis=1)
    together = faces.generate(features, [1, 0])
    for row, index in enumerate((1, 0)):
        alone = faces.generate(features[row : row + 1], [index])[0]
        difference = np.abs(together[row].planes.luma.astype(int) - alone.planes.luma)
        assert difference.max() <= 1
    swapped = faces.generate(features, [0, 1])
    assert swapped[0].planes.luma.shape != together[0].planes.luma.shape


def test_faces_are_the_same_bytes_however_a_stream_arrives(nets: Nets) -> None:
    faces = FaceBatchGenerator(FaceGenerator(nets), LATENTS, Placements(BOXES, MASKS))
    audio = syllables((1.2, True), (0.8, False), (0.6, True))
    rng = np.random.default_rng(5)
    hashes = set()
    for sizes in ([], list(rng.integers(1, 20_000, 40)), list(rng.integers(1, 2_000, 100))):
        features = extract_features(small_extractor(nets), audio, sizes)
        digest = hashlib.sha256(features.tobytes())
        for start in range(0, len(features), 8):
            batch = features[start : start + 8]
            for face in faces.generate(batch, [row % 2 for row in range(len(batch))]):
                digest.update(face.planes.luma.tobytes() + face.planes.chroma.tobytes() + face.mask.tobytes())
        hashes.add(digest.hexdigest())
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("batch_size", "has_half_rate", "expected"),
    [
        (8, False, (8,)),
        (12, False, (12,)),
        (1, True, (1,)),
        (4, True, (1, 2, 3)),
        (8, True, (1, 2, 3, 5)),
        (12, True, (1, 2, 3, 5, 7)),
        (64, True, (1, 2, 3, 5, 9, 17, 33)),
    ],
)
def test_the_expected_batch_sizes_are_known(batch_size: int, has_half_rate: bool, expected: tuple[int, ...]) -> None:
    assert expected_sizes(batch_size, has_half_rate=has_half_rate) == expected
    on_cuda = choose_sizes(torch.device("cuda"), is_compiled=False, expected_sizes=expected)
    assert {*CUDA_SIZES, *expected} == {*on_cuda}
    assert list(on_cuda) == sorted(on_cuda)
    assert choose_sizes(torch.device("cpu"), is_compiled=False, expected_sizes=expected) == ()
    assert choose_sizes(torch.device("cpu"), is_compiled=True, expected_sizes=expected) == (1,)


def test_a_batch_at_half_rate_is_not_padded(nets: Nets, features: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    class CudaSizeForwardPass(FixedSizeForwardPass):
        def __init__(self, *args, **options) -> None:
            super().__init__(*args, **options)
            self.sizes = choose_sizes(torch.device("cuda"), **options)

    monkeypatch.setattr(face_generator, "ForwardPass", CudaSizeForwardPass)
    FixedSizeForwardPass.run_sizes, FixedSizeForwardPass.warm_sizes = [], []
    generator = FaceGenerator(nets, expected_sizes=expected_sizes(8, has_half_rate=True))
    half = batch_generator([generator], has_half_rate=True)
    batch = weighed(np.concatenate([features, features[:1]]), [1] * 8)
    assert len(half.generate(batch, [0] * 8)) == 8
    half.generate(batch[:4], [0] * 4)
    assert FixedSizeForwardPass.run_sizes == [5, 3]
    assert half.warm_up(8)
    assert FixedSizeForwardPass.warm_sizes == [8, 5, 4, 3, 2, 1]


def test_batches_go_to_devices_in_turn(nets: Nets, features: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    generators = [FaceGenerator(nets), FaceGenerator(replicate_nets(nets, torch.device("cpu")))]
    asked: list[int] = []
    for number, generator in enumerate(generators):
        submit = generator.submit

        def note(*args, number=number, submit=submit):
            asked.append(number)
            return submit(*args)

        monkeypatch.setattr(generator, "submit", note)
    both, alone = batch_generator(generators), batch_generator([FaceGenerator(nets)])
    for frames in ([0, 1], [2, 0], [1, 2]):
        batch = weighed(features[:2], [1, 1])
        for mine, wanted in zip(both.generate(batch, frames), alone.generate(batch, frames), strict=True):
            np.testing.assert_array_equal(mine.planes.luma, wanted.planes.luma)
    assert asked == [0, 1, 0]


def test_an_avatar_frame_is_encoded_once_in_a_run(
    nets: Nets, features: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode_prefix = nets.unet.encode_prefix
    monkeypatch.setattr(
        nets.unet, "encode_prefix", lambda latents: encoded.append(len(latents)) or encode_prefix(latents)
    )
    cycle = batch_generator([FaceGenerator(nets)])
    for frames in ([0, 1], [2, 1], [0, 0]):
        cycle.generate(weighed(features[:2], [1, 1]), frames)
    assert encoded == [2, 1]


@pytest.mark.parametrize(
    ("rows", "generated"),
    [([], []), ([3], [3]), ([0, 1], [0, 1]), ([0, 1, 2], [0, 2]), ([0, 1, 2, 3], [0, 2, 3]), ([0, 2, 3, 4], [0, 2, 4])],
)
def test_at_half_rate_every_second_of_a_run_is_generated(rows: list[int], generated: list[int]) -> None:
    assert choose_generated(rows) == generated


@pytest.mark.parametrize(
    ("shots", "generated"),
    [
        ([0, 0, 0, 0, 0], [0, 2, 4]),
        ([0, 1, 1, 1, 1], [0, 1, 3, 4]),
        ([0, 0, 1, 1, 1], [0, 1, 2, 4]),
        ([0, 1, 0, 1, 0], [0, 1, 2, 3, 4]),
    ],
)
def test_no_face_is_the_mean_of_two_shots(shots: list[int], generated: list[int]) -> None:
    assert choose_generated(range(5), shots) == generated


def test_the_shots_of_the_avatars_frames_count(nets: Nets, features: np.ndarray) -> None:
    frames, rows = [0, 1, 2, 2, 1, 0, 0], weighed(features, [1.0] * 7)
    generators = {
        half: FaceBatchGenerator(
            FaceGenerator(nets),
            LATENTS,
            Placements(BOXES[[0, 0, 1]], MASKS[[0, 0, 1]]),
            has_half_rate=half,
            shots=shots,
        )
        for half, shots in ((True, [0, 1, 2]), (False, None))
    }
    every = [generator.generate(rows, frames) for generator in generators.values()]
    for mine, wanted in zip(*every, strict=True):
        assert differ(mine.planes.luma, wanted.planes.luma) <= 1


def test_at_half_rate_faces_between_are_the_mean_of_their_neighbours(nets: Nets, features: np.ndarray) -> None:
    batch = weighed(features, [1, 1, 1, 0, 1, 1, 0.5])
    frames = [0] * 7
    whole = batch_generator([FaceGenerator(nets)]).generate(batch, frames)
    half = batch_generator([FaceGenerator(nets)], has_half_rate=True)
    halved = half.generate(batch, frames)
    for row in (0, 2, 4, 6):
        assert differ(halved[row].planes.luma, whole[row].planes.luma) <= 1
    mean = (whole[0].planes.luma.astype(int) + whole[2].planes.luma) / 2
    assert np.abs(halved[1].planes.luma - mean).max() <= 3
    assert differ(halved[1].planes.luma, whole[1].planes.luma) > 10
    for mine, again in zip(halved, half.generate(batch, frames), strict=True):
        np.testing.assert_array_equal(mine.planes.luma, again.planes.luma)


def shared_sessions(generator: FaceGenerator) -> tuple[FaceBatchGenerator, FaceBatchGenerator, FaceBatchGenerator]:
    """Two sessions with one avatar, and one with another of other latents."""
    avatar = batch_generator([generator])
    boxes = np.array([[6, 2, 50, 44]] * 2, np.int32)
    other = FaceBatchGenerator(
        generator, noise(2, 8, 8, 8, seed=6), Placements(boxes, np.full((2, 42, 44), 255, np.uint8))
    )
    return avatar.share(), avatar.share(), other.share()


def test_sessions_of_different_avatars_share_a_batch(nets: Nets, features: np.ndarray) -> None:
    generator = FaceGenerator(nets)
    sessions = shared_sessions(generator)
    weights = [1.0, 0.0, 1.0, 0.5, 1.0, 1.0, 0.0]
    asked = [
        (weighed(features, weights)[:3], [0, 1, 2]),
        (weighed(features, weights)[2:5], [2, 1, 0]),
        (weighed(features, weights)[4:], [1, 0, 1]),
    ]
    alone = [session.generate(*each) for session, each in zip(sessions, asked, strict=True)]
    sizes: list[int] = []
    submit = generator.submit

    def count(prefixes: object, frames: range, rows: np.ndarray) -> object:
        sizes.append(len(rows))
        return submit(prefixes, frames, rows)

    generator.submit = count  # type: ignore[method-assign,assignment]
    with generator._lock, ThreadPoolExecutor(4) as pool:  # the lock holds the first batch until all have asked
        first = pool.submit(sessions[0].generate, *asked[0])
        while not sizes:
            threading.Event().wait(0.001)
        rest = [pool.submit(session.generate, *each) for session, each in zip(sessions, asked, strict=True)]
        while len(generator._scheduler._queue._waiting) < 2 + 3 + 2:
            threading.Event().wait(0.001)
        generator._lock.release()
        together = [each.result() for each in (first, *rest)]
        generator._lock.acquire()
    assert sizes == [2, 7]
    for mine, wanted in zip(together, [alone[0], *alone], strict=True):
        for face, other in zip(mine, wanted, strict=True):
            assert face.region == other.region
            assert np.array_equal(face.mask, other.mask)
            assert differ(face.planes.luma, other.planes.luma) <= 1
            assert differ(face.planes.chroma, other.planes.chroma) <= 1


def test_a_session_alone_shares_with_nobody(nets: Nets, features: np.ndarray) -> None:
    avatar = batch_generator([FaceGenerator(nets)])
    asked = weighed(features, [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.5])
    direct, shared = (
        avatar.generate(asked, [0, 1, 2, 1, 0, 1, 2]),
        avatar.share().generate(asked, [0, 1, 2, 1, 0, 1, 2]),
    )
    assert all(np.array_equal(mine.planes.luma, other.planes.luma) for mine, other in zip(shared, direct, strict=True))


def test_one_session_that_fails_leaves_the_others_alone(nets: Nets, features: np.ndarray) -> None:
    good, bad, _ = shared_sessions(FaceGenerator(nets))
    asked = weighed(features[:2], [1.0, 1.0])
    with pytest.raises(ValueError, match="reshape"):
        bad.generate(asked[:, 1:], [0, 0])
    with pytest.raises(IndexError):
        bad.generate(asked, [0, 7])
    assert len(good.generate(asked, [0, 1])) == 2


def test_faces_that_nobody_waits_for_are_not_made(nets: Nets, features: np.ndarray) -> None:
    generator = FaceGenerator(nets)
    session = batch_generator([generator]).share()
    generator._generate_faces = None  # type: ignore[method-assign,assignment]
    faces = session.generate(weighed(features[:2], [1.0, 1.0]), [0, 1], Deadline(0.0, lambda: False))
    assert [face.region for face in faces] == [NO_REGION, NO_REGION]
