"""How many operations a frame takes before and after each saving, counted by torch on nets without values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from musetalk_cli.engine.models.musetalk.features import STEPS_PER_FRAME
from musetalk_cli.engine.models.musetalk.loading import LATENT_PX, NetConfigs, build
from musetalk_cli.engine.models.musetalk.taesd import TinyDecoder
from musetalk_cli.engine.models.musetalk.unet import UNet, View
from musetalk_cli.engine.models.musetalk.vae import VaeDecoder

BATCH = 8
STEPS_BETWEEN = 2  # Whisper's steps from one frame to the next at 25 frames per second

HEAD = "| what | UNet, GFLOP | decoder, GFLOP | together | |\n|---|---|---|---|---|"


class Count(NamedTuple):
    """Multiplications and additions of one frame, 10⁹, as a share of a batch."""

    what: str
    unet: float
    decoder: float

    @property
    def total(self) -> float:
        return self.unet + self.decoder


def count_all(configs: NetConfigs) -> Iterator[Count]:
    """One line for each saving, on top of those before it."""
    plain_unet, plain_decoder = build(UNet, configs.unet), build(VaeDecoder, configs.vae)
    whole, plain = _count_whole(plain_unet, configs), _count_decoder(plain_decoder, configs)
    yield Count("the nets as published", whole, plain)
    folded = build(UNet, dataclasses.replace(configs.unet, is_folded=True))
    few = (False,) * (len(configs.vae.dims) - 1)
    decoder = _count_decoder(_folded_decoder(configs, few), configs)
    yield Count(
        "time embedding, post-quant and the decoder's projections folded", _count_whole(folded, configs), decoder
    )
    rest = _count_predict(folded, configs)
    heard = _count_hear(folded, configs, STEPS_PER_FRAME * BATCH)
    yield Count("the avatar's part kept for its frame", rest + heard, decoder)
    once = _count_hear(folded, configs, STEPS_PER_FRAME + STEPS_BETWEEN * (BATCH - 1))
    yield Count(f"sound projected once for each step, {BATCH} frames in a row", rest + once, decoder)
    every = (True,) * len(few)
    phased = _count_decoder(_folded_decoder(configs, every), configs)
    yield Count("the decoder's upsamplings as four phases", rest + once, phased)
    both = build(UNet, dataclasses.replace(folded.config, has_phases=every))
    yield Count("the UNet's too, where that is faster", _count_predict(both, configs) + once, phased)
    tiny = _count_decoder(build(TinyDecoder, configs.tiny), configs)
    yield Count("TAESD in the decoder's place (other pictures)", _count_predict(both, configs) + once, tiny)


def share_by_kind(configs: NetConfigs) -> dict[str, float]:
    """The share of each kind of operation in a frame of the nets as published."""
    unet, decoder = build(UNet, configs.unet), build(VaeDecoder, configs.vae)
    latents = torch.empty(BATCH, configs.vae.latent_channels, LATENT_PX, LATENT_PX, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(_latents(configs), _tokens(configs))
        decoder(latents)
    kinds = counter.get_flop_counts()["Global"]
    return {str(kind): count / counter.get_total_flops() for kind, count in kinds.items()}


def describe_all(counts: list[Count]) -> str:
    first = counts[0].total
    rows = [
        f"| {each.what} | {each.unet:.2f} | {each.decoder:.2f} | {each.total:.2f} | {each.total / first - 1:+.1%} |"
        for each in counts
    ]
    return "\n".join([HEAD, *rows])


def _folded_decoder(configs: NetConfigs, has_phases: tuple[bool, ...]) -> VaeDecoder:
    return build(VaeDecoder, dataclasses.replace(configs.vae, is_folded=True, has_phases=has_phases))


def _count_whole(net: UNet, configs: NetConfigs) -> float:
    return _count(lambda: net(_latents(configs), _tokens(configs)))


@torch.no_grad()
def _count_predict(net: UNet, configs: NetConfigs) -> float:
    view: View = net.look(_latents(configs))
    sound = net.project(_tokens(configs))
    return _count(lambda: net.predict(view, net.split(sound)))


def _count_hear(net: UNet, configs: NetConfigs, num_steps: int) -> float:
    steps = torch.empty(num_steps, configs.whisper.num_levels, configs.unet.audio_dim, device="meta")
    return _count(lambda: net.project(steps))


def _count_decoder(net: torch.nn.Module, configs: NetConfigs) -> float:
    latents = torch.empty(BATCH, configs.vae.latent_channels, LATENT_PX, LATENT_PX, device="meta")
    return _count(lambda: net(latents))


def _latents(configs: NetConfigs) -> Tensor:
    return torch.empty(BATCH, configs.unet.in_channels, LATENT_PX, LATENT_PX, device="meta")


def _tokens(configs: NetConfigs) -> Tensor:
    return torch.empty(BATCH, STEPS_PER_FRAME * configs.whisper.num_levels, configs.unet.audio_dim, device="meta")


@torch.no_grad()
def _count(call: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / BATCH / 1e9
