"""Each of Whisper's steps is projected once, and frames that share it have the same keys and values."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from fixtures.small_nets import CONFIGS, noise, relative_error, small_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.audio_kv import AudioKVProjector, find_unique_rows  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.unet import positional_encoding  # noqa: E402

UNET, LEVELS = CONFIGS.unet, CONFIGS.whisper.num_levels


@pytest.fixture(scope="module")
def unet():
    return small_nets().unet


def test_steps_that_frames_share_are_projected_once(unet) -> None:
    steps = noise(12, LEVELS * UNET.audio_dim).numpy()
    features = np.stack([steps[first : first + 10].reshape(-1) for first in (0, 2, 2)])
    sizes: list[int] = []
    projector = AudioKVProjector(unet, LEVELS)

    def upload(array: np.ndarray):
        sizes.append(len(array))
        return torch.from_numpy(array)

    mine = projector.project(features, upload)
    tokens = torch.from_numpy(features).view(3, -1, UNET.audio_dim) + positional_encoding(10 * LEVELS, UNET.audio_dim)
    assert relative_error(mine, unet.project_packed_kv(tokens)) < 1e-6
    assert sizes == [12, 30]
    assert torch.equal(projector.project(features, upload), mine)


def test_unique_rows_are_found_in_order_of_appearance() -> None:
    rows = np.array([[1, 2], [0, 0], [1, 2], [3, 1], [0, 0]], np.float32)
    unique, inverse = find_unique_rows(rows)
    assert unique.tolist() == [[1, 2], [0, 0], [3, 1]]
    assert inverse.tolist() == [0, 1, 0, 2, 1]
