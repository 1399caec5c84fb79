"""What only a CUDA device can show: recorded, filled up and copied meanwhile, faces are those of plain calls."""

from __future__ import annotations

import logging

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'musetalk[neural]'")

from fixtures.small_nets import CONFIGS, CPU, noise  # noqa: E402
from musetalk_cli.engine.models.musetalk.audio.whisper_features import WhisperListener  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import Precision, random_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.cuda_graphs import Graphs  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_batches import asked_sizes  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_generator import FacePainter  # noqa: E402

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
def test_recorded_faces_are_those_of_a_cpu(
    features: np.ndarray, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    cpu = FacePainter(random_nets("1.5", CPU, seed=2, configs=CONFIGS))
    wanted = cpu.paint(LATENTS[FRAMES], features)
    painter = FacePainter(random_nets("1.5", Precision(torch.device("cuda"), dtype), seed=2, configs=CONFIGS))
    views = painter.watch(LATENTS)
    eager = painter.submit(views, FRAMES, features).collect()
    with caplog.at_level(logging.WARNING):
        painter.warm_up(views, painter.sizes_up_to(5))
    recorded = painter.submit(views, FRAMES, features).collect()
    assert caplog.records == []
    assert np.abs(recorded.astype(int) - eager).max() <= 1
    assert np.abs(eager.astype(int) - wanted).mean() < 1.0


def test_two_recorded_batches_do_not_disturb_each_other(features: np.ndarray) -> None:
    nets = random_nets("1.5", Precision(torch.device("cuda"), torch.float32), seed=2, configs=CONFIGS)
    painter = FacePainter(nets)
    views = painter.watch(LATENTS)
    painter.warm_up(views, [1, 2])
    alone = [painter.submit(views, [frame], features[frame : frame + 1]).collect() for frame in range(3)]
    together = [painter.submit(views, [frame], features[frame : frame + 1]) for frame in range(3)]
    for mine, wanted in zip(together, alone, strict=True):
        np.testing.assert_array_equal(mine.collect(), wanted)


def test_a_function_that_waits_for_the_device_is_not_recorded(caplog: pytest.LogCaptureFixture) -> None:
    graphs = Graphs(lambda x: x * float(x.sum()), torch.device("cuda"))
    x = torch.ones(3, device="cuda")
    with caplog.at_level(logging.WARNING):
        graphs.record(x)
    assert len(caplog.records) == 1
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert graphs(x).tolist() == [3.0, 3.0, 3.0]


def test_behind_a_failed_recording_memory_that_two_streams_have_used_is_given_back() -> None:
    graphs = Graphs(lambda x: x * float(x.sum()), torch.device("cuda"))
    graphs.record(torch.ones(3, device="cuda"))
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    before = torch.cuda.memory_stats()["active_bytes.all.current"]
    for _ in range(4):
        x = torch.ones(1 << 20, device="cuda")
        x.record_stream(side)
        del x
        torch.cuda.synchronize()
    torch.ones(1, device="cuda")  # only what allocates looks for what may be given back
    assert torch.cuda.memory_stats()["active_bytes.all.current"] <= before + (1 << 20)


def test_at_half_rate_faces_are_those_of_plain_calls(features: np.ndarray) -> None:
    nets = random_nets("1.5", Precision(torch.device("cuda"), torch.float32), seed=2, configs=CONFIGS)
    painter = FacePainter(nets, asked_sizes=asked_sizes(8, has_half_rate=True))
    views = painter.watch(LATENTS)
    eager = painter.submit(views, FRAMES, features).collect()
    assert painter.warm_up(views, painter.sizes_up_to(8))
    recorded = painter.submit(views, FRAMES, features).collect()
    assert np.abs(recorded.astype(int) - eager).max() <= 1


def test_whisper_hears_the_same_beside_the_faces() -> None:
    audio = noise(16_000, seed=7).numpy() / 10
    heard = [
        WhisperListener(random_nets("1.5", Precision(device, torch.float32), 2, CONFIGS).whisper, is_original=False)
        for device in (torch.device("cpu"), torch.device("cuda"))
    ]
    mine, wanted = (listener.listen(audio) for listener in heard[::-1])
    np.testing.assert_allclose(mine, wanted, atol=1e-3)
