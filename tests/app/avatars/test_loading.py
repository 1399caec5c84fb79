"""An avatar is loaded beside something else."""

from __future__ import annotations

import threading
from typing import cast

import pytest

from musetalk_cli.app.avatars.loading import LoadingAvatar
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.errors import AvatarError


class FakeAvatar:
    def __init__(self) -> None:
        self.heights_px = list[int]()
        self.is_closed = False

    def resized(self, height_px: int) -> object:
        self.heights_px.append(height_px)
        return self

    def close(self) -> None:
        self.is_closed = True


def test_it_is_loaded_and_resized_on_a_thread_of_its_own() -> None:
    avatar, threads = FakeAvatar(), list[threading.Thread]()
    goes_on = threading.Event()

    def load() -> Avatar:
        threads.append(threading.current_thread())
        assert goes_on.wait(60)
        return cast("Avatar", avatar)

    loading = LoadingAvatar(load, 64)
    goes_on.set()  # nobody waited for it before
    assert cast("object", loading.wait()) is avatar
    assert avatar.heights_px == [64]
    assert threads[0] is not threading.current_thread()
    loading.close()
    assert avatar.is_closed


def test_what_loading_raises_is_raised_where_it_is_waited_for() -> None:
    def load() -> Avatar:
        raise AvatarError("there is none")

    loading = LoadingAvatar(load, 64)
    with pytest.raises(AvatarError, match="there is none"):
        loading.wait()
    loading.close()
