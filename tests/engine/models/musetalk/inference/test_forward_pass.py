"""Batches of fixed sizes, several devices, compiling and recording: everything around the nets' arithmetic."""

from __future__ import annotations

import gc
import logging
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'musetalk[neural]'")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from fixtures.small_nets import CONFIGS, CPU, noise  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import Nets, copy_nets, random_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.placement import Placements  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference import face_generator as painting  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference import forward_pass as drawing  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.cuda_graphs import Graphs  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_batches import FaceMaker, asked_sizes, choose_painted  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_generator import FacePainter  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.forward_pass import CUDA_SIZES, Drawing, choose_sizes  # noqa: E402

STEP_DIM = CONFIGS.whisper.num_levels * CONFIGS.unet.audio_dim
LATENTS = noise(3, 8, 8, 8, seed=5)


@pytest.fixture(scope="module")
def nets() -> Nets:
    return random_nets("1.5", CPU, seed=2, configs=CONFIGS)


@pytest.fixture
def features() -> np.ndarray:
    return noise(7, 10 * STEP_DIM, seed=4).numpy()


class FixedDrawing(Drawing):
    """As on a CUDA device: only some sizes, each made ready first."""

    made: list[int] = []  # noqa: RUF012 - of the test that set it
    ready: list[int] = []  # noqa: RUF012

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.sizes = (1, 2, 4)

    def draw(self, view, audio):
        assert len(view.entry) == len(audio)
        FixedDrawing.made.append(len(audio))
        return super().draw(view, audio)

    def warm_up(self, view, audio) -> None:
        FixedDrawing.ready.append(len(audio))
        super().warm_up(view, audio)


@pytest.fixture
def fixed(nets: Nets, monkeypatch: pytest.MonkeyPatch) -> FacePainter:
    monkeypatch.setattr(painting, "Drawing", FixedDrawing)
    FixedDrawing.made, FixedDrawing.ready = [], []
    return FacePainter(nets)


def differ(mine: np.ndarray, wanted: np.ndarray) -> int:
    assert mine.shape == wanted.shape
    return int(np.abs(mine.astype(int) - wanted).max())


def test_batches_are_filled_up_to_fixed_sizes(nets: Nets, fixed: FacePainter, features: np.ndarray) -> None:
    frames = [0, 1, 2, 1, 0, 1, 2]
    wanted = FacePainter(nets).paint(LATENTS[frames], features)
    FixedDrawing.made = []
    views = fixed.watch(LATENTS)
    assert differ(fixed.submit(views, frames, features).collect(), wanted) <= 1
    assert FixedDrawing.made == [4, 4]
    assert differ(fixed.submit(views, frames[:2], features[:2]).collect(), wanted[:2]) <= 1
    assert FixedDrawing.made == [4, 4, 2]


def test_every_size_that_can_come_is_made_ready(fixed: FacePainter) -> None:
    fixed.warm_up(fixed.watch(LATENTS), fixed.sizes_up_to(3))
    assert FixedDrawing.ready == [4, 2, 1]
    FixedDrawing.ready = []
    assert fixed.warm_up(fixed.watch(LATENTS), fixed.sizes_up_to(2))
    assert FixedDrawing.ready == [2, 1]


def test_sizes_without_memory_do_not_keep_the_others_from_being_ready(
    fixed: FacePainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready: list[int] = []

    def warm_up(drawing, view, audio) -> None:
        if len(audio) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        ready.append(len(audio))

    monkeypatch.setattr(FixedDrawing, "warm_up", warm_up)
    assert not fixed.warm_up(fixed.watch(LATENTS), (1, 2, 4))
    assert ready == [2, 1]


@pytest.mark.parametrize(
    ("batch_size", "has_half_rate", "asked"),
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
def test_the_sizes_that_will_be_asked_for_are_known(
    batch_size: int, has_half_rate: bool, asked: tuple[int, ...]
) -> None:
    assert asked_sizes(batch_size, has_half_rate=has_half_rate) == asked
    on_cuda = choose_sizes(torch.device("cuda"), is_compiled=False, asked_sizes=asked)
    assert {*CUDA_SIZES, *asked} == {*on_cuda}
    assert list(on_cuda) == sorted(on_cuda)
    assert choose_sizes(torch.device("cpu"), is_compiled=False, asked_sizes=asked) == ()
    assert choose_sizes(torch.device("cpu"), is_compiled=True, asked_sizes=asked) == (1,)


def test_a_batch_at_half_rate_is_not_filled_up(
    nets: Nets, features: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CudaDrawing(FixedDrawing):
        def __init__(self, *args, **options) -> None:
            super().__init__(*args, **options)
            self.sizes = choose_sizes(torch.device("cuda"), **options)

    monkeypatch.setattr(painting, "Drawing", CudaDrawing)
    FixedDrawing.made, FixedDrawing.ready = [], []
    painter = FacePainter(nets, asked_sizes=asked_sizes(8, has_half_rate=True))
    half = maker([painter], has_half_rate=True)
    batch = weighed(np.concatenate([features, features[:1]]), [1] * 8)
    assert len(half.make(batch, [0] * 8)) == 8
    half.make(batch[:4], [0] * 4)
    assert FixedDrawing.made == [5, 3]
    assert half.warm_up(8)
    assert FixedDrawing.ready == [8, 5, 4, 3, 2, 1]


def test_a_copy_on_another_device_takes_nothing_on_the_first(nets: Nets) -> None:
    made: list[torch.Tensor] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            made.extend([result] if isinstance(result, torch.Tensor) else [])
            return result

    own = {tensor.data_ptr() for net in (nets.unet, nets.decoder) for tensor in net.state_dict().values()}
    with Watch():
        twin = copy_nets(nets, torch.device("meta"))
    assert {tensor.data_ptr() for tensor in made if tensor.device.type == "cpu"} <= own
    assert all(tensor.is_meta for net in (twin.unet, twin.decoder) for tensor in net.state_dict().values())
    assert twin.whisper is nets.whisper


@pytest.mark.parametrize("is_tiny", [False, True])
def test_a_copy_paints_the_same_and_is_its_own(features: np.ndarray, is_tiny: bool) -> None:
    nets = random_nets("1.5", CPU, seed=2, configs=CONFIGS, is_tiny=is_tiny)
    twin = copy_nets(nets, torch.device("cpu"))
    wanted = FacePainter(nets).paint(LATENTS[:2], features[:2])
    for tensor in (*nets.unet.parameters(), *nets.decoder.parameters()):
        tensor.data.zero_()
    np.testing.assert_array_equal(FacePainter(twin).paint(LATENTS[:2], features[:2]), wanted)


def test_two_batches_can_be_under_way(nets: Nets, features: np.ndarray) -> None:
    painter = FacePainter(nets)
    views = painter.watch(LATENTS)
    first = painter.submit(views, [0, 1], features[:2])
    second = painter.submit(views, [2, 0], features[2:4])
    wanted = painter.paint(LATENTS[[0, 1, 2, 0]], features[:4])
    assert differ(second.collect(), wanted[2:]) <= 1
    assert differ(first.collect(), wanted[:2]) <= 1


def maker(painters: list[FacePainter], *, has_half_rate: bool = False) -> FaceMaker:
    boxes = np.array([[4, 4, 40, 44]] * 3, np.int32)
    masks = np.full((3, 40, 36), 255, np.uint8)
    return FaceMaker(painters[0], LATENTS, Placements(boxes, masks), others=painters[1:], has_half_rate=has_half_rate)


def weighed(features: np.ndarray, weights: list[float]) -> np.ndarray:
    return np.concatenate([features, np.array(weights, np.float32)[:, None]], axis=1)


def test_batches_are_dealt_to_devices_in_turn(
    nets: Nets, features: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    painters = [FacePainter(nets), FacePainter(copy_nets(nets, torch.device("cpu")))]
    asked: list[int] = []
    for number, painter in enumerate(painters):
        submit = painter.submit

        def note(*args, number=number, submit=submit):
            asked.append(number)
            return submit(*args)

        monkeypatch.setattr(painter, "submit", note)
    both, alone = maker(painters), maker([FacePainter(nets)])
    for frames in ([0, 1], [2, 0], [1, 2]):
        batch = weighed(features[:2], [1, 1])
        for mine, wanted in zip(both.make(batch, frames), alone.make(batch, frames), strict=True):
            np.testing.assert_array_equal(mine.planes.luma, wanted.planes.luma)
    assert asked == [0, 1, 0]


def test_an_avatar_frame_is_looked_at_once_in_a_run(
    nets: Nets, features: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    look = nets.unet.look
    monkeypatch.setattr(nets.unet, "look", lambda latents: looked.append(len(latents)) or look(latents))
    cycle = maker([FacePainter(nets)])
    for frames in ([0, 1], [2, 1], [0, 0]):
        cycle.make(weighed(features[:2], [1, 1]), frames)
    assert looked == [2, 1]


@pytest.mark.parametrize(
    ("rows", "painted"),
    [([], []), ([3], [3]), ([0, 1], [0, 1]), ([0, 1, 2], [0, 2]), ([0, 1, 2, 3], [0, 2, 3]), ([0, 2, 3, 4], [0, 2, 4])],
)
def test_at_half_rate_every_second_of_a_run_is_painted(rows: list[int], painted: list[int]) -> None:
    assert choose_painted(rows) == painted


def test_at_half_rate_faces_between_are_the_mean_of_their_neighbours(nets: Nets, features: np.ndarray) -> None:
    batch = weighed(features, [1, 1, 1, 0, 1, 1, 0.5])
    frames = [0] * 7
    whole = maker([FacePainter(nets)]).make(batch, frames)
    half = maker([FacePainter(nets)], has_half_rate=True)
    halved = half.make(batch, frames)
    for row in (0, 2, 4, 6):
        assert differ(halved[row].planes.luma, whole[row].planes.luma) <= 1
    mean = (whole[0].planes.luma.astype(int) + whole[2].planes.luma) / 2
    assert np.abs(halved[1].planes.luma - mean).max() <= 3
    assert differ(halved[1].planes.luma, whole[1].planes.luma) > 10
    for mine, again in zip(halved, half.make(batch, frames), strict=True):
        np.testing.assert_array_equal(mine.planes.luma, again.planes.luma)


def test_the_memory_of_nets_that_nobody_uses_is_given_back_at_once() -> None:
    """On a GPU it is more than can wait for the garbage collector."""
    nets = random_nets("1.5", CPU, seed=2, configs=CONFIGS)
    drawing = Drawing(nets, torch.device("cuda"), is_compiled=False)
    unet = weakref.ref(nets.unet)
    gc.disable()
    try:
        del nets, drawing
        assert unet() is None
    finally:
        gc.enable()


def test_recording_that_fails_is_said_once_and_done_without(caplog: pytest.LogCaptureFixture) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    graphs = Graphs(lambda x, y: x + y, torch.device("cuda"))
    with caplog.at_level(logging.WARNING):
        graphs.record(noise(2), noise(2))
        graphs.record(noise(3), noise(3))
    assert len(caplog.records) == 1
    assert "CUDA graphs cannot be used on cuda" in caplog.text
    assert torch.equal(graphs(torch.ones(2), torch.ones(2)), torch.full((2,), 2.0))


def test_what_cannot_be_compiled_is_said_and_runs_uncompiled(
    nets: Nets, features: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def compile_badly(plain, **options):
        def fail(*args):
            raise RuntimeError("no compiler\nand much more")

        return fail

    monkeypatch.setattr(drawing.torch, "compile", compile_badly)
    painter = FacePainter(nets, is_compiled=True)
    with caplog.at_level(logging.WARNING):
        faces = painter.paint(LATENTS[:2], features[:2])
        painter.paint(LATENTS[:2], features[:2])
    assert [record.getMessage() for record in caplog.records] == [
        "the nets cannot be compiled here, which makes them slower: no compiler"
    ]
    assert differ(faces, FacePainter(nets).paint(LATENTS[:2], features[:2])) <= 1
