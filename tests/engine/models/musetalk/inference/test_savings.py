"""Work that is done once instead of per frame gives the same faces, and takes fewer operations."""

from __future__ import annotations

import dataclasses
import itertools
import logging

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'musetalk[neural]'")

from fixtures.small_nets import CONFIGS, CPU, noise, relative_error  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import build, random_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.audio_kv import Sounds, find_different  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.prefix_cache import Views  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.positional_encoding import position_code  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.unet import View  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.upsampling import choose_phases, pick_faster  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.vae import VaeDecoder  # noqa: E402

UNET, LEVELS = CONFIGS.unet, CONFIGS.whisper.num_levels
LATENTS = noise(4, 8, 32, 32)


@pytest.fixture(scope="module")
def unet():
    return random_nets("1.5", CPU, seed=2, configs=CONFIGS).unet


class Looks:
    """``look``, with a note of how many frames were looked at each time."""

    def __init__(self, unet) -> None:
        self.counts: list[int] = []
        self._unet = unet

    def __call__(self, latents) -> View:
        self.counts.append(len(latents))
        return self._unet.look(latents)


def bytes_per_frame(unet) -> int:
    view = unet.look(LATENTS[:1])
    return sum(part.nbytes for part in (view.entry, *view.looked))


def assert_same(mine: View, wanted: View) -> None:
    for part, other in zip((mine.entry, *mine.looked), (wanted.entry, *wanted.looked), strict=True):
        assert relative_error(part, other) < 1e-5


def test_a_frame_is_looked_at_once_and_gives_the_same(unet) -> None:
    looks = Looks(unet)
    views = Views(looks, LATENTS, torch.from_numpy)
    for indices in ([0, 1, 1], [2, 1], [3, 2, 1, 0]):
        assert_same(views.pick(indices), unet.look(LATENTS[indices]))
    assert looks.counts == [2, 1, 1]


def test_no_more_frames_are_kept_than_there_is_memory_for(unet) -> None:
    looks = Looks(unet)
    views = Views(looks, LATENTS, torch.from_numpy, limit_bytes=2 * bytes_per_frame(unet) + 1)
    for _ in range(2):
        for indices in ([0], [1], [2, 3], [1, 2]):
            assert_same(views.pick(indices), unet.look(LATENTS[indices]))
    assert looks.counts == [1, 1, 2, 2, 2, 2]


def test_without_memory_nothing_is_kept(unet) -> None:
    looks = Looks(unet)
    views = Views(looks, LATENTS, torch.from_numpy, limit_bytes=0)
    assert_same(views.pick([0, 1]), unet.look(LATENTS[:2]))
    assert looks.counts == [2]
    views.fill()
    assert len(views.pick([0]).entry) == 1


def test_where_memory_for_keeping_is_missing_nothing_is_kept(
    unet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    looks = Looks(unet)
    views = Views(looks, LATENTS, torch.from_numpy)
    monkeypatch.setattr(torch.Tensor, "new_empty", fail)
    with caplog.at_level(logging.WARNING):
        views.fill()
        looks.counts.clear()
        for _ in range(2):
            assert_same(views.pick([0, 1]), unet.look(LATENTS[:2]))
    assert looks.counts == [2, 2]
    assert len(caplog.records) == 1
    assert "not enough memory to keep" in caplog.text


@pytest.mark.parametrize("num_kept", [0.5, 1])
def test_a_batch_larger_than_what_can_be_kept_is_looked_at_once(unet, num_kept: float) -> None:
    looks = Looks(unet)
    views = Views(looks, LATENTS, torch.from_numpy, limit_bytes=int(num_kept * bytes_per_frame(unet)))
    for _ in range(3):
        assert_same(views.pick([0, 1]), unet.look(LATENTS[:2]))
    assert looks.counts == [2] * 4  # the first time to learn how much memory a frame takes


def test_all_that_can_be_kept_may_be_looked_at_beforehand(unet) -> None:
    looks = Looks(unet)
    views = Views(looks, LATENTS, torch.from_numpy)
    views.fill()
    looks.counts.clear()
    assert_same(views.pick([3, 0]), unet.look(LATENTS[[3, 0]]))
    assert looks.counts == []


def test_a_batch_with_a_frame_that_is_not_kept_is_the_same(unet) -> None:
    views = Views(unet.look, LATENTS, torch.from_numpy, limit_bytes=bytes_per_frame(unet))
    views.pick([2])
    assert_same(views.pick([2, 0]), unet.look(LATENTS[[2, 0]]))


def test_the_kept_view_of_a_frame_is_laid_out_as_the_nets_want_it(unet) -> None:
    views = Views(unet.look, LATENTS, torch.from_numpy)
    for _ in range(2):
        picked = views.pick([0, 2])
        assert picked.entry.is_contiguous(memory_format=torch.channels_last)
        assert picked.looked.image.is_contiguous(memory_format=torch.channels_last)


def test_steps_that_frames_share_are_projected_once(unet) -> None:
    steps = noise(12, LEVELS * UNET.audio_dim).numpy()
    features = np.stack([steps[first : first + 10].reshape(-1) for first in (0, 2, 2)])
    sizes: list[int] = []
    audio_blocks = Sounds(unet, LEVELS)

    def upload(array: np.ndarray):
        sizes.append(len(array))
        return torch.from_numpy(array)

    mine = audio_blocks.hear(features, upload)
    tokens = torch.from_numpy(features).view(3, -1, UNET.audio_dim) + position_code(10 * LEVELS, UNET.audio_dim)
    assert relative_error(mine, unet.project(tokens)) < 1e-6
    assert sizes == [12, 30]
    assert torch.equal(audio_blocks.hear(features, upload), mine)


def test_different_rows_are_found_in_their_order() -> None:
    rows = np.array([[1, 2], [0, 0], [1, 2], [3, 1], [0, 0]], np.float32)
    different, which = find_different(rows)
    assert different.tolist() == [[1, 2], [0, 0], [3, 1]]
    assert which.tolist() == [0, 1, 0, 2, 1]


def test_the_faster_upsampling_is_taken_shape_by_shape() -> None:
    asked: list[tuple[str, tuple[int, ...]]] = []

    def timer(layer, x) -> float:
        asked.append((type(layer).__name__, tuple(x.shape[1:])))
        return {"Upsample": 2.0, "PhaseUpsample": float(x.shape[2])}[type(layer).__name__]

    assert pick_faster([(4, 1), (6, 3)], torch.device("cpu"), torch.float32, timer) == (True, False)
    assert asked == [
        ("Upsample", (4, 1, 1)),
        ("PhaseUpsample", (4, 1, 1)),
        ("Upsample", (6, 3, 3)),
        ("PhaseUpsample", (6, 3, 3)),
    ]


@pytest.mark.parametrize("on_cpu", [True, False])
def test_on_a_cpu_nothing_is_timed(on_cpu: bool) -> None:
    choice = choose_phases(((8, 32), (8, 64)), torch.device("cpu"), torch.float32, on_cpu)
    assert choice == (on_cpu, on_cpu)


def test_the_nets_are_built_with_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    from musetalk_cli.engine.models.musetalk.checkpoints import loading

    asked = []

    def choose(shapes, device, dtype, on_cpu):
        asked.append(shapes)
        return (False, True, False)

    monkeypatch.setattr(loading, "choose_phases", choose)
    nets = random_nets("1.5", CPU, seed=2, configs=CONFIGS)
    assert nets.unet.config.has_phases == nets.decoder.config.has_phases == (False, True, False)
    assert asked == [((32, 4), (32, 8), (24, 16)), ((16, 32), (16, 64), (16, 128))]
    other = build(VaeDecoder, dataclasses.replace(CONFIGS.vae, is_folded=True))
    assert nets.decoder.state_dict().keys() == other.state_dict().keys()


def test_every_saving_takes_operations_away() -> None:
    from fixtures.operations import count_all

    totals = [count.total for count in count_all(CONFIGS)][:-1]
    assert all(after < before for before, after in itertools.pairwise(totals))
