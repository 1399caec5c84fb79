"""The configuration: one strict schema; defaults < files < flags, and where each value came from.

The values live in plain dataclasses; pydantic checks what a file or a flag says against their annotations. It takes a
sixth of a second to load, a fifth of the time to the first byte, so it is loaded only when there is something to check.
msgspec loads faster, but its messages neither show the wrong value nor list the allowed ones, it calls NaN out of
range, and a ``Check`` would need a pass of its own: code for all of that would be longer than what it replaces.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar, cast, get_type_hints

from musetalk_cli.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel, GetCoreSchemaHandler
    from pydantic_core import CoreSchema

MAX_ECHO = 60  # characters of a wrong value that are shown

Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
Tune = Literal["zerolatency", "film", "animation", "stillimage", "none"]
Model = Literal["auto", "warp", "musetalk-1.5", "musetalk-1.0"]
Precision = Literal["auto", "fp16", "bf16", "fp32"]
Section = TypeVar("Section")


@dataclass(frozen=True)
class Range:
    """An annotation: a number from ``least`` to ``most``, both included; without ``most``, any from ``least`` on."""

    least: float
    most: float = math.inf

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        end = {} if math.isinf(self.most) else {"le": self.most}
        return cast("CoreSchema", {**handler(source), "ge": self.least, **end})


@dataclass(frozen=True)
class Check:
    """An annotation: ``function`` gives a value back as it is to be stored, or raises ValueError."""

    function: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.function, handler(source))


@dataclass(frozen=True)
class Lenient:
    """An annotation: a list of a file or a flag is taken for the tuple that a frozen dataclass holds."""

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return cast("CoreSchema", {**handler(source), "strict": False})


def _fall_on_model_steps(seconds: float) -> float:
    # Every model has features in steps of 20 ms; a block's edge then never falls inside one.
    if abs(seconds / 0.02 - round(seconds / 0.02)) > 1e-6:
        raise ValueError("must be a multiple of 0.02 s")
    return round(seconds, 2)


def _be_even(pixels: int) -> int:
    if pixels % 2:
        raise ValueError(f"must be even (4:2:0 video); try {pixels + 1}")
    return pixels


def _be_something(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _be_a_device(text: str) -> str:
    kind, _, numbers = text.partition(":") if ":" in text else ("cuda", "", text)
    each = numbers.split(",")
    if text in ("auto", "cuda", "mps", "cpu"):
        return text
    if kind != "cuda" or not all(number.isascii() and number.isdigit() for number in each):
        raise ValueError("must be auto, cuda, cuda:N, mps or cpu; several GPUs are cuda:0,1")
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
    avatars: Annotated[tuple[str, ...], Lenient()] = ("nora", "theo")
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
    life: bool = True
    seed: Annotated[int, Range(0, 2**31 - 1)] = 0


@dataclass(frozen=True)
class MuseTalkConfig:
    parsing_mode: Literal["auto", "jaw", "raw", "neck"] = "auto"
    left_cheek_width: Annotated[int, Range(0, 256)] = 90
    right_cheek_width: Annotated[int, Range(0, 256)] = 90
    extra_margin: Annotated[int, Range(0, 200)] | None = None


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
    avatar_dir: Annotated[str, Check(_be_something)] | None = None
    face_models: Annotated[str, Check(_be_something)] | None = None
    model: Model = "auto"
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


class LoadedConfig(NamedTuple):
    """A configuration, and for every dotted key the file or flag that set it (``default`` for the rest)."""

    config: Config
    origins: dict[str, str]


def load_config(files: Sequence[Path] = (), flags: Mapping[str, tuple[str, Any]] | None = None) -> LoadedConfig:
    """Merge defaults, then YAML files in order, then flags (``{dotted key: (flag's name, value)}``).

    Raises ConfigError that names the file or flag, the key and, for an unknown key, the nearest known one.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(flatten(asdict(Config())), "default")
    for path in files:
        for key, value in _read_file(path):
            values[key], origins[key] = value, str(path)
    for key, (flag, value) in (flags or {}).items():
        values[key], origins[key] = value, flag
    return LoadedConfig(_check(values, origins) if values else Config(), origins)


def _check(values: Mapping[str, Any], origins: Mapping[str, str]) -> Config:
    """The configuration with these values (by dotted key). Raises ConfigError."""
    return check_section(Config, _nest(values), lambda key: f"{origins.get(key, key)}: ")


def check_section(
    section: type[Section], values: Mapping[str, Any], name_origin: Callable[[str], str] = lambda key: ""
) -> Section:
    """A section with these values, each checked against its annotation.

    Raises ConfigError that names the first wrong one, behind what ``name_origin`` says of its dotted key.
    """
    from pydantic import ValidationError

    try:
        return _build(section, _model_of(section).model_validate(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:2])
        raise ConfigError(f"{name_origin(key)}{_explain(key, first)}") from None


def _model_of(section: type) -> type[BaseModel]:
    """A pydantic model with a section's keys: unknown ones, wrong types and not finite numbers are errors."""
    from pydantic import ConfigDict, create_model

    kinds = get_type_hints(section, include_extras=True)
    keys: dict[str, Any] = {
        key.name: (_model_of(kinds[key.name]), {}) if is_dataclass(key.default) else (kinds[key.name], key.default)
        for key in fields(section)
    }
    rules = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return create_model(section.__name__, __config__=rules, **keys)


def _build(section: type[Section], checked: BaseModel) -> Section:
    """A section from the model that checked its values; keys that were not given keep their defaults."""
    kinds = get_type_hints(section)
    given = ((key, getattr(checked, key)) for key in checked.model_fields_set)
    return section(**{key: _build(kinds[key], value) if is_dataclass(kinds[key]) else value for key, value in given})


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
        """A key that appears twice is an error; it is not the last one's."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                raise yaml.YAMLError(f"key '{twice}' appears twice, near line {node.start_mark.line + 1}")
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
    return list(known_items(content, str(path)))


def known_items(
    content: Mapping[Any, Any], origin: str, section: type = Config, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """The dotted keys of nested settings, and their values, which are not checked here.

    Raises ConfigError that names ``origin`` for an unknown key.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{origin} must hold keys and values, not {_shorten(content)}")
    kinds = get_type_hints(section)
    for key, value in content.items():
        if key not in kinds:
            raise ConfigError(f"{origin}: unknown key '{prefix}{key}'", hint=_nearest(f"{prefix}{key}"))
        kind = kinds[key]
        if isinstance(kind, type) and is_dataclass(kind):
            if value is not None and not isinstance(value, Mapping):
                raise ConfigError(f"{origin}: '{prefix}{key}' is a section and must hold keys")
            yield from known_items(value or {}, origin, kind, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _nearest(key: str) -> str:
    import difflib

    section, _, wanted = key.rpartition(".")
    known = {name: name.rpartition(".")[2] for name in flatten(asdict(Config()))}
    near = difflib.get_close_matches(wanted, known.values(), n=1)
    if near:
        return f"did you mean '{next(name for name, last in known.items() if last == near[0])}'?"
    keys = [last for name, last in known.items() if section and name.startswith(f"{section}.")]
    return f"the keys of '{section}' are: {', '.join(keys)}" if keys else f"the keys are: {', '.join(known)}"


def _explain(key: str, error: Any) -> str:
    reason = str(error["msg"]).removeprefix("Value error, ")
    return f"'{key}' is {_shorten(error['input'])}: {reason[:1].lower()}{reason[1:]}"


def _shorten(value: object) -> str:
    given = repr(value)
    return given if len(given) <= MAX_ECHO else f"{given[:MAX_ECHO]}…"


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return nested
