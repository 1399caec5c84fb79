"""A worker of a cluster, in this process."""

from __future__ import annotations

from musetalk_cli.app.cluster.worker import Worker
from musetalk_cli.option_names import option


def test_what_it_tells_names_the_options_of_the_command_that_has_the_batch() -> None:
    worker = Worker(1, {})
    try:
        assert option("--fps") == "--fps"
    finally:
        worker.end()
    assert option("--fps") == "'fps'"
