"""Calls of the nets: batches, precision, devices, memory that runs out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from fixtures.small_nets import CONFIGS, CPU, noise  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import Nets, random_encoder, random_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.blend import Box, crop_face  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference import devices  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.devices import choose_precision  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceEncoder, FaceGenerator  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.unet import positional_encoding  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.vae import encode_avatar, to_bgr  # noqa: E402
from musetalk_cli.errors import ModelError  # noqa: E402

DIM = CONFIGS.unet.audio_dim


@pytest.fixture(scope="module")
def nets() -> Nets:
    return random_nets("1.5", CPU, seed=2, configs=CONFIGS)


@pytest.fixture
def features() -> np.ndarray:
    return noise(3, 50 * DIM, seed=4).numpy()


@pytest.fixture
def latents() -> torch.Tensor:
    return noise(3, 8, 8, 8, seed=5)


class Scarce(torch.nn.Module):
    """A decoder on a device whose memory holds ``room`` faces."""

    def __init__(self, decoder: torch.nn.Module, room: int) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self._decoder, self._room = decoder, room

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(latents))
        if len(latents) > self._room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._decoder(latents)


def test_a_generator_adds_positions_and_returns_bytes(nets: Nets, features: np.ndarray, latents: torch.Tensor) -> None:
    faces = FaceGenerator(nets).generate(latents, features)
    tokens = torch.from_numpy(features).reshape(3, 50, DIM) + positional_encoding(50, DIM)
    assert faces.dtype == np.uint8
    wanted = to_bgr(nets.decoder(nets.unet(latents, tokens))).numpy()
    assert np.abs(faces.astype(int) - wanted).max() <= 1  # audio is projected step by step, which rounds differently
    assert faces.std() > 10


def test_no_frames_make_no_faces(nets: Nets, features: np.ndarray, latents: torch.Tensor) -> None:
    assert FaceGenerator(nets).generate(latents[:0], features[:0]).shape == (0, 256, 256, 3)


def test_the_batch_is_halved_when_memory_runs_out(
    nets: Nets, features: np.ndarray, latents: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    scarce = Scarce(nets.decoder, room=1)
    generator = FaceGenerator(Nets(nets.version, nets.unet, scarce, nets.whisper))
    with caplog.at_level(logging.WARNING):
        faces = generator.generate(latents, features)
        again = generator.generate(latents, features)
    assert scarce.sizes == [3, 1, 1, 1, 1, 1, 1]
    assert len(caplog.records) == 1
    whole = FaceGenerator(nets).generate(latents, features)
    assert np.abs(faces.astype(int) - whole).max() <= 1
    np.testing.assert_array_equal(faces, again)


def test_no_memory_at_all_is_an_error(nets: Nets, features: np.ndarray, latents: torch.Tensor) -> None:
    generator = FaceGenerator(Nets(nets.version, nets.unet, Scarce(nets.decoder, room=0), nets.whisper))
    with pytest.raises(ModelError, match="to make a single face"):
        generator.generate(latents, features)


def test_crops_are_encoded_red_first_and_in_order() -> None:
    net = random_encoder(CPU, seed=2, configs=CONFIGS)
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (256, 256, 3), dtype=np.uint8) for _ in range(2)]
    latents = FaceEncoder(net).encode(crops)
    images = torch.from_numpy(np.stack(crops)[..., ::-1].copy()).permute(0, 3, 1, 2) / 255
    assert latents.shape == (2, 8, 32, 32)
    assert torch.allclose(latents, encode_avatar(net, images), atol=1e-4)


def test_the_crop_is_the_box_stretched_to_a_square() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    image[50:200, 100:180] = (10, 200, 30)
    crop = crop_face(image, Box(100, 50, 180, 200))
    assert crop.shape == (256, 256, 3)
    assert (crop == (10, 200, 30)).all()


def test_bf16_is_asked_of_the_device_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first GPU computes in it, the second would imitate it."""
    current = [0]

    @contextmanager
    def device(chosen: torch.device) -> Iterator[None]:
        current.append(chosen.index)
        yield
        current.pop()

    fakes = {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "device": device,
        "get_device_name": lambda chosen: "a GPU",
        "is_bf16_supported": lambda including_emulation=True: including_emulation or current[-1] == 0,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    assert choose_precision("cuda:0", "bf16").dtype == torch.bfloat16
    with pytest.raises(ModelError, match="a GPU cannot compute in bf16"):
        choose_precision("cuda:1", "bf16")


@pytest.mark.parametrize(("has_bf16", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_a_cpu_computes_in_what_it_has(monkeypatch: pytest.MonkeyPatch, has_bf16: bool, dtype: torch.dtype) -> None:
    monkeypatch.setattr(devices, "computes_in_bf16", lambda: has_bf16)
    assert choose_precision("cpu").dtype == dtype
    assert choose_precision("cpu", is_exact=True).dtype == torch.float32  # as upstream does
    assert choose_precision("cpu", "fp32").dtype == torch.float32


def test_a_device_that_is_not_there_is_named() -> None:
    assert choose_precision("cpu", "bf16").dtype == torch.bfloat16
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="no CUDA device") as caught:
            choose_precision("cuda")
        assert "'device' cpu" in caught.value.hint
    if not torch.backends.mps.is_available():
        with pytest.raises(ModelError, match="no Apple GPU"):
            choose_precision("mps")
