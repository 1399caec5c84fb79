"""Chooses the lip-sync model that the settings name, and opens it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.app.settings.folders import weight_store
from musetalk_cli.configuration.origins import blaming, name_setting
from musetalk_cli.configuration.schema import MODELS, Config
from musetalk_cli.errors import ConfigError, ModelError
from musetalk_cli.hints import one_of, suggest
from musetalk_cli.option_names import option
from musetalk_cli.system.folders import expand

if TYPE_CHECKING:
    from musetalk_cli.app.avatars.choice import ChosenAvatar
    from musetalk_cli.engine.avatar.avatar import Avatar
    from musetalk_cli.engine.models.base import LipSyncModel
    from musetalk_cli.engine.models.musetalk.checkpoints.loading import Version
    from musetalk_cli.engine.models.musetalk.factory import MuseTalkSettings
    from musetalk_cli.engine.types.messages import Tell
    from musetalk_cli.engine.weights.custom import CustomModel

BEST = "musetalk-1.5"
# One of them is there wherever Linux drives a GPU that PyTorch can use: NVIDIA's, the same under WSL and on Jetson,
# and AMD's. Looking takes microseconds, importing PyTorch seconds.
GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/kfd")


def choose_model(config: Config, tell: Tell) -> str:
    """The model's name: ``config.model``, or for auto the best that is fast here, cheapest questions first.

    Where nothing of MuseTalk is installed, that is warp without a word; otherwise ``tell`` is told why. Raises
    ConfigError for what only MuseTalk has, asked of warp, and ModelError when what was asked for is not installed.
    """
    check_model(config)
    wants_musetalk = config.random_weights or config.compat == "upstream"
    name = BEST if config.model == "auto" and wants_musetalk else config.model
    if name == "auto":
        return _choose_automatically(config, tell)
    if name != "warp":
        _check_is_installed(config, name)
    return name


def check_model(config: Config) -> None:
    """Raise ConfigError when no model has the name in the settings, neither ours nor imported, or it is warp and they
    ask for what only MuseTalk has."""
    if config.model == "warp" and (config.random_weights or config.compat == "upstream"):
        what, flag = (
            ("random weights", "--random-weights") if config.random_weights else ("official script", "--compat")
        )
        hint = f"leave {option(flag)} out, or choose {option('--model')}"
        with blaming(config, "random_weights" if config.random_weights else "compat", "model"):
            raise ConfigError(f"the warp model has no {what}", hint=hint)
    if config.model in MODELS:
        return
    from musetalk_cli.engine.weights.custom import list_custom

    names = [*MODELS, *(each.name for each in list_custom(weight_store()))]
    if config.model not in names:
        hint = suggest(config.model, names, "musetalk models import DIR --name NAME brings your own")
        with blaming(config, "model"):
            raise ConfigError(f"{name_setting(config, 'model')}: must be {one_of(names)}", hint=hint)


def _find_custom(name: str) -> CustomModel | None:
    from musetalk_cli.engine.weights.custom import find_custom

    return None if name in MODELS else find_custom(name, weight_store())


def open_musetalk(
    config: Config, name: str, chosen: ChosenAvatar, avatar: Avatar, tell: Tell, *, shares_nets: bool = False
) -> LipSyncModel:
    """MuseTalk bound to an avatar.

    Args:
        config: device, precision, mask and silence gate.
        name: ``musetalk-1.5``, ``musetalk-1.0``, or a custom model's.
        chosen: the avatar's folder, and the height of the output.
        avatar: the same, opened, in its own size.
        tell: takes lines for the user.
        shares_nets: whether it may use the nets of a model that is open.

    Raises:
        ModelError: the weights are missing or damaged, or the device cannot be used.
        AvatarError: the avatar cannot be read.
    """
    from musetalk_cli.engine.models.musetalk.factory import open_model

    weights = None if config.random_weights else {**_find_weights(name), **_find_parsing(), **_find_taesd(config)}
    settings, frame_rate = _settings(config, name), config.video.frame_rate
    try:
        return open_model(
            settings, weights, avatar, chosen.folder, frame_rate, chosen.height_px, tell, shares_nets=shares_nets
        )
    except ModelError as error:
        error.hint = weight_store().next_step(str(error), error.hint)
        raise


def count_cores() -> int:
    """Logical cores that we may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _choose_automatically(config: Config, tell: Tell) -> str:
    if not has_weights(BEST):
        if config.device not in ("auto", "cpu"):
            tell(f"model: warp, which runs on the CPU; {option('--device')} is for {BEST}, whose weights are not here")
        return "warp"
    reason = _why_not_fast(config)
    if reason:
        tell(f"model: warp, though the weights of {BEST} are here: {reason}")
    return "warp" if reason else BEST


def _why_not_fast(config: Config) -> str:
    """Why MuseTalk cannot run fast here; empty if it can."""
    if config.device == "cpu":
        return "the device is the CPU"
    if find_spec("torch") is None:
        from musetalk_cli.installation import install_command

        return f"PyTorch is missing ({install_command('neural')})"
    no_gpu = f"there is no GPU that PyTorch can use ({option('--model')} {BEST} takes the CPU)"
    if sys.platform == "linux" and not any(Path(name).exists() for name in GPU_FILES):
        return no_gpu
    import torch

    return "" if torch.cuda.is_available() or torch.backends.mps.is_available() else no_gpu


def _check_is_installed(config: Config, name: str) -> None:
    """Before anything is made: raise ModelError when weights, PyTorch or a device that was named are missing."""
    missing = [module for module in ("torch", "safetensors") if find_spec(module) is None]
    if missing:
        from musetalk_cli.installation import install_command

        has_all = config.random_weights or has_weights(name)
        weights = "" if has_all else ", nor are its weights"
        step = (
            "" if has_all else f", then musetalk models download {name}, or musetalk models import DIR if you have them"
        )
        message = f"{name} needs {' and '.join(missing)}, not installed here{weights}"
        with blaming(config, "model"):
            raise ModelError(message, hint=f"{install_command('neural')}{step}")
    if not config.random_weights:
        with blaming(config, "model"):
            _find_weights(name)
        _find_taesd(config)
    if config.device not in ("auto", "cpu"):
        from musetalk_cli.engine.models.musetalk.inference.devices import choose_precisions

        with blaming(config, "device"):
            choose_precisions(config.device)
        with blaming(config, "precision"):
            choose_precisions(config.device, config.precision)


def _find_weights(name: str) -> dict[str, Path]:
    from musetalk_cli.engine.weights.custom import require_custom
    from musetalk_cli.engine.weights.registry import get_weight_set

    if custom := _find_custom(name):
        return require_custom(custom, weight_store())
    return {str(kind): path for kind, path in weight_store().require(get_weight_set(name)).items()}


def _find_taesd(config: Config) -> dict[str, Path]:
    if config.performance.decoder == "full":
        return {}
    given = config.performance.taesd_weights
    if given is None:
        hint = "set performance.taesd_weights to the path of the weights of its decoder"
        with blaming(config, "performance.decoder"):
            raise ModelError("the decoder taesd needs its weights", hint=hint)
    path = expand(given)
    if not path.is_file():
        with blaming(config, "performance.taesd_weights"):
            raise ModelError(
                f"there are no weights {path}", hint="performance.taesd_weights names those of the decoder"
            )
    return {"taesd": path}


def has_weights(name: str) -> bool:
    """Whether every file of a neural model's weights is here, by a quick look."""
    from musetalk_cli.engine.weights.registry import get_weight_set

    store = weight_store()
    if name not in MODELS:
        return True  # it was imported
    return all(store.find(part) for part in get_weight_set(name).parts)


def _find_parsing() -> dict[str, Path]:
    """Face parsing's weights, which are optional."""
    from musetalk_cli.engine.weights.registry import PARSING

    path = weight_store().find(PARSING)
    return {} if path is None else {PARSING.kind: path}


def _settings(config: Config, name: str) -> MuseTalkSettings:
    from musetalk_cli.engine.models.musetalk.audio.silence import SilenceSettings
    from musetalk_cli.engine.models.musetalk.face.masks import MaskSettings
    from musetalk_cli.engine.models.musetalk.factory import MuseTalkSettings

    face, custom = config.musetalk, _find_custom(name)
    version: Version = "1.0" if name == "musetalk-1.0" or (custom and custom.version == "1.0") else "1.5"
    # The official script, too, replaces what a version was trained for.
    mode = face.parsing_mode
    if mode == "auto":
        mode = "raw" if version == "1.0" else "jaw"
    silence = asdict(config.silence)
    has_gate = silence.pop("gate")
    return MuseTalkSettings(
        version=version,
        device=config.device,
        precision=config.precision,
        memory_fraction=config.performance.gpu_memory_fraction,
        # Two logical cores share one core's arithmetic: on two of them, one thread was as fast as two.
        num_threads=max(1, count_cores() // 2),
        batch_size=config.video.batch_size,
        is_compiled=config.performance.compile,
        decoder=config.performance.decoder,
        has_half_rate=config.performance.half_rate,
        has_detail=face.detail,
        silence=SilenceSettings(**silence) if has_gate else None,
        mask=MaskSettings(mode, face.left_cheek_width, face.right_cheek_width),
        extra_margin_px=face.extra_margin,
        follows_upstream=config.compat == "upstream",
        custom_name=custom.name if custom else "",
    )
