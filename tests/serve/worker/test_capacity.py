"""How many sessions fit: the figure follows from the cost of a frame."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from musetalk_cli.configuration.schema import Config, VideoConfig
from musetalk_cli.serve.worker import capacity
from musetalk_cli.serve.worker.capacity import FrameCost, measure_cost, measure_forked, measure_here
from musetalk_cli.serve.worker.offer import Offer


@pytest.fixture(scope="module")
def offer() -> Iterator[Offer]:
    offer = Offer(Config(model="warp", video=VideoConfig(size=64, fps=25)), ["nora"], print)
    yield offer
    offer.close()


def test_a_frame_costs_time(offer: Offer) -> None:
    cost = measure_cost(offer)
    assert cost.cpu_s > 0
    assert cost.wall_s > 0


def test_one_process_holds_as_many_as_it_has_time_for(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "measure_cost", lambda offer: FrameCost(cpu_s=1.0, wall_s=0.008))
    assert measure_here(offer) == int(capacity.USABLE_SHARE / (0.008 * 25))
    monkeypatch.setattr(capacity, "measure_cost", lambda offer: FrameCost(cpu_s=1.0, wall_s=9.0))
    assert measure_here(offer) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux")
def test_every_core_holds_as_many_as_it_has_time_for(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "count_cores", lambda: 3)
    monkeypatch.setattr(capacity, "measure_cost", lambda offer: FrameCost(cpu_s=0.008, wall_s=1.0))
    assert measure_forked(offer) == int(3 * capacity.USABLE_SHARE / (0.008 * 25))


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux")
def test_where_nothing_can_be_measured_each_core_holds_one(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "count_cores", lambda: 2)
    monkeypatch.setattr(capacity, "measure_cost", lambda offer: None)  # the child ends with an error
    assert measure_forked(offer) == 2
