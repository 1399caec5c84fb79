"""Before and after: each optimisation switched off alone, and all together, in turns within one run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from musetalk_cli.app.assembly import build_model, pipeline_settings
from musetalk_cli.app.avatars.choice import choose_avatar
from musetalk_cli.app.live_assembly import live_encoder_settings
from musetalk_cli.app.model_choice import count_cores
from musetalk_cli.app.settings.tools import find_ffmpeg
from musetalk_cli.benchmark.comparison.figures import LEAST_LIVE_SPEED, Comparison, Conditions, Row, Sample, make_row
from musetalk_cli.benchmark.comparison.variants import LABELS, VARIANTS, Variant
from musetalk_cli.benchmark.workload.speech import speech
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.types.messages import Tell
from musetalk_cli.errors import ModelError

if TYPE_CHECKING:
    from musetalk_cli.app.avatars.choice import ChosenAvatar
    from musetalk_cli.benchmark.comparison.runner import ComparisonRunner
    from musetalk_cli.engine.avatar.avatar import Avatar
    from musetalk_cli.engine.models.base import LipSyncModel

# What every variant makes before it counts, at most: the first call of everything is slow.
WARM_UP_S = 1.0


@dataclass(frozen=True)
class _Precision:
    """Our model's precision, such as fp16, and the model in full precision or why there is none to compare with."""

    name: str
    full_model: LipSyncModel | None
    reason: str


def compare(config: Config, name: str, *, seconds: float, rounds: int, tell: Tell) -> Comparison:
    """Measure a model in every variant, in turns.

    Throughput: the video of ``seconds`` of audio that is there at once, from before the encoder's start to the last
    byte. Latency: two blocks in real time, of which the first counts, since it finds the machine idle; the
    second is there because encoders and containers hold frames back until something follows. Variants that are
    slower than LEAST_LIVE_SPEED have no live run.

    Args:
        config: The settings that all variants share.
        name: The model, see ``choose_model``.
        seconds: Length of the audio whose throughput is measured.
        rounds: How often each variant is measured.
        tell: Takes lines about the progress.

    Returns:
        A row for every variant, with the spread over the rounds.

    Raises:
        MuseTalkError: What opening the model or running a variant failed with.
    """
    gc.enable()  # see __main__.py
    with _opened_runner(config, name, tell) as (runner, precision):
        variants = {key: variant for key, variant in VARIANTS.items() if key != "precision" or precision.full_model}
        speeds = {
            key: _measure_speed(runner, variant, min(seconds, WARM_UP_S)).speed for key, variant in variants.items()
        }
        wait = _describe_wait(runner, speeds, seconds, rounds)
        tell(f"comparing {len(variants)} variants in {rounds} round{'s' * (rounds > 1)}: {wait}")
        samples: dict[str, list[Sample]] = {key: [] for key in variants}
        for number in range(rounds):
            for key in _turned(list(variants), number):
                tell(f"round {number + 1} of {rounds}: {key}")
                samples[key].append(
                    _measure(runner, variants[key], seconds, number, is_live=speeds[key] >= LEAST_LIVE_SPEED)
                )
        rows = [
            make_row(key, _label(key, config, precision), samples[key], samples["ours"])
            if key in samples
            else Row(key, _label(key, config, precision), reason=precision.reason)
            for key in VARIANTS
        ]
        return Comparison(_describe(config, runner, seconds, rounds), tuple(rows))


@contextmanager
def _opened_runner(config: Config, name: str, tell: Tell) -> Iterator[tuple[ComparisonRunner, _Precision]]:
    from musetalk_cli.benchmark.comparison.runner import ComparisonRunner
    from musetalk_cli.engine.video.encoder_choice import CODECS

    chosen = choose_avatar(config)
    with ExitStack() as leaving:
        avatar = chosen.load()
        leaving.callback(avatar.close)
        model = build_model(config, name, chosen, avatar, tell)
        precision = _find_precision(config, name, chosen, avatar)
        runner = ComparisonRunner(
            ffmpeg=find_ffmpeg(config, tell),
            model=model,
            full_model=precision.full_model,
            open_avatar=lambda: chosen.load().resized(chosen.height_px),
            encoder=live_encoder_settings(config, chosen, num_channels=1, codec=CODECS["x264"]),
            settings=pipeline_settings(config, name),
        )
        yield runner, precision


def _find_precision(config: Config, name: str, chosen: ChosenAvatar, avatar: Avatar) -> _Precision:
    if name == "warp":
        return _Precision("half precision", None, "warp runs on the CPU, where it computes in fp32 either variant")
    from musetalk_cli.engine.models.musetalk.inference.devices import DTYPES, choose_precisions

    ours = choose_precisions(config.device, config.precision)[0]
    used = next(each for each, dtype in DTYPES.items() if dtype == ours.dtype)
    if used == "fp32":
        why = "fp32 was asked for" if config.precision == "fp32" else f"on {ours.device.type}, fp32 is what is used"
        return _Precision("half precision", None, why)
    try:
        full = build_model(replace(config, precision="fp32"), name, chosen, avatar, lambda line: None)
    except ModelError as error:
        return _Precision(used, None, str(error))
    return _Precision(used, full, "")


def _measure(runner: ComparisonRunner, variant: Variant, seconds: float, number: int, *, is_live: bool) -> Sample:
    """One variant in round ``number``, which also draws its pieces."""
    sample = _measure_speed(runner, variant, seconds, number)
    return _add_latency(sample, runner, variant, number) if is_live else sample


def _measure_speed(runner: ComparisonRunner, variant: Variant, seconds: float, number: int = 0) -> Sample:
    run = runner.run(variant, speech(seconds), piece_seed=number)
    return Sample(speed=seconds / run.wall_s, cpu_s=run.cpu_s / seconds)


def _add_latency(sample: Sample, runner: ComparisonRunner, variant: Variant, number: int) -> Sample:
    from musetalk_cli.engine.video.encoder import NUM_LATE

    block_s, rate = runner.settings.block_s, float(runner.settings.frame_rate)
    run = runner.run(variant, speech(_live_s(runner)), is_live=True, piece_seed=number)
    times_s = run.frame_times_s[: runner.frames_in(block_s)]
    return replace(
        sample,
        first_s=times_s[0] - block_s,
        last_s=times_s[-1 - min(NUM_LATE, len(times_s) - 1)] - block_s,
        delay_s=max(time_s - frame / rate for frame, time_s in enumerate(times_s)),
    )


def _live_s(runner: ComparisonRunner) -> float:
    return 2 * runner.settings.block_s + runner.model.after_s


def _turned(keys: list[str], by: int) -> list[str]:
    """Another one first in every round, so that none is always behind the same."""
    by %= len(keys)
    return keys[by:] + keys[:by]


def _describe(config: Config, runner: ComparisonRunner, seconds: float, rounds: int) -> Conditions:
    return Conditions(
        model=runner.model.name,
        avatar=config.avatar,
        width=runner.encoder.width,
        height=runner.encoder.height,
        fps=float(runner.settings.frame_rate),
        block_s=runner.settings.block_s,
        look_ahead_s=runner.model.after_s,
        workers=runner.settings.num_workers,
        batch_size=runner.settings.batch_size,
        cores=count_cores(),
        seconds=seconds,
        rounds=rounds,
    )


def _label(key: str, config: Config, precision: _Precision) -> str:
    video = config.video
    return LABELS[key].format(
        block=config.audio.target_duration,
        half=precision.name,
        preset=video.encoding_preset,
        tune=video.encoding_tune,
    )


def _describe_wait(runner: ComparisonRunner, speeds: dict[str, float], seconds: float, rounds: int) -> str:
    """How long all of it is going to take, from the speed of the warm-up."""
    at_once_s = sum(seconds / speed for speed in speeds.values())
    live_s = sum(_live_s(runner) / min(1.0, speed) for speed in speeds.values() if speed >= LEAST_LIVE_SPEED)
    wait_s = rounds * (at_once_s + live_s)
    return f"about {wait_s:.0f} s" if wait_s < 90 else f"about {wait_s / 60:.0f} minutes"
