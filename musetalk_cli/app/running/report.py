"""What a render made, in one line for people and as one object for programs."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

from musetalk_cli.engine.runtime.stats import Snapshot
from musetalk_cli.errors import MuseTalkError
from musetalk_cli.ui.dashboard import describe_model
from musetalk_cli.ui.figures import frames_text, size_text


def describe_result(snapshot: Snapshot, places: Sequence[str]) -> str:
    """``1500 frames, 60.0 s in 11.4 s (5.3× real time), 4.1 MB → speech.mp4``, with a neural model's name."""
    if not places:
        return "nothing was kept: the first fragment was not finished"
    pace = f"{snapshot.media_s:.1f} s in {snapshot.elapsed_s:.1f} s ({snapshot.speed:.1f}× real time)"
    where = ", ".join(places)
    made = f"{frames_text(snapshot.num_frames)}, {pace}, {size_text(snapshot.num_bytes)}"
    return f"{made}{describe_model(snapshot)} → {where}"


def result_record(input_: str, snapshot: Snapshot, places: Sequence[str], exit_code: int) -> dict[str, Any]:
    """The object of ``--json``.

    Args:
        input_: as it was given.
        snapshot: the last figures.
        places: where something plays.
        exit_code: 0, or 128 + the signal that interrupted the render.
    """
    return {
        "input": input_,
        "outputs": list(places),
        "model": snapshot.model,
        "frames": snapshot.num_frames,
        "seconds": round(snapshot.media_s, 3),
        "elapsed_s": round(snapshot.elapsed_s, 3),
        "speed": round(snapshot.speed, 3),
        "bytes": snapshot.num_bytes,
        "exit_reason": signal.Signals(exit_code - 128).name if exit_code else "finished",
    }


def error_record(input_: str, error: MuseTalkError) -> dict[str, Any]:
    """The object of ``--json`` where a render failed."""
    return {"input": input_, "outputs": [], "exit_reason": "error", "error": str(error), "hint": error.hint}
