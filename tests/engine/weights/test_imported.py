"""The list of what was imported, where several commands change it at once."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from musetalk_cli.engine.weights.store import IMPORTS, WeightStore
from musetalk_cli.errors import ModelError

NUM_COMMANDS, NUM_CHANGES = 6, 12


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks no folder")
def test_no_change_is_lost_where_several_are_made_at_once(tmp_path: Path) -> None:
    def change(number: int) -> None:
        store = WeightStore(tmp_path)
        for step in range(NUM_CHANGES):
            store.keep_custom(f"own-{number}-{step}", {"base": "musetalk-1.5", "files": {"unet": "/own.pth"}})
            store.refer_to(Path(f"/weights/{number}/{step}").resolve())

    with ThreadPoolExecutor(NUM_COMMANDS) as pool:
        list(pool.map(change, range(NUM_COMMANDS)))
    store = WeightStore(tmp_path)
    assert len(store.custom_records()) == len(store.imported()) == NUM_COMMANDS * NUM_CHANGES
    assert [path.name for path in store.models.iterdir()] == [IMPORTS]


def test_a_damaged_list_is_neither_replaced_nor_held(tmp_path: Path) -> None:
    store = WeightStore(tmp_path)
    store.keep_custom("own", None)
    (store.models / IMPORTS).write_text("{")
    for _ in range(2):
        with pytest.raises(ModelError, match="cannot read the list of imported folders"):
            store.keep_custom("own", None)
    assert (store.models / IMPORTS).read_text() == "{"
