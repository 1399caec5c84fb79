"""UNet prefix and audio keys and values → bytes of faces: one forward pass, eager, compiled or as a CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from musetalk_cli.engine.models.musetalk.inference.cuda_graphs import CudaGraphs
from musetalk_cli.engine.models.musetalk.nets.attention import KeyValue, TransformerPrefix
from musetalk_cli.engine.models.musetalk.nets.unet import UNetPrefix
from musetalk_cli.engine.models.musetalk.nets.vae import to_bgr

if TYPE_CHECKING:
    from musetalk_cli.engine.models.musetalk.checkpoints.loading import Nets

# The batch sizes of a device where each size costs time before its first batch; smaller batches are padded to them.
CUDA_SIZES = (1, 2, 4, 8, 16, 32, 64)
COMPILED_CPU_SIZES = (1,)
MAX_COMPILED = 128  # of one function, for all sizes and devices; beyond PyTorch's own limit of 8 it would run eagerly

log = logging.getLogger(__name__)


class ForwardPass:
    """UNet, decoder and conversion to bytes on one device. One thread at a time, in inference mode.

    ``sizes``: the batch sizes that it takes, ascending; empty if any. On a CUDA device each is captured as a graph.
    """

    def __init__(
        self, nets: Nets, device: torch.device, *, is_compiled: bool, expected_sizes: Sequence[int] = ()
    ) -> None:
        """Nothing is compiled or captured before the first call or ``warm_up``.

        Args:
            nets: folded nets on ``device``.
            device: where the nets are.
            is_compiled: torch.compile generates kernels for this machine. On a CPU only for the UNet, whose weights it
                packs once; the decoder was faster without in a trial.
            expected_sizes: batch sizes to be among ``sizes`` on a CUDA device.
        """
        is_cuda = device.type == "cuda"
        self.sizes = choose_sizes(device, is_compiled=is_compiled, expected_sizes=expected_sizes)
        predict: Callable[..., Tensor] = (
            _Compiled(nets.unet.predict, is_cuda=is_cuda) if is_compiled else nets.unet.predict
        )
        decode: Callable[..., Tensor] = (
            _Compiled(nets.decoder, is_cuda=True) if is_compiled and is_cuda else nets.decoder
        )
        # Not a method: graphs that refer to their owner would keep the GPU's memory until garbage collection.
        self._forward = partial(_forward, nets.unet.unpack_kv, predict, decode)
        self._graphs = CudaGraphs(self._forward, device) if is_cuda else None

    def run(self, prefix: UNetPrefix, audio_kv: Tensor) -> Tensor:
        """uint8 BGR (B, H, W, 3); on a CUDA device it is overwritten by the next call.

        ``audio_kv`` (B, tokens, 2·Σ dims), packed as by ``UNet.project_packed_kv``.
        """
        inputs = (prefix.skip, *prefix.transformer, audio_kv)
        return self._graphs(*inputs) if self._graphs else self._forward(*inputs)

    def warm_up(self, prefix: UNetPrefix, audio_kv: Tensor) -> None:
        """Compile or capture for this batch size. Raises torch.OutOfMemoryError, as ``CudaGraphs.capture`` does."""
        inputs = (prefix.skip, *prefix.transformer, audio_kv)
        if self._graphs:
            self._graphs.capture(*inputs)
        else:
            self._forward(*inputs)


def choose_sizes(device: torch.device, *, is_compiled: bool, expected_sizes: Sequence[int] = ()) -> tuple[int, ...]:
    """The batch sizes of a ForwardPass, ascending; empty if any."""
    if device.type == "cuda":
        return tuple(sorted({*CUDA_SIZES, *expected_sizes}))
    return COMPILED_CPU_SIZES if is_compiled else ()


def _forward(
    unpack_kv: Callable[[Tensor], list[KeyValue]],
    predict: Callable[..., Tensor],
    decode: Callable[..., Tensor],
    skip: Tensor,
    residual: Tensor,
    tokens: Tensor,
    query: Tensor,
    audio_kv: Tensor,
) -> Tensor:
    prefix = UNetPrefix(skip, TransformerPrefix(residual, tokens, query))
    return to_bgr(decode(predict(prefix, unpack_kv(audio_kv))))


class _Compiled:
    """A function that is compiled at its first call; where that fails, a warning is logged and it runs eagerly."""

    def __init__(self, eager: Callable[..., Tensor], *, is_cuda: bool) -> None:
        self._eager = eager
        self._is_cuda = is_cuda
        self._compiled: Callable[..., Tensor] | None = None

    def __call__(self, *inputs: Any) -> Tensor:
        try:
            self._compiled = self._compiled or _compile(self._eager, freezes=not self._is_cuda)
            return self._compiled(*inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a compiler may be missing, or fail in any way
            if self._compiled is self._eager:
                raise
            self._compiled = self._eager
            log.warning("the nets cannot be compiled here, which makes them slower: %s", str(error).split("\n")[0])
            return self._eager(*inputs)


def _compile(eager: Callable[..., Tensor], *, freezes: bool) -> Callable[..., Tensor]:
    from torch._dynamo import config as tracing
    from torch._inductor import config

    # On a CPU, frozen weights are constants that are packed for its kernels. PyTorch does not cache frozen code between
    # runs, so a GPU, which gains little from freezing, starts sooner without.
    config.freezing = freezes
    tracing.cache_size_limit = MAX_COMPILED
    compiled: Callable[..., Tensor] = torch.compile(eager, dynamic=False)
    return compiled
