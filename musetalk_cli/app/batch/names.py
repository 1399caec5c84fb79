"""What a voice's video is called where nobody says it.

Asked for before anything heavy is loaded, so that the decoder starts early.
"""

from __future__ import annotations

from pathlib import Path

from musetalk_cli.engine.types.addresses import HIDDEN, show_address

STDIN = "-"


def video_name(voice: str) -> str:
    """``speech.mp4`` for ``talks/speech.wav``; of an address without what is secret in it."""
    if voice == STDIN:
        return "stdin.mp4"
    stem = Path(show_address(voice)).stem
    return f"{'render' if stem in ('', HIDDEN) else stem}.mp4"
