"""Loads the frameworks that are installed, past warnings about the standard library that their own imports give."""

from __future__ import annotations

import contextlib
import warnings

with warnings.catch_warnings(), contextlib.suppress(ModuleNotFoundError):
    warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)
    import pipecat.audio.utils  # noqa: F401
