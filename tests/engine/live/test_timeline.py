"""The timeline against a model of what must come out of it; tools/campaign runs many more lives."""

from __future__ import annotations

import pytest

from fixtures.timeline_model import run_lives

LIVES, NUM_GROUPS = 600, 4


@pytest.mark.parametrize("group", range(NUM_GROUPS))
def test_random_lives(group: int) -> None:
    count = LIVES // NUM_GROUPS
    run_lives(group * count, count)
