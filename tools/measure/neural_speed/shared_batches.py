"""Sessions that ask for faces at the same time: each with batches of its own, against batches that all share."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from musetalk_cli.engine.models.musetalk.audio.windows import STEPS_PER_FRAME
from musetalk_cli.engine.models.musetalk.checkpoints.loading import LATENT_PX, NetConfigs, Precision, random_nets
from musetalk_cli.engine.models.musetalk.face.placement import Placements
from musetalk_cli.engine.models.musetalk.inference.face_batches import FaceBatchGenerator
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator
from musetalk_cli.engine.types.messages import FloatArray

NUM_SESSIONS = 4
CALL_SIZES = (1, 4)  # faces that a session asks for at a time
MAX_SHARED = 8
HEAD = "| faces a call | alone, frames/s | shared, frames/s | ratio |\n|---|---|---|---|"


def compare(configs: NetConfigs, repeats: int) -> str:
    """A table: frames per second of all sessions together, the median of ``repeats`` turns of both, alternating."""
    nets = random_nets("1.5", Precision(torch.device("cpu"), torch.float32), 1, configs=configs)
    generator = FaceGenerator(nets, max_shared=MAX_SHARED)
    latents = torch.randn(4, 8, LATENT_PX, LATENT_PX, generator=torch.Generator().manual_seed(1))
    placing = Placements(np.array([[10, 10, 200, 200]] * 4, np.int32), np.full((4, 190, 190), 255, np.uint8))
    direct = FaceBatchGenerator(generator, latents, placing)
    dim = STEPS_PER_FRAME * configs.whisper.num_levels * configs.unet.audio_dim
    lines = [HEAD]
    for size in CALL_SIZES:
        features = np.random.default_rng(size).normal(0, 1, (size, dim + 1)).astype(np.float32)
        features[:, -1] = 1.0
        turns = [
            (_speed([direct] * NUM_SESSIONS, features), _speed([direct.share() for _ in range(NUM_SESSIONS)], features))
            for _ in range(repeats + 1)
        ][1:]
        alone, shared = (statistics.median(side) for side in zip(*turns, strict=True))
        ratio = statistics.median(mine / other for other, mine in turns)
        lines.append(f"| {size} | {alone:.1f} | {shared:.1f} | {ratio:.2f} |")
    return "\n".join(lines)


def _speed(sessions: list[FaceBatchGenerator], features: FloatArray, num_calls: int = 3) -> float:
    """Frames per second of sessions that ask again as soon as they have their faces."""
    frames = list(range(len(features)))

    def ask(session: FaceBatchGenerator) -> None:
        for _ in range(num_calls):
            session.generate(features, frames)

    started = time.perf_counter()
    with ThreadPoolExecutor(len(sessions)) as pool:
        list(pool.map(ask, sessions))
    return len(sessions) * num_calls * len(features) / (time.perf_counter() - started)
