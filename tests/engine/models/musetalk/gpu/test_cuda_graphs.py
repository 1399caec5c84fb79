"""On a CUDA device: captured, padded and copied meanwhile, faces are those of eager calls."""

from __future__ import annotations

import logging

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from fixtures.small_nets import CONFIGS, noise, small_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.audio.whisper_features import WhisperFeatureEncoder  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import Precision, random_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.cuda_graphs import CudaGraphs  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_batches import expected_sizes  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator  # noqa: E402

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.timeout(240),
]

LATENTS = noise(3, 8, 32, 32, seed=5)
FRAMES = [0, 1, 2, 1, 0]


@pytest.fixture
def features() -> np.ndarray:
    return noise(5, 10 * CONFIGS.whisper.num_levels * CONFIGS.unet.audio_dim, seed=4).numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_captured_faces_are_those_of_a_cpu(
    features: np.ndarray, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    cpu = FaceGenerator(small_nets())
    wanted = cpu.generate(LATENTS[FRAMES], features)
    generator = FaceGenerator(random_nets("1.5", Precision(torch.device("cuda"), dtype), seed=2, configs=CONFIGS))
    prefix_cache = generator.build_prefix_cache(LATENTS)
    eager = generator.submit(prefix_cache, FRAMES, features).collect()
    with caplog.at_level(logging.WARNING):
        generator.warm_up(prefix_cache, generator.sizes_up_to(5))
    captured = generator.submit(prefix_cache, FRAMES, features).collect()
    assert caplog.records == []
    assert np.abs(captured.astype(int) - eager).max() <= 1
    assert np.abs(eager.astype(int) - wanted).mean() < 1.0


def test_two_captured_batches_do_not_overwrite_each_other(features: np.ndarray) -> None:
    nets = random_nets("1.5", Precision(torch.device("cuda"), torch.float32), seed=2, configs=CONFIGS)
    generator = FaceGenerator(nets)
    prefix_cache = generator.build_prefix_cache(LATENTS)
    generator.warm_up(prefix_cache, [1, 2])
    alone = [generator.submit(prefix_cache, [frame], features[frame : frame + 1]).collect() for frame in range(3)]
    together = [generator.submit(prefix_cache, [frame], features[frame : frame + 1]) for frame in range(3)]
    for mine, wanted in zip(together, alone, strict=True):
        np.testing.assert_array_equal(mine.collect(), wanted)


def test_a_function_that_waits_for_the_device_is_not_captured(caplog: pytest.LogCaptureFixture) -> None:
    graphs = CudaGraphs(lambda x: x * float(x.sum()), torch.device("cuda"))
    x = torch.ones(3, device="cuda")
    with caplog.at_level(logging.WARNING):
        graphs.capture(x)
    assert len(caplog.records) == 1
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert graphs(x).tolist() == [3.0, 3.0, 3.0]


def test_after_a_failed_capture_memory_that_two_streams_have_used_is_freed() -> None:
    graphs = CudaGraphs(lambda x: x * float(x.sum()), torch.device("cuda"))
    graphs.capture(torch.ones(3, device="cuda"))
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    before = torch.cuda.memory_stats()["active_bytes.all.current"]
    for _ in range(4):
        x = torch.ones(1 << 20, device="cuda")
        x.record_stream(side)
        del x
        torch.cuda.synchronize()
    torch.ones(1, device="cuda")  # PyTorch frees such memory at the next allocation
    assert torch.cuda.memory_stats()["active_bytes.all.current"] <= before + (1 << 20)


def test_at_half_rate_faces_are_those_of_eager_calls(features: np.ndarray) -> None:
    nets = random_nets("1.5", Precision(torch.device("cuda"), torch.float32), seed=2, configs=CONFIGS)
    generator = FaceGenerator(nets, expected_sizes=expected_sizes(8, has_half_rate=True))
    prefix_cache = generator.build_prefix_cache(LATENTS)
    eager = generator.submit(prefix_cache, FRAMES, features).collect()
    assert generator.warm_up(prefix_cache, generator.sizes_up_to(8))
    captured = generator.submit(prefix_cache, FRAMES, features).collect()
    assert np.abs(captured.astype(int) - eager).max() <= 1


def test_whisper_encodes_the_same_on_its_own_stream() -> None:
    audio = noise(16_000, seed=7).numpy() / 10
    encoders = [
        WhisperFeatureEncoder(
            random_nets("1.5", Precision(device, torch.float32), 2, CONFIGS).whisper, is_version_1_0=False
        )
        for device in (torch.device("cpu"), torch.device("cuda"))
    ]
    mine, wanted = (encoder.encode(audio) for encoder in encoders[::-1])
    np.testing.assert_allclose(mine, wanted, atol=1e-3)
