"""The UNet's prefix of an avatar frame is encoded once, within the cache's limit, and gives the same result."""

from __future__ import annotations

import logging

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from fixtures.small_nets import noise, relative_error, small_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.prefix_cache import UNetPrefixCache  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.unet import UNetPrefix  # noqa: E402

LATENTS = noise(4, 8, 32, 32)


@pytest.fixture(scope="module")
def unet():
    return small_nets().unet


class CountingEncoder:
    """``encode_prefix`` that counts the frames of each call."""

    def __init__(self, unet) -> None:
        self.counts: list[int] = []
        self._unet = unet

    def __call__(self, latents) -> UNetPrefix:
        self.counts.append(len(latents))
        return self._unet.encode_prefix(latents)


def bytes_per_frame(unet) -> int:
    prefix = unet.encode_prefix(LATENTS[:1])
    return sum(part.nbytes for part in (prefix.skip, *prefix.transformer))


def assert_same(mine: UNetPrefix, wanted: UNetPrefix) -> None:
    for part, other in zip((mine.skip, *mine.transformer), (wanted.skip, *wanted.transformer), strict=True):
        assert relative_error(part, other) < 1e-5


def test_a_frame_is_encoded_once_and_gives_the_same(unet) -> None:
    encode_prefix = CountingEncoder(unet)
    prefix_cache = UNetPrefixCache(encode_prefix, LATENTS, torch.from_numpy)
    for indices in ([0, 1, 1], [2, 1], [3, 2, 1, 0]):
        assert_same(prefix_cache.get(indices), unet.encode_prefix(LATENTS[indices]))
    assert encode_prefix.counts == [2, 1, 1]


def test_no_more_frames_are_cached_than_the_limit_allows(unet) -> None:
    encode_prefix = CountingEncoder(unet)
    prefix_cache = UNetPrefixCache(encode_prefix, LATENTS, torch.from_numpy, limit_bytes=2 * bytes_per_frame(unet) + 1)
    for _ in range(2):
        for indices in ([0], [1], [2, 3], [1, 2]):
            assert_same(prefix_cache.get(indices), unet.encode_prefix(LATENTS[indices]))
    assert encode_prefix.counts == [1, 1, 2, 2, 2, 2]


def test_a_limit_of_zero_caches_nothing(unet) -> None:
    encode_prefix = CountingEncoder(unet)
    prefix_cache = UNetPrefixCache(encode_prefix, LATENTS, torch.from_numpy, limit_bytes=0)
    assert_same(prefix_cache.get([0, 1]), unet.encode_prefix(LATENTS[:2]))
    assert encode_prefix.counts == [2]
    prefix_cache.fill()
    assert len(prefix_cache.get([0]).skip) == 1


def test_nothing_is_cached_when_memory_runs_out(
    unet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    encode_prefix = CountingEncoder(unet)
    prefix_cache = UNetPrefixCache(encode_prefix, LATENTS, torch.from_numpy)
    monkeypatch.setattr(torch.Tensor, "new_empty", fail)
    with caplog.at_level(logging.WARNING):
        prefix_cache.fill()
        encode_prefix.counts.clear()
        for _ in range(2):
            assert_same(prefix_cache.get([0, 1]), unet.encode_prefix(LATENTS[:2]))
    assert encode_prefix.counts == [2, 2]
    assert len(caplog.records) == 1
    assert "not enough memory to cache" in caplog.text


@pytest.mark.parametrize("num_cached", [0.5, 1])
def test_a_batch_larger_than_the_cache_is_encoded_at_once(unet, num_cached: float) -> None:
    encode_prefix = CountingEncoder(unet)
    limit_bytes = int(num_cached * bytes_per_frame(unet))
    prefix_cache = UNetPrefixCache(encode_prefix, LATENTS, torch.from_numpy, limit_bytes)
    for _ in range(3):
        assert_same(prefix_cache.get([0, 1]), unet.encode_prefix(LATENTS[:2]))
    assert encode_prefix.counts == [2] * 4  # once more the first time, to learn the size of a frame


def test_the_cache_can_be_filled_beforehand(unet) -> None:
    encode_prefix = CountingEncoder(unet)
    prefix_cache = UNetPrefixCache(encode_prefix, LATENTS, torch.from_numpy)
    prefix_cache.fill()
    encode_prefix.counts.clear()
    assert_same(prefix_cache.get([3, 0]), unet.encode_prefix(LATENTS[[3, 0]]))
    assert encode_prefix.counts == []


def test_a_batch_with_a_frame_that_is_not_cached_is_the_same(unet) -> None:
    prefix_cache = UNetPrefixCache(unet.encode_prefix, LATENTS, torch.from_numpy, limit_bytes=bytes_per_frame(unet))
    prefix_cache.get([2])
    assert_same(prefix_cache.get([2, 0]), unet.encode_prefix(LATENTS[[2, 0]]))


def test_a_cached_prefix_is_in_channels_last(unet) -> None:
    prefix_cache = UNetPrefixCache(unet.encode_prefix, LATENTS, torch.from_numpy)
    for _ in range(2):
        prefix = prefix_cache.get([0, 2])
        assert prefix.skip.is_contiguous(memory_format=torch.channels_last)
        assert prefix.transformer.residual.is_contiguous(memory_format=torch.channels_last)
