"""Batches of fixed sizes, replicas, compilation and CUDA graphs."""

from __future__ import annotations

import gc
import logging
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from fixtures.small_nets import CONFIGS, CPU, FixedSizeForwardPass, noise, small_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import Nets, random_nets, replicate_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference import face_generator, forward_pass  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.cuda_graphs import CudaGraphs  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.forward_pass import ForwardPass  # noqa: E402

STEP_DIM = CONFIGS.whisper.num_levels * CONFIGS.unet.audio_dim
LATENTS = noise(3, 8, 8, 8, seed=5)


@pytest.fixture(scope="module")
def nets() -> Nets:
    return small_nets()


@pytest.fixture
def features() -> np.ndarray:
    return noise(7, 10 * STEP_DIM, seed=4).numpy()


@pytest.fixture
def fixed(nets: Nets, monkeypatch: pytest.MonkeyPatch) -> FaceGenerator:
    monkeypatch.setattr(face_generator, "ForwardPass", FixedSizeForwardPass)
    FixedSizeForwardPass.run_sizes, FixedSizeForwardPass.warm_sizes = [], []
    return FaceGenerator(nets)


def differ(mine: np.ndarray, wanted: np.ndarray) -> int:
    assert mine.shape == wanted.shape
    return int(np.abs(mine.astype(int) - wanted).max())


def test_batches_are_padded_to_fixed_sizes(nets: Nets, fixed: FaceGenerator, features: np.ndarray) -> None:
    frames = [0, 1, 2, 1, 0, 1, 2]
    wanted = FaceGenerator(nets).generate(LATENTS[frames], features)
    FixedSizeForwardPass.run_sizes = []
    prefix_cache = fixed.build_prefix_cache(LATENTS)
    assert differ(fixed.submit(prefix_cache, frames, features).collect(), wanted) <= 1
    assert FixedSizeForwardPass.run_sizes == [4, 4]
    assert differ(fixed.submit(prefix_cache, frames[:2], features[:2]).collect(), wanted[:2]) <= 1
    assert FixedSizeForwardPass.run_sizes == [4, 4, 2]


def test_every_size_that_can_occur_is_warmed_up(fixed: FaceGenerator) -> None:
    fixed.warm_up(fixed.build_prefix_cache(LATENTS), fixed.sizes_up_to(3))
    assert FixedSizeForwardPass.warm_sizes == [4, 2, 1]
    FixedSizeForwardPass.warm_sizes = []
    assert fixed.warm_up(fixed.build_prefix_cache(LATENTS), fixed.sizes_up_to(2))
    assert FixedSizeForwardPass.warm_sizes == [2, 1]


def test_sizes_without_memory_do_not_prevent_the_others_from_warming_up(
    fixed: FaceGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready: list[int] = []

    def warm_up(forward_pass, prefix, audio_kv) -> None:
        if len(audio_kv) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        ready.append(len(audio_kv))

    monkeypatch.setattr(FixedSizeForwardPass, "warm_up", warm_up)
    assert not fixed.warm_up(fixed.build_prefix_cache(LATENTS), (1, 2, 4))
    assert ready == [2, 1]


def test_a_replica_on_another_device_takes_no_memory_on_the_first(nets: Nets) -> None:
    made: list[torch.Tensor] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            made.extend([result] if isinstance(result, torch.Tensor) else [])
            return result

    own = {tensor.data_ptr() for net in (nets.unet, nets.decoder) for tensor in net.state_dict().values()}
    with Watch():
        replica = replicate_nets(nets, torch.device("meta"))
    assert {tensor.data_ptr() for tensor in made if tensor.device.type == "cpu"} <= own
    assert all(tensor.is_meta for net in (replica.unet, replica.decoder) for tensor in net.state_dict().values())
    assert replica.whisper is nets.whisper


@pytest.mark.parametrize("is_tiny", [False, True])
def test_a_replica_generates_the_same_and_shares_no_weights(features: np.ndarray, is_tiny: bool) -> None:
    nets = random_nets("1.5", CPU, seed=2, configs=CONFIGS, is_tiny=is_tiny)
    replica = replicate_nets(nets, torch.device("cpu"))
    wanted = FaceGenerator(nets).generate(LATENTS[:2], features[:2])
    for tensor in (*nets.unet.parameters(), *nets.decoder.parameters()):
        tensor.data.zero_()
    np.testing.assert_array_equal(FaceGenerator(replica).generate(LATENTS[:2], features[:2]), wanted)


def test_two_batches_can_be_pending(nets: Nets, features: np.ndarray) -> None:
    generator = FaceGenerator(nets)
    prefix_cache = generator.build_prefix_cache(LATENTS)
    first = generator.submit(prefix_cache, [0, 1], features[:2])
    second = generator.submit(prefix_cache, [2, 0], features[2:4])
    wanted = generator.generate(LATENTS[[0, 1, 2, 0]], features[:4])
    assert differ(second.collect(), wanted[2:]) <= 1
    assert differ(first.collect(), wanted[:2]) <= 1


def test_the_memory_of_unused_nets_is_freed_at_once() -> None:
    """On a GPU it is too much to wait for the garbage collector."""
    nets = small_nets()
    unused = ForwardPass(nets, torch.device("cuda"), is_compiled=False)
    unet = weakref.ref(nets.unet)
    gc.disable()
    try:
        del nets, unused
        assert unet() is None
    finally:
        gc.enable()


def test_a_capture_that_fails_is_logged_once_and_runs_eagerly(caplog: pytest.LogCaptureFixture) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    graphs = CudaGraphs(lambda x, y: x + y, torch.device("cuda"))
    with caplog.at_level(logging.WARNING):
        graphs.capture(noise(2), noise(2))
        graphs.capture(noise(3), noise(3))
    assert len(caplog.records) == 1
    assert "CUDA graphs cannot be used on cuda" in caplog.text
    assert torch.equal(graphs(torch.ones(2), torch.ones(2)), torch.full((2,), 2.0))


def test_a_compilation_that_fails_is_logged_and_runs_eagerly(
    nets: Nets, features: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_to_compile(eager, **options):
        def fail(*args):
            raise RuntimeError("no compiler\nand much more")

        return fail

    monkeypatch.setattr(forward_pass.torch, "compile", fail_to_compile)
    generator = FaceGenerator(nets, is_compiled=True)
    with caplog.at_level(logging.WARNING):
        faces = generator.generate(LATENTS[:2], features[:2])
        generator.generate(LATENTS[:2], features[:2])
    assert [record.getMessage() for record in caplog.records] == [
        "the nets cannot be compiled here, which makes them slower: no compiler"
    ]
    assert differ(faces, FaceGenerator(nets).generate(LATENTS[:2], features[:2])) <= 1
