"""What an avatar is prepared with."""

from __future__ import annotations

from typing import Any

import pytest

from musetalk_cli.app.avatars.preparation import _choose_tools
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.runtime import ffmpeg_choice


def test_a_preparation_runs_the_ffmpeg_that_starts_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts two, and reads nothing but files."""
    asked = list[dict[str, Any]]()

    def choose(choice: str, *_: Any, **more: Any) -> str:
        asked.append(more)
        return choice

    monkeypatch.setattr(ffmpeg_choice, "choose_ffmpeg", choose)
    assert _choose_tools(Config(), print).ffmpeg == "auto"
    assert asked == [{"is_local": True}]
