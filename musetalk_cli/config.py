"""The configuration: one strict schema; defaults < files < flags, and where each value came from."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from musetalk_cli.errors import ConfigError

MAX_ECHO = 60  # characters of a wrong value that are shown

Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
Tune = Literal["zerolatency", "film", "animation", "stillimage", "none"]


class Section(BaseModel):
    """Unknown keys, wrong types and numbers that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class AudioConfig(Section):
    target_duration: Annotated[float, Field(ge=0.2, le=4.0)] = 2.0
    buffer_size: Annotated[int, Field(ge=1, le=64)] = 2
    bitrate_kbps: Annotated[int, Field(ge=32, le=320)] = 128

    @field_validator("target_duration")
    @classmethod
    def _falls_on_model_steps(cls, value: float) -> float:
        # 40 ms is two steps of the audio features and one frame at 25 fps: a block's edge is then never inside one.
        if abs(value / 0.04 - round(value / 0.04)) > 1e-6:
            raise ValueError("must be a multiple of 0.04 s")
        return round(value, 2)


class VideoConfig(Section):
    fps: Annotated[float, Field(ge=5, le=60)] = 25
    size: Annotated[int, Field(ge=64, le=2160)] = 768
    batch_size: Annotated[int, Field(ge=1, le=64)] = 8
    encoding_preset: Preset = "ultrafast"
    encoding_tune: Tune = "zerolatency"
    crf: Annotated[int, Field(ge=0, le=51)] = 23
    bitrate_kbps: Annotated[int, Field(ge=100, le=100_000)] | None = None
    keyframe_interval_s: Annotated[float, Field(ge=0.2, le=10)] = 1.0
    generation_speed_multiplier: Annotated[float, Field(ge=1.01, le=8)] = 1.1

    @field_validator("size")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"must be even (4:2:0 video); try {value + 1}")
        return value

    @property
    def frame_rate(self) -> Fraction:
        """``fps`` as an exact ratio; the NTSC rates, whichever way they are rounded, become n·1000/1001."""
        exact = Fraction(self.fps).limit_denominator(1000)
        ntsc = Fraction(round(self.fps) * 1000, 1001)
        return ntsc if exact.denominator > 1 and abs(self.fps - ntsc) < 0.005 else exact


class PerformanceConfig(Section):
    parallel_workers: Annotated[int, Field(ge=1, le=64)] = 4
    video_send_interval: Annotated[float, Field(ge=0.5, le=1.98)] = 1.8


class StreamConfig(Section):
    buffer_s: Annotated[float, Field(ge=0, le=30)] = 2.0
    when_slow: Literal["hold", "idle", "skip"] = "hold"
    late_after_s: Annotated[float, Field(ge=0.1, le=5)] = 0.5
    encoder: Literal["auto", "x264", "nvenc", "videotoolbox"] = "auto"
    on_source_loss: Literal["retry", "stop"] = "retry"
    on_sink_loss: Literal["retry", "stop"] = "retry"


class WarpConfig(Section):
    life: bool = True
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class Config(Section):
    """Everything that can be set; ``configs/default.yaml`` says each key's unit and range."""

    avatar: Annotated[str, Field(min_length=1)] = "nora"
    model: Literal["warp"] = "warp"
    ffmpeg: Annotated[str, Field(min_length=1)] = "auto"
    audio: AudioConfig = AudioConfig()
    video: VideoConfig = VideoConfig()
    performance: PerformanceConfig = PerformanceConfig()
    stream: StreamConfig = StreamConfig()
    warp: WarpConfig = WarpConfig()


class LoadedConfig(NamedTuple):
    """A configuration, and for every dotted key the file or flag that set it (``default`` for the rest)."""

    config: Config
    origins: dict[str, str]


def load_config(files: Sequence[Path] = (), flags: Mapping[str, tuple[str, Any]] | None = None) -> LoadedConfig:
    """Merge defaults, then YAML files in order, then flags (``{dotted key: (flag's name, value)}``).

    Raises ConfigError that names the file or flag, the key and, for an unknown key, the nearest known one.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(flatten(Config().model_dump()), "default")
    for path in files:
        for key, value in _read_file(path):
            values[key], origins[key] = value, str(path)
    for key, (flag, value) in (flags or {}).items():
        values[key], origins[key] = value, flag
    try:
        config = Config.model_validate(_nest(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:2])
        raise ConfigError(f"{origins.get(key, key)}: {_explain(key, first)}") from None
    return LoadedConfig(config, origins)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted key of every value that is not itself a section."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _read_file(path: Path) -> list[tuple[str, Any]]:
    import yaml

    class Loader(yaml.SafeLoader):
        """A key that stands twice is an error, not the last one's."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                raise yaml.YAMLError(f"key '{twice}' stands twice, near line {node.start_mark.line + 1}")
            return dict(super().construct_mapping(node, deep))

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return []
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold keys and values, as configs/default.yaml does")
    return list(_known_items(content, Config, path, ""))


def _known_items(content: dict[Any, Any], section: type[Section], path: Path, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if key not in section.model_fields:
            raise ConfigError(f"{path}: unknown key '{prefix}{key}'", hint=_nearest(f"{prefix}{key}"))
        kind = section.model_fields[key].annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            if value is not None and not isinstance(value, dict):
                raise ConfigError(f"{path}: '{prefix}{key}' is a section and must hold keys")
            yield from _known_items(value or {}, kind, path, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _nearest(key: str) -> str:
    known = list(flatten(Config().model_dump()))
    same_name = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
    near = same_name or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"the keys are: {', '.join(known)}"


def _explain(key: str, error: Any) -> str:
    reason = str(error["msg"]).removeprefix("Value error, ")
    given = repr(error["input"])
    given = given if len(given) <= MAX_ECHO else f"{given[:MAX_ECHO]}…"
    return f"'{key}' is {given}: {reason[:1].lower()}{reason[1:]}"


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return nested
