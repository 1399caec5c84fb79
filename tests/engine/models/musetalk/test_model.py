"""The model as a whole: boxes at the output's size, cached latents, random weights, refusals."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from fixtures.drawn_face import draw_face  # noqa: E402
from fixtures.small_nets import CONFIGS, CPU, face_parts, small_latents, small_model, small_nets  # noqa: E402
from musetalk_cli.benchmark.workload.figures import FrameSize  # noqa: E402
from musetalk_cli.benchmark.workload.subject import draw_avatar  # noqa: E402
from musetalk_cli.engine.avatar.avatar import Avatar  # noqa: E402
from musetalk_cli.engine.avatar.avatar_files import open_avatar_folder  # noqa: E402
from musetalk_cli.engine.avatar.frames import StillFrames  # noqa: E402
from musetalk_cli.engine.avatar.visibility import Area, Visibility  # noqa: E402
from musetalk_cli.engine.models.musetalk import factory  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import Precision, random_encoder, random_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.avatar_cache import LATENTS, AvatarCache, has_cached  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.blend import Box, crop_face  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.face_parts import FaceParts  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.masks import MaskSettings  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.parsed_masks import DrawnClasses  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.upstream import UpstreamMasking  # noqa: E402
from musetalk_cli.engine.models.musetalk.factory import AvatarFace, MuseTalkSettings, open_model  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference import devices, forward_pass  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_batches import FaceBatchGenerator  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceEncoder  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.latents import avatar_latents  # noqa: E402
from musetalk_cli.engine.models.musetalk.model import MuseTalkModel, scale_boxes  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.taesd import TinyDecoder  # noqa: E402
from musetalk_cli.engine.types.messages import NO_REGION, FeatureBatch  # noqa: E402
from musetalk_cli.errors import AvatarError, ModelError  # noqa: E402
from tests.engine.avatar.test_avatar_files import write_avatar  # noqa: E402

FPS = Fraction(25)
VAE = "0123456789abcdef" * 4
SETTINGS = MuseTalkSettings("1.5", "cpu", "auto", memory_fraction=0.8, num_threads=1, silence=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_avatar(tmp_path / "anna", 2)


@pytest.fixture
def face(folder: Path) -> Iterator[AvatarFace]:
    avatar = open_avatar_folder(folder)
    yield AvatarFace(avatar, face_parts(avatar), AvatarCache(folder))
    avatar.close()


def encoder() -> FaceEncoder:
    return FaceEncoder(random_encoder(CPU, 2, CONFIGS))


def open_for(face: AvatarFace, settings: MuseTalkSettings, tell: Callable[[str], None]) -> MuseTalkModel:
    """A model with random weights."""
    return open_model(settings, None, face.avatar, face.cache.folder, FPS, 128, tell)


def test_boxes_follow_the_frames_size_and_stay_inside() -> None:
    boxes = np.array([[20, 10, 100, 90], [0, 0, 8, 8], [192, 92, 200, 100]], np.int32)
    assert scale_boxes(boxes, (200, 100), (400, 200)).tolist()[0] == [40, 20, 200, 180]
    small = scale_boxes(boxes, (200, 100), (20, 10))
    assert small.min() >= 0
    assert (small[:, 2] <= 20).all()
    assert (small[:, 3] <= 10).all()
    assert (small[:, 2:] - small[:, :2] >= 2).all()
    np.testing.assert_array_equal(scale_boxes(boxes, (200, 100), (200, 100)), boxes)


def test_latents_are_encoded_once_and_cached(face: AvatarFace, folder: Path) -> None:
    told: list[str] = []
    cache = AvatarCache(folder, told.append)
    made = avatar_latents(face.avatar, face.parts, encoder, cache, VAE)
    assert made.shape == (2, 8, 32, 32)
    assert made.dtype == torch.float32
    assert not torch.equal(made[0], made[1])
    assert len(told) == 1

    def fail() -> FaceEncoder:
        raise AssertionError("the encoder is not needed")

    assert torch.equal(avatar_latents(face.avatar, face.parts, fail, cache, VAE), made)
    assert has_cached(folder, LATENTS)
    moved = FaceParts(face.parts.boxes + 1, face.parts.masks)
    for parts, weights_sha256 in ((face.parts, VAE[::-1]), (moved, VAE)):
        with pytest.raises(AssertionError, match="not needed"):
            avatar_latents(face.avatar, parts, fail, cache, weights_sha256)


def test_latents_belong_to_a_precision_and_a_model(face: AvatarFace, folder: Path) -> None:
    """Those of one are not taken for another, and none is rounded to less than it was made in."""
    cache, num_made = AvatarCache(folder), 0
    kinds = ((torch.float32, "1.5"), (torch.bfloat16, "1.5"), (torch.float16, "1.5"), (torch.float32, "1.0"))

    def counted(dtype: torch.dtype) -> FaceEncoder:
        nonlocal num_made
        num_made += 1
        return FaceEncoder(random_encoder(Precision(CPU.device, dtype), 2, CONFIGS))

    for _ in range(2):
        for dtype, version in kinds:
            made = avatar_latents(
                face.avatar, face.parts, partial(counted, dtype), cache, VAE, dtype=dtype, made_with={"v": version}
            )
            assert made.dtype == (torch.float16 if dtype == torch.float16 else torch.float32)
            if dtype == torch.bfloat16:
                assert torch.equal(made, made.bfloat16().float())
    assert num_made == len(kinds)
    exact = FaceEncoder(random_encoder(CPU, 2, CONFIGS)).encode([crop_face(face.avatar.frames.image(0), box_of(face))])
    assert torch.equal(avatar_latents(face.avatar, face.parts, encoder, cache, VAE, made_with={"v": "1.5"})[:1], exact)


def box_of(face: AvatarFace) -> Box:
    return Box(*map(int, face.parts.boxes[0]))


def test_latents_that_cannot_be_cached_are_used_all_the_same(
    face: AvatarFace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from musetalk_cli.engine.models.musetalk.face import avatar_cache

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(avatar_cache, "replace_file", fail)
    told: list[str] = []
    made = avatar_latents(face.avatar, face.parts, encoder, AvatarCache(folder, told.append), VAE)
    assert len(made) == 2
    assert "no space left" in told[-1]


def test_parts_of_another_avatar_are_refused(face: AvatarFace) -> None:
    nets = small_nets()
    parts = FaceParts(face.parts.boxes[:1], face.parts.masks[:1])
    with pytest.raises(AvatarError, match="2 frames, 1 face boxes"):
        MuseTalkModel(nets, face.avatar, parts, torch.zeros(2, 8, 32, 32), FPS, 128, None)


@pytest.fixture
def _small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "random_nets", lambda *args, **options: random_nets(*args, configs=CONFIGS, **options))
    monkeypatch.setattr(factory, "random_encoder", lambda *args: random_encoder(*args, configs=CONFIGS))


@pytest.mark.parametrize(("has_bf16", "dtype"), [(False, "float32"), (True, "bfloat16")])
@pytest.mark.usefixtures("_small_sizes")
def test_random_weights_are_named_and_cache_nothing(
    face: AvatarFace, folder: Path, monkeypatch: pytest.MonkeyPatch, has_bf16: bool, dtype: str
) -> None:
    monkeypatch.setattr(devices, "computes_in_bf16", lambda: has_bf16)
    told: list[str] = []
    model = open_for(face, SETTINGS, told.append)
    assert model.name == "musetalk-1.5 with random weights"
    assert f"musetalk-1.5 with random weights on cpu, {dtype}, masks from landmarks" in told
    assert [line for line in told if "the first face took" in line and "warning" in line]
    assert not has_cached(folder, LATENTS)


@pytest.mark.usefixtures("_small_sizes")
def test_a_device_without_room_for_the_weights_is_an_error(face: AvatarFace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(factory, "random_nets", fail)
    with pytest.raises(ModelError, match="not enough memory on cpu"):
        open_for(face, SETTINGS, str)


@pytest.mark.usefixtures("_small_sizes")
def test_precision_is_obeyed(face: AvatarFace) -> None:
    told: list[str] = []
    open_model(
        dataclasses.replace(SETTINGS, precision="bf16"), None, face.avatar, face.cache.folder, FPS, 128, told.append
    )
    assert "bfloat16" in " ".join(told)


@pytest.mark.usefixtures("_small_sizes")
def test_avatars_that_are_open_at_once_share_nets(face: AvatarFace) -> None:
    def open_it(settings: MuseTalkSettings = SETTINGS, *, shares_nets: bool = True) -> MuseTalkModel:
        return open_model(settings, None, face.avatar, None, FPS, 128, str, shares_nets=shares_nets)

    first, second, third = open_it(), open_it(), open_it()
    assert second._generator is first._generator
    assert third._generator is first._generator
    assert open_it(shares_nets=False)._generator is not first._generator
    assert open_it(dataclasses.replace(SETTINGS, has_half_rate=True))._generator is not first._generator
    del first, second, third
    gc.collect()
    assert not factory._OPEN, "the nets go with the last that uses them"


@pytest.mark.usefixtures("_small_sizes")
def test_taesd_and_half_rate_are_obeyed(face: AvatarFace) -> None:
    settings = dataclasses.replace(SETTINGS, decoder="taesd", has_half_rate=True)
    model = open_for(face, settings, str)
    assert isinstance(model._generator._nets.decoder, TinyDecoder)
    assert model._face_batches._has_half_rate


@pytest.mark.usefixtures("_small_sizes")
def test_a_compiled_model_is_warmed_up_before_the_first_batch(
    face: AvatarFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "compile", lambda plain, **options: plain)
    monkeypatch.setattr(FaceBatchGenerator, "warm_up", lambda faces, batch_size: asked.append(batch_size) or True)
    told: list[str] = []
    settings = dataclasses.replace(SETTINGS, is_compiled=True, batch_size=5)
    open_for(face, settings, told.append)
    assert asked == [5]
    assert [line for line in told if line.startswith("warmed up for batches of up to 5 frames in ")]
    monkeypatch.setattr(FaceBatchGenerator, "warm_up", lambda faces, batch_size: False)
    open_for(face, settings, told.append)
    assert told[-2].startswith("not enough memory on cpu to warm up all batch sizes")


@pytest.mark.usefixtures("_small_sizes")
def test_the_expected_batch_sizes_are_warmed_up(face: AvatarFace, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, ...]] = []

    def choose(device: object, *, is_compiled: bool, expected_sizes: tuple[int, ...]) -> tuple[int, ...]:
        told.append(expected_sizes)
        return ()

    monkeypatch.setattr(forward_pass, "choose_sizes", choose)
    open_model(
        dataclasses.replace(SETTINGS, has_half_rate=True, batch_size=8),
        None,
        face.avatar,
        face.cache.folder,
        FPS,
        128,
        str,
    )
    assert told == [(1, 2, 3, 5)]


def test_a_gpus_memory_is_limited_to_the_fraction_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    capped: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: capped.append(given))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    for name in ("cuda:1", "cuda"):
        factory._prepare_device(dataclasses.replace(SETTINGS, memory_fraction=0.5), torch.device(name))
    assert capped == [(0.5, 1), (0.5, 3)]


def test_several_devices_are_checked_one_by_one(face: AvatarFace) -> None:
    if torch.cuda.device_count() > 7:
        pytest.skip("this computer has them")
    with pytest.raises(ModelError, match="cuda:0" if not torch.cuda.is_available() else "cuda:7"):
        open_model(
            dataclasses.replace(SETTINGS, device="cuda:0,7"), None, face.avatar, face.cache.folder, FPS, 128, str
        )


def test_a_device_that_is_not_there_is_an_error(face: AvatarFace) -> None:
    if torch.backends.mps.is_available():
        pytest.skip("this computer has it")
    with pytest.raises(ModelError, match="mps"):
        open_for(face, dataclasses.replace(SETTINGS, device="mps"), str)


def test_a_clone_makes_the_same_faces_in_other_frames() -> None:
    square, wide = draw_avatar(FrameSize(96, 96)), draw_avatar(FrameSize(128, 72))
    model, fresh = small_model(square, FPS, 96), small_model(wide, FPS, 72)
    clone = model.clone_for(wide, face_parts(wide), 72)
    features = np.random.default_rng(1).standard_normal((2, 10 * CONFIGS.whisper.num_levels * CONFIGS.whisper.dim + 1))
    features[:, -1] = 1
    images = tuple(wide.resized(72).frames.read([0, 0]))
    batch = FeatureBatch(features.astype(np.float32), range(2), np.zeros((3840, 1), np.int16), (0, 0), images)
    for made, wanted in zip(clone.make_faces(batch).faces, fresh.make_faces(batch).faces, strict=True):
        assert made.region == wanted.region
        np.testing.assert_allclose(made.planes.luma.astype(int), wanted.planes.luma, atol=1)
    assert clone.make_faces(batch).faces[0].region != model.make_faces(batch).faces[0].region
    model._feature_extractor.num_silent = 5
    assert model.clone_for(wide, face_parts(wide), 72).num_silent == 0


def test_a_clone_keeps_its_masks_and_its_blending() -> None:
    avatar = draw_avatar(FrameSize(96, 96))
    parts = face_parts(avatar)
    nets, latents = small_nets(), small_latents(avatar, parts)
    mask = np.zeros((64, 64), np.uint8)
    mask[40:] = 255
    masked = MuseTalkModel(nets, avatar, parts, latents, FPS, 96, None, masks=[mask])
    masking = UpstreamMasking(DrawnClasses(avatar, parts.boxes), MaskSettings())
    pasted = MuseTalkModel(nets, avatar, parts, latents, FPS, 96, None, upstream=masking)
    plain = MuseTalkModel(nets, avatar, parts, latents, FPS, 96, None)
    features = np.random.default_rng(1).standard_normal((1, 10 * CONFIGS.whisper.num_levels * CONFIGS.whisper.dim + 1))
    features[:, -1] = 1
    images = tuple(avatar.frames.read([0]))
    batch = FeatureBatch(features.astype(np.float32), range(1), np.zeros((1920, 1), np.int16), (0,), images)
    seen = []
    for model in (masked, pasted, plain):
        mine, theirs = model.make_faces(batch).faces[0], model.clone_for(avatar, parts, 96).make_faces(batch).faces[0]
        assert mine.region == theirs.region
        np.testing.assert_array_equal(mine.planes.luma, theirs.planes.luma)
        np.testing.assert_array_equal(np.asarray(mine.mask), np.asarray(theirs.mask))
        seen.append((mine.region, mine.mask is None))
    assert len(set(seen)) == 3


def test_sessions_of_two_avatars_share_the_nets_and_show_their_own_faces(face: AvatarFace, tmp_path: Path) -> None:
    nets = small_nets()
    model = MuseTalkModel(nets, face.avatar, face.parts, small_latents(face.avatar, face.parts), FPS, 128, None)
    image, landmarks = draw_face(own_gap=0.1)
    drawn = Avatar("drawn", StillFrames(image), None, (landmarks,))
    parts = face_parts(drawn)
    latents = small_latents(drawn, parts)
    other = model.clone_with(drawn, parts, latents, 128)
    assert other._generator is model._generator
    features = np.random.default_rng(1).normal(0, 1, (3, model.num_features)).astype(np.float32)
    features[:, -1] = 1.0
    shown = {model: face.avatar.resized(128), other: drawn.resized(128)}
    wanted = {model: model, other: MuseTalkModel(nets, drawn, parts, latents, FPS, 128, None)}
    batches = {
        each: FeatureBatch(
            features, range(3), np.zeros((5760, 1), np.int16), (0, 0, 0), tuple(avatar.frames.read([0, 0, 0]))
        )
        for each, avatar in shown.items()
    }
    sessions = [(each.clone(shares_batches=True), each) for each in (model, other, model, other)]
    with ThreadPoolExecutor(len(sessions)) as pool:
        made = list(pool.map(lambda session: session[0].make_faces(batches[session[1]]), sessions))
    for (_, each), batch in zip(sessions, made, strict=True):
        for mine, alone in zip(batch.faces, wanted[each].make_faces(batches[each]).faces, strict=True):
            assert mine.region == alone.region
            assert np.abs(mine.planes.luma.astype(int) - alone.planes.luma).max() <= 1
    with pytest.raises(AvatarError, match="latents"):
        model.clone_with(drawn, parts, latents[:0], 128)


def test_frames_without_a_face_are_neither_generated_nor_changed(folder: Path) -> None:
    avatar = open_avatar_folder(folder)
    area = Area.whole(avatar.width, avatar.height)
    visibility = Visibility(np.array([1, 0], np.float32), np.array([True, False]), area)
    partly = dataclasses.replace(avatar, visibility=visibility)
    parts, images = face_parts(partly), tuple(avatar.frames.read([0, 1]))
    model = small_model(partly, FPS, avatar.height, has_gate=False)
    clones = (model.clone(), model.clone_for(partly, parts, 64), model.clone_with(partly, parts, model._latents, 64))
    for each in (model, *clones):
        features = np.ones((2, each.num_features), np.float32)
        faces = each.make_faces(FeatureBatch(features, range(2), np.zeros((0, 1), np.int16), (0, 1), images)).faces
        assert faces[0].region != NO_REGION
        assert faces[1].region == NO_REGION
        assert faces[1].mask is not None
        assert not faces[1].mask.any()
        assert features.all(), "the caller's features were changed"
    avatar.close()


def test_bars_are_left_as_they_are(folder: Path) -> None:
    """Of a face that reaches to a bar, the mask would."""
    avatar = open_avatar_folder(folder)
    bottom = int(avatar.landmarks[0].oval[:, 1].max()) // 4 * 4
    area = Area(0, 0, avatar.width, bottom)
    visibility = Visibility(np.ones(2, np.float32), np.array([True, False]), area)
    partly = dataclasses.replace(avatar, visibility=visibility)
    parts, images = face_parts(partly), tuple(avatar.frames.read([0, 1]))
    model, half = small_model(partly, FPS, avatar.height, has_gate=False), avatar.height // 2
    clones = (
        model.clone(),
        model.clone_for(partly, parts, half),
        model.clone_with(partly, parts, model._latents, half),
    )
    for each, last in zip((model, *clones), (bottom, bottom, bottom // 2, bottom // 2), strict=True):
        features = np.ones((2, each.num_features), np.float32)
        faces = each.make_faces(FeatureBatch(features, range(2), np.zeros((0, 1), np.int16), (0, 1), images)).faces
        assert all(face.region != NO_REGION and face.region.top + face.region.height <= last for face in faces)
    avatar.close()


def test_at_half_rate_no_face_is_the_mean_of_two_shots(folder: Path) -> None:
    avatar = open_avatar_folder(folder)
    area = Area.whole(avatar.width, avatar.height)
    cut = dataclasses.replace(avatar, visibility=Visibility(np.ones(2, np.float32), np.array([True, True]), area))
    parts, frames = face_parts(cut), (0, 0, 1, 1)
    every, model = (small_model(cut, FPS, avatar.height, has_gate=False, has_half_rate=half) for half in (False, True))
    features = np.random.default_rng(1).normal(0, 1, (4, model.num_features)).astype(np.float32)
    features[:, -1] = 1
    batch = FeatureBatch(features, range(4), np.zeros((0, 1), np.int16), frames, tuple(avatar.frames.read(frames)))
    wanted = every.make_faces(batch).faces
    for each in (model, model.clone(), model.clone_with(cut, parts, model._latents, avatar.height)):
        for mine, alone in zip(each.make_faces(batch).faces, wanted, strict=True):
            assert np.abs(mine.planes.luma.astype(int) - alone.planes.luma).max() <= 1
    avatar.close()
