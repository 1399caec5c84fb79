"""What a voice's video is called where nobody says it.

Asked for before anything heavy is loaded, so that the decoder starts early.
"""

from __future__ import annotations

from pathlib import Path

from musetalk_cli.engine.types.addresses import is_address

STDIN = "-"


def video_name(voice: str) -> str:
    """``speech.mp4`` for ``talks/speech.wav``."""
    if voice == STDIN:
        return "stdin.mp4"
    name = voice.split("?")[0] if is_address(voice) else voice
    return f"{Path(name).stem or 'render'}.mp4"
