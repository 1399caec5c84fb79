"""The nets of these tests are so small that more threads would only wait for each other."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Importing torch, diffusers and transformers alone takes many seconds, and falls on whichever test comes first."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
