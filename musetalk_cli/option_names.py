"""What the options of the commands are called elsewhere: in the settings, and in hints for programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
# Arguments of the Python functions, and fields of the server's messages; other options are named by their key.
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

_num_command_lines = 0


def option(name: str) -> str:
    """An option in a message, as who reads it can set it: the option in a command line, else the argument or setting.

    ``name`` is in ``ARGUMENTS`` or, by its key, in ``KEY_OF_FLAG``.
    """
    if _num_command_lines:
        return name
    return ARGUMENTS.get(name) or f"'{KEY_OF_FLAG[name.strip('-').replace('-', '_')]}'"


@contextmanager
def naming_options() -> Iterator[None]:
    """What runs meanwhile, in any thread, runs for a command line: messages name its options."""
    global _num_command_lines
    _num_command_lines += 1
    try:
        yield
    finally:
        _num_command_lines -= 1
