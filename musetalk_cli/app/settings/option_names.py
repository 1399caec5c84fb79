"""What the options of the commands are called elsewhere: in the settings, and in the interfaces for programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from musetalk_cli.errors import MuseTalkError

KEY_OF_FLAG = {
    "avatar": "avatar",
    "background": "background",
    "avatar_dir": "avatar_dir",
    "face_models": "face_models",
    "lossless": "lossless_frames",
    "model": "model",
    "model_device": "device",
    "precision": "precision",
    "random_weights": "random_weights",
    "silence_gate": "silence.gate",
    "expression": "warp.expression",
    "compat": "compat",
    "fps": "video.fps",
    "size": "video.size",
    "workers": "performance.parallel_workers",
    "block": "audio.target_duration",
    "encoder": "stream.encoder",
    "when_slow": "stream.when_slow",
    "on_source_loss": "stream.on_source_loss",
    "on_sink_loss": "stream.on_sink_loss",
    "host": "serve.host",
    "port": "serve.port",
    "allow_avatar": "serve.avatars",
    "max_sessions": "serve.max_sessions",
    "spare_workers": "serve.workers",
    "token_file": "serve.token_file",
    "allow_origin": "serve.allow_origins",
    "log_format": "serve.log_format",
}
# Arguments of the Python functions, and fields of the server's messages, by the options of the commands.
ARGUMENTS = {
    "-o": "'output'",
    "--overwrite": "overwrite=True",
    "--force": "force=True",
    "--name": "'name'",
    "--face": "'face'",
    "--start": "'start_s'",
    "--max-seconds": "'max_seconds'",
    "--size": "'size'",
    "--fps": "'fps'",
    "--rate": "'rate_hz'",
    "--device": "'device'",
}
# A command, up to a comma or the end of a sentence, is for a terminal and stays as it is; in what is left, an option.
_COMMAND_OR_OPTION = re.compile(
    r"\b(?:musetalk|pip|uv|pipx|docker|python|ray) [^;,()]*|(?<![\w/.=-])(?:--[a-z][a-z-]+|-o)\b"
)


def name_for_programs(text: str) -> str:
    """A message or hint that names arguments and settings where it named a command's options."""
    return _COMMAND_OR_OPTION.sub(lambda found: _rename(found[0]), text)


@contextmanager
def naming_for_programs() -> Iterator[None]:
    """The same for the MuseTalkError that is raised inside."""
    try:
        yield
    except MuseTalkError as error:
        error.args = (name_for_programs(str(error)), *error.args[1:])
        error.hint = name_for_programs(error.hint)
        raise


def _rename(words: str) -> str:
    if not words.startswith("-"):
        return words
    key = KEY_OF_FLAG.get(words.strip("-").replace("-", "_"))
    return ARGUMENTS.get(words) or (f"'{key}'" if key else words)
