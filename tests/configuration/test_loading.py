from __future__ import annotations

import re
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from musetalk_cli.configuration.files import PRESETS
from musetalk_cli.configuration.loading import flatten, load_config
from musetalk_cli.configuration.schema import Config, VideoConfig
from musetalk_cli.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


def write(folder: Path, text: str) -> Path:
    path = folder / "my.yaml"
    path.write_text(text)
    return path


def test_default_yaml_is_what_the_code_does() -> None:
    content = yaml.safe_load((CONFIGS / "default.yaml").read_text())
    assert list(flatten(content)) == list(flatten(asdict(Config())))
    assert load_config([CONFIGS / "default.yaml"]).config == Config()


def test_every_key_of_default_yaml_is_explained() -> None:
    lines = (CONFIGS / "default.yaml").read_text().splitlines()
    keys = [line for line in lines if line.strip() and not line.startswith("#") and not line.endswith(":")]
    assert [line for line in keys if "  # " not in line] == []


@pytest.mark.parametrize("name", ["realtime", "quality"])
def test_presets_change_something_and_are_valid(name: str) -> None:
    content = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    config = asdict(load_config([PRESETS / f"{name}.yaml"]).config)
    for section, values in content.items():
        for key, value in values.items():
            assert config[section][key] == value
            assert asdict(Config())[section][key] != value, f"{section}.{key} repeats the default"


def test_flags_win_over_files_and_files_over_defaults(tmp_path: Path) -> None:
    first = write(tmp_path, "video: {fps: 30, size: 512}\naudio: {bitrate_kbps: 96}")
    second = tmp_path / "second.yaml"
    second.write_text("audio: {bitrate_kbps: 64}")
    config, origins, _ = load_config([first, second], {"video.fps": ("--fps", 50.0)})
    assert (config.video.fps, config.video.size, config.audio.bitrate_kbps, config.video.crf) == (50, 512, 64, 23)
    assert origins["video.fps"] == "--fps"
    assert origins["video.size"] == f"{first}:1:24"
    assert origins["audio.bitrate_kbps"] == f"{second}:1:23"
    assert origins["video.crf"] == "default"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("video: {frames: 25}", ["unknown key 'video.frames'"]),
        ("video: {fpss: 25}", ["unknown key 'video.fpss'", "did you mean 'video.fps'"]),
        ("fps: 25", ["unknown key 'fps'", "did you mean 'video.fps'"]),
        ("vidoe: {fps: 25}", ["unknown key 'vidoe'", "did you mean 'video'"]),
        ("video.fps: 25", ["unknown key 'video.fps'", "write 'fps' below 'video:'"]),
        ("zebra: 1", ["unknown key 'zebra'", "avatar, ", "video, "]),
        ("video: {framerate: 25}", ["unknown key 'video.framerate'", "the keys of 'video' are: fps, size"]),
        ("video: {fps: .nan}", ["video.fps", "finite"]),
        ("video: {fps: 0}", ["video.fps", "must be from 5 to 60"]),
        ("video: {fps: fast}", ["video.fps", "'fast'"]),
        ("video: {size: 721}", ["video.size", "even", "722"]),
        ("video: {size: 720.5}", ["video.size"]),
        ("video: {encoding_preset: placebo}", ["video.encoding_preset", "ultrafast"]),
        ("audio: {target_duration: 1.99}", ["audio.target_duration", "multiple of 0.02"]),
        ("performance: {parallel_workers: true}", ["performance.parallel_workers"]),
        ("video: 25", ["'video' is a section"]),
        ("- a\n- b", ["must hold keys and values"]),
        ("device: gpu", ["device", "cuda:0,1"]),
        ("device: 'cuda:0,'", ["device", "cuda:N"]),
        ("device: 'mps:0'", ["device"]),
        ("device: 0,0", ["device", "twice"]),
        ("performance: {decoder: fast}", ["performance.decoder", "taesd"]),
        ("performance: {compile: 1}", ["performance.compile"]),
        ("video: {fps: 25", ["not valid YAML"]),
        ("warp: {life: yes please}", ["warp.life"]),
        ("warp: {life: 1.6}", ["warp.life", "from 0 to 1.5"]),
        ("musetalk: {parsing_mode: chin}", ["musetalk.parsing_mode", "must be auto, jaw, raw or neck"]),
        ("musetalk: {left_cheek_width: 300}", ["musetalk.left_cheek_width", "256"]),
        ("compat: official", ["compat", "must be none or upstream"]),
        ("video: {fps: 25}\nvideo: {crf: 20}", ["not valid YAML", "'video' appears twice"]),
        ("video: {crf: 2020-13-45}", ["not valid YAML"]),
        ("[" * 3000, ["not valid YAML"]),
        (f"avatar: {'9' * 5000}", ["not valid YAML"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config([path])
    message = f"{caught.value} {caught.value.hint}"
    assert str(path) in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(("text", "life"), [("true", 1.0), ("false", 0.0), ("1", 1.0), ("0.5", 0.5)])
def test_life_was_true_or_false_before_it_was_a_number(tmp_path: Path, text: str, life: float) -> None:
    assert load_config([write(tmp_path, f"warp: {{life: {text}}}")]).config.warp.life == life


def test_an_empty_section_says_nothing(tmp_path: Path) -> None:
    assert load_config([write(tmp_path, "video:\naudio: {}\n")]).config == Config()


@pytest.mark.parametrize(
    ("key", "flag", "value", "message", "hint"),
    [
        ("video.fps", "--fps", 1000.0, "--fps 1000: must be from 5 to 60", ""),
        ("video.size", "--size", 201, "--size 201: must be even (4:2:0 video); try 202", ""),
        ("device", "--device", "gpu", "--device gpu: must be auto, cuda, cuda:N, mps or cpu; several", "'cuda'?"),
        (
            "background",
            "--background",
            "wite",
            "--background wite: must be keep, transparent, white, black, grey,",
            "'white'?",
        ),
        ("serve.token_file", "--token-file", "", "--token-file '': must not be empty", ""),
        ("serve.max_sessions", "--max-sessions", 0, "--max-sessions 0: must be from 1 to 10000", ""),
        ("stream.when_slow", "--when-slow", "a b", "--when-slow 'a b': must be hold, idle or skip", ""),
    ],
)
def test_a_flag_is_blamed_by_its_name(key: str, flag: str, value: object, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(flags={key: (flag, value)})
    assert str(caught.value).startswith(message)
    assert caught.value.hint == (f"did you mean {hint}" if hint else "")


@pytest.mark.parametrize("key", [key for key in flatten(asdict(Config())) if not key.startswith("silence.gate")])
def test_no_message_has_words_of_a_library(key: str) -> None:
    for value in (-1, 1e12, "zebra", None, [], float("nan"), True):
        try:
            load_config(flags={key: ("--flag", value)})
        except ConfigError as error:
            assert "input" not in str(error).lower()
            assert key not in str(error).split(": ", 1)[0]
            assert re.match(r"--flag .+: (must|names) ", str(error)), error


@pytest.mark.parametrize(
    ("text", "device"), [("auto", "auto"), ("cuda:1", "cuda:1"), ("0,1", "cuda:0,1"), ("2", "cuda:2"), ("cpu", "cpu")]
)
def test_gpus_may_be_named_by_their_numbers(text: str, device: str) -> None:
    assert load_config(flags={"device": ("--device", text)}).config.device == device


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        load_config([tmp_path / "nowhere.yaml"])


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (5, "5"),
        (60, "60"),
        (25, "25"),
        (29.97, "30000/1001"),
        (23.976, "24000/1001"),
        (59.94, "60000/1001"),
        (12.5, "25/2"),
        (30, "30"),
    ],
)
def test_frame_rates_are_exact(fps: float, rate: str) -> None:
    assert load_config(flags={"video.fps": ("--fps", fps)}).config.video.frame_rate == Fraction(rate)


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (25, Fraction(25)),
        (24, Fraction(24)),
        (12.5, Fraction(25, 2)),
        (29.97, Fraction(30_000, 1001)),
        (29.97003, Fraction(30_000, 1001)),
        (23.976, Fraction(24_000, 1001)),
        (23.98, Fraction(24_000, 1001)),
        (59.94, Fraction(60_000, 1001)),
        (29.95, Fraction(599, 20)),
        (29.96, Fraction(749, 25)),
        (29.98, Fraction(1499, 50)),
        (23.95, Fraction(479, 20)),
        (30.0, Fraction(30)),
    ],
)
def test_only_the_ntsc_rates_themselves_become_exact(fps: float, rate: Fraction) -> None:
    assert VideoConfig(fps=fps).frame_rate == rate
