"""What the parts of the engine are told."""

from __future__ import annotations

import pytest

from musetalk_cli.app import assembly
from musetalk_cli.app.assembly import encoder_settings
from musetalk_cli.app.avatars.choice import choose_avatar
from musetalk_cli.configuration.schema import Config, VideoConfig


@pytest.mark.parametrize(
    ("num_cores", "video", "fragment_s", "num_threads"),
    [
        (2, VideoConfig(), None, 1),
        (4, VideoConfig(), None, None),
        (2, VideoConfig(size=1080), None, None),
        (2, VideoConfig(encoding_preset="slow"), None, None),
        (2, VideoConfig(encoding_tune="none"), None, None),
        (2, VideoConfig(size=1080), 0.02, 1),
        (2, VideoConfig(size=1080, fps=60), 0.02, None),
        (4, VideoConfig(), 0.02, None),
    ],
)
def test_on_two_cores_a_quick_encoder_of_small_frames_has_one_thread(
    monkeypatch: pytest.MonkeyPatch,
    num_cores: int,
    video: VideoConfig,
    fragment_s: float | None,
    num_threads: int | None,
) -> None:
    monkeypatch.setattr(assembly, "count_cores", lambda: num_cores)
    config = Config(video=video)
    chosen = choose_avatar(config)
    assert encoder_settings(config, chosen, 1, fragment_s=fragment_s).num_threads == num_threads
    assert encoder_settings(config, chosen, 1, codec="h264_nvenc", fragment_s=fragment_s).num_threads is None
