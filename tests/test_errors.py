"""Hints of errors: what they tell a user to type works."""

from __future__ import annotations

import re
from pathlib import Path

from musetalk_cli.errors import NEURAL_HINT

PYPROJECT = (Path(__file__).parent.parent / "pyproject.toml").read_text()


def test_the_neural_hint_names_what_the_extra_installs() -> None:
    extra = re.search(r"^neural = \[(.*?)\]$", PYPROJECT, re.MULTILINE)
    assert extra is not None
    wanted = dict(re.findall(r'"([a-z_]+)([^"]*)"', extra[1]))
    named = dict(re.findall(r"'?([a-z_]+)([^' ]*)'?", NEURAL_HINT.removeprefix("pip install ")))
    assert list(named) == list(wanted)
    assert all(bound in wanted[name] for name, bound in named.items())


def test_no_message_names_a_package_that_is_not_ours_on_pypi() -> None:
    package = Path(__file__).parent.parent / "musetalk_cli"
    assert [path.name for path in package.rglob("*.py") if "pip install" in path.read_text()] == ["errors.py"]
