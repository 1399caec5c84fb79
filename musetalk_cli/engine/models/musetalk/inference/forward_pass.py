"""What is seen and heard → bytes of faces: the nets' arithmetic as one function, eager, compiled or recorded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from musetalk_cli.engine.models.musetalk.inference.cuda_graphs import Graphs
from musetalk_cli.engine.models.musetalk.nets.attention import KeyValue, Looked
from musetalk_cli.engine.models.musetalk.nets.unet import View
from musetalk_cli.engine.models.musetalk.nets.vae import to_bgr

if TYPE_CHECKING:
    from musetalk_cli.engine.models.musetalk.checkpoints.loading import Nets

# The sizes of batches where a size costs something before its first batch; others are filled up.
CUDA_SIZES = (1, 2, 4, 8, 16, 32, 64)
COMPILED_CPU_SIZES = (1,)
MAX_COMPILED = 128  # of one net, for all sizes and devices; beyond PyTorch's own limit of 8 it would go on uncompiled

log = logging.getLogger(__name__)


class Drawing:
    """``draw`` for one device. One thread at a time, in inference mode.

    ``sizes``: the batches that it takes, ascending; empty if all. On a CUDA device they are recorded as graphs, and
    ``asked_sizes``, which are going to be asked for, are among them.
    ``is_compiled``: torch.compile makes kernels for this machine. On a CPU only for the UNet, whose weights are packed
    once that way; the decoder was faster without in a trial.
    """

    def __init__(self, nets: Nets, device: torch.device, *, is_compiled: bool, asked_sizes: Sequence[int] = ()) -> None:
        is_cuda = device.type == "cuda"
        self.sizes = choose_sizes(device, is_compiled=is_compiled, asked_sizes=asked_sizes)
        predict: Callable[..., Tensor] = (
            _Compiled(nets.unet.predict, is_cuda=is_cuda) if is_compiled else nets.unet.predict
        )
        decode: Callable[..., Tensor] = (
            _Compiled(nets.decoder, is_cuda=True) if is_compiled and is_cuda else nets.decoder
        )
        # Not a method: recordings that refer to what holds them would keep the GPU's memory after the last use.
        self._draw = partial(_draw, nets.unet.split, predict, decode)
        self._graphs = Graphs(self._draw, device) if is_cuda else None

    def draw(self, view: View, audio: Tensor) -> Tensor:
        """uint8 BGR (B, H, W, 3); on a CUDA device it holds until the next call."""
        inputs = (view.entry, *view.looked, audio)
        return self._graphs(*inputs) if self._graphs else self._draw(*inputs)

    def warm_up(self, view: View, audio: Tensor) -> None:
        """Do what the first batch of this size would wait for. Raises torch.OutOfMemoryError, as ``Graphs`` does."""
        if self._graphs:
            self._graphs.record(view.entry, *view.looked, audio)
        else:
            self._draw(view.entry, *view.looked, audio)


def choose_sizes(device: torch.device, *, is_compiled: bool, asked_sizes: Sequence[int] = ()) -> tuple[int, ...]:
    """Those of Drawing."""
    if device.type == "cuda":
        return tuple(sorted({*CUDA_SIZES, *asked_sizes}))
    return COMPILED_CPU_SIZES if is_compiled else ()


def _draw(
    split: Callable[[Tensor], list[KeyValue]],
    predict: Callable[..., Tensor],
    decode: Callable[..., Tensor],
    entry: Tensor,
    image: Tensor,
    tokens: Tensor,
    query: Tensor,
    audio: Tensor,
) -> Tensor:
    view = View(entry, Looked(image, tokens, query))
    return to_bgr(decode(predict(view, split(audio))))


class _Compiled:
    """A function, compiled when it is first called; the plain one where that fails, which is logged."""

    def __init__(self, plain: Callable[..., Tensor], *, is_cuda: bool) -> None:
        self._plain = plain
        self._is_cuda = is_cuda
        self._compiled: Callable[..., Tensor] | None = None

    def __call__(self, *inputs: Any) -> Tensor:
        try:
            self._compiled = self._compiled or _compile(self._plain, freezes=not self._is_cuda)
            return self._compiled(*inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a compiler may be missing, or trip over anything
            if self._compiled is self._plain:
                raise
            self._compiled = self._plain
            log.warning("the nets cannot be compiled here, which makes them slower: %s", str(error).split("\n")[0])
            return self._plain(*inputs)


def _compile(plain: Callable[..., Tensor], *, freezes: bool) -> Callable[..., Tensor]:
    from torch._dynamo import config as tracing
    from torch._inductor import config

    # On a CPU, weights are constants, to be packed as the kernels want them. PyTorch does not keep such code from one
    # run to the next, so a GPU, which gains little from it, starts sooner without.
    config.freezing = freezes
    tracing.cache_size_limit = MAX_COMPILED
    compiled: Callable[..., Tensor] = torch.compile(plain, dynamic=False)
    return compiled
