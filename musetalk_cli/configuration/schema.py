"""The settings: every key's type, range and default.

The values live in plain dataclasses; their annotations say what a file or an option may give, and ``validation`` checks
it. Loading this module loads no pydantic.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

from musetalk_cli.hints import suggest
from musetalk_cli.system.names import can_be_path

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
Tune = Literal["zerolatency", "film", "animation", "stillimage", "none"]
MODELS = ("auto", "warp", "musetalk-1.5", "musetalk-1.0")  # and those that a user has imported under a name
Precision = Literal["auto", "fp16", "bf16", "fp32"]


class Range(NamedTuple):
    """An annotation: a number from ``least`` to ``most``, both included; without ``most``, any from ``least`` on."""

    least: float
    most: float = math.inf

    def describe(self) -> str:
        """``from 5 to 60``"""
        return f"{self.least:.12g} or more" if math.isinf(self.most) else f"from {self.least:.12g} to {self.most:.12g}"

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        end = {} if math.isinf(self.most) else {"le": self.most}
        return cast("CoreSchema", {**handler(source), "ge": self.least, **end})


class Check:
    """An annotation: ``function`` gives a value back as it is to be stored, or raises ValueError."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.function, handler(source))


class Before:
    """An annotation: ``function`` changes a value before it is checked."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.function, handler(source))


class Lenient:
    """An annotation: a list of a file or a flag is taken for the tuple that a frozen dataclass holds."""

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return cast("CoreSchema", {**handler(source), "strict": False})


def _fall_on_model_steps(seconds: float) -> float:
    # Every model has features in steps of 20 ms; a block's edge then never falls inside one.
    if abs(seconds / 0.02 - round(seconds / 0.02)) > 1e-6:
        raise ValueError("must be a multiple of 0.02 s")
    return round(seconds, 2)


def _as_liveliness(value: object) -> object:
    # Earlier versions had true and false.
    return float(value) if isinstance(value, bool) else value


def _be_even(pixels: int) -> int:
    if pixels % 2:
        raise ValueError(f"must be even (4:2:0 video); try {pixels + 1}")
    return pixels


def _be_something(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    if not can_be_path(text):
        raise ValueError("must be text that a name can have")
    return text


class RefusedError(ValueError):
    """Why a value cannot be; ``hint``: what may have been meant."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


# What others call them.
_DEVICES = {"gpu": "cuda", "nvidia": "cuda", "cuda:all": "cuda:0,1", "metal": "mps", "apple": "mps", "processor": "cpu"}
_BACKGROUNDS = ("keep", "transparent")
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".heic")
_COLOURS = {"white": "#ffffff", "black": "#000000", "grey": "#808080", "gray": "#808080", "green": "#00b140"}


def _be_a_background(text: str) -> str:
    found = _COLOURS.get(text.lower(), text.lower())
    if found in _BACKGROUNDS or re.fullmatch("#[0-9a-f]{6}", found):
        return found
    if text.lower().endswith(_IMAGES) and can_be_path(text):
        return text
    names = [*_BACKGROUNDS, *(name for name in _COLOURS if name != "gray")]
    hint = suggest(text, names)
    raise RefusedError(f"must be {', '.join(names)}, like #00b140 (red, green and blue), or an image file", hint)


def _be_a_device(text: str) -> str:
    kind, _, numbers = text.partition(":") if ":" in text else ("cuda", "", text)
    each = numbers.split(",")
    if text in ("auto", "cuda", "mps", "cpu"):
        return text
    if kind != "cuda" or not all(number.isascii() and number.isdigit() for number in each):
        meant = _DEVICES.get(text.lower())
        hint = f"did you mean '{meant}'?" if meant else suggest(text, ("auto", "cuda", "mps", "cpu"), cutoff=0.7)
        raise RefusedError("must be auto, cuda, cuda:N, mps or cpu; several GPUs are cuda:0,1", hint)
    if len(set(map(int, each))) < len(each):
        raise ValueError("names a GPU twice")
    return f"cuda:{numbers}"


@dataclass(frozen=True)
class AudioConfig:
    target_duration: Annotated[float, Range(0.2, 4.0), Check(_fall_on_model_steps)] = 2.0
    buffer_size: Annotated[int, Range(1, 64)] = 2
    bitrate_kbps: Annotated[int, Range(32, 320)] = 128


@dataclass(frozen=True)
class VideoConfig:
    fps: Annotated[float, Range(5, 60)] = 25
    size: Annotated[int, Range(64, 2160), Check(_be_even)] | None = None
    batch_size: Annotated[int, Range(1, 64)] = 8
    encoding_preset: Preset = "ultrafast"
    encoding_tune: Tune = "zerolatency"
    crf: Annotated[int, Range(0, 51)] = 23
    bitrate_kbps: Annotated[int, Range(100, 100_000)] | None = None
    keyframe_interval_s: Annotated[float, Range(0.2, 10)] = 1.0
    generation_speed_multiplier: Annotated[float, Range(1.01, 8)] = 1.1

    @property
    def frame_rate(self) -> Fraction:
        """``fps`` as an exact ratio; the NTSC rates, whichever way they are rounded, become n·1000/1001."""
        exact = Fraction(self.fps).limit_denominator(1000)
        ntsc = Fraction(round(self.fps) * 1000, 1001)
        return ntsc if exact.denominator > 1 and abs(self.fps - ntsc) < 0.005 else exact


@dataclass(frozen=True)
class PerformanceConfig:
    parallel_workers: Annotated[int, Range(1, 64)] = 4
    gpu_memory_fraction: Annotated[float, Range(0.05, 1)] = 0.8
    compile: bool = False
    decoder: Literal["full", "taesd"] = "full"
    taesd_weights: Annotated[str, Check(_be_something)] | None = None
    half_rate: bool = False
    video_send_interval: Annotated[float, Range(0.5, 1.98)] = 1.8


@dataclass(frozen=True)
class StreamConfig:
    buffer_s: Annotated[float, Range(0, 30)] = 2.0
    when_slow: Literal["hold", "idle", "skip"] = "hold"
    late_after_s: Annotated[float, Range(0.1, 5)] = 0.5
    encoder: Literal["auto", "x264", "nvenc", "videotoolbox"] = "auto"
    on_source_loss: Literal["retry", "stop"] = "retry"
    on_sink_loss: Literal["retry", "stop"] = "retry"


BlockSeconds = Annotated[float, Range(0.04, 4.0), Check(_fall_on_model_steps)]
LeadSeconds = Annotated[float, Range(0.1, 5)]


@dataclass(frozen=True)
class SessionConfig:
    block_s: BlockSeconds = 0.2
    lead_s: LeadSeconds = 0.25
    max_queued_s: Annotated[float, Range(1, 3600)] = 120.0


@dataclass(frozen=True)
class ServeConfig:
    host: Annotated[str, Check(_be_something)] = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 8900
    avatars: Annotated[tuple[str, ...], Lenient()] | None = None
    max_sessions: Annotated[int, Range(1, 10_000)] | None = None
    max_sessions_per_client: Annotated[int, Range(1, 10_000)] = 4
    workers: Annotated[int, Range(1, 64)] = 2
    token_file: Annotated[str, Check(_be_something)] | None = None
    allow_origins: Annotated[tuple[str, ...], Lenient()] = ()
    idle_s: Annotated[float, Range(1, 86_400)] = 300.0
    drain_s: Annotated[float, Range(0, 3600)] = 10.0
    log_format: Literal["text", "json"] = "text"


@dataclass(frozen=True)
class WarpConfig:
    life: Annotated[float, Range(0, 1.5), Before(_as_liveliness)] = 1.0
    expression: Annotated[float, Range(0.5, 1.5)] = 1.0
    seed: Annotated[int, Range(0, 2**31 - 1)] = 0


@dataclass(frozen=True)
class MuseTalkConfig:
    parsing_mode: Literal["auto", "jaw", "raw", "neck"] = "auto"
    left_cheek_width: Annotated[int, Range(0, 256)] = 90
    right_cheek_width: Annotated[int, Range(0, 256)] = 90
    extra_margin: Annotated[int, Range(0, 200)] | None = None
    detail: bool = True


@dataclass(frozen=True)
class SilenceConfig:
    gate: bool = True
    threshold_dbfs: Annotated[float, Range(-90, 0)] = -52.0
    range_db: Annotated[float, Range(5, 90)] = 30.0
    noise_margin_db: Annotated[float, Range(0, 40)] = 8.0
    noise_ceiling_dbfs: Annotated[float, Range(-90, 0)] = -42.0
    shortest_s: Annotated[float, Range(0.01, 0.5)] = 0.03
    lead_s: Annotated[float, Range(0, 0.5)] = 0.04
    hangover_s: Annotated[float, Range(0, 2)] = 0.24
    fade_s: Annotated[float, Range(0.01, 0.5)] = 0.08


@dataclass(frozen=True)
class Config:
    """Everything that can be set; ``configs/default.yaml`` says each key's unit and range."""

    avatar: Annotated[str, Check(_be_something)] = "nora"
    background: Annotated[str, Check(_be_a_background)] = "keep"
    avatar_dir: Annotated[str, Check(_be_something)] | None = None
    face_models: Annotated[str, Check(_be_something)] | None = None
    lossless_frames: bool = False
    model: Annotated[str, Check(_be_something)] = "auto"
    device: Annotated[str, Check(_be_a_device)] = "auto"
    precision: Precision = "auto"
    random_weights: bool = False
    compat: Literal["none", "upstream"] = "none"
    ffmpeg: Annotated[str, Check(_be_something)] = "auto"
    audio: AudioConfig = AudioConfig()
    video: VideoConfig = VideoConfig()
    performance: PerformanceConfig = PerformanceConfig()
    stream: StreamConfig = StreamConfig()
    session: SessionConfig = SessionConfig()
    serve: ServeConfig = ServeConfig()
    warp: WarpConfig = WarpConfig()
    musetalk: MuseTalkConfig = MuseTalkConfig()
    silence: SilenceConfig = SilenceConfig()
