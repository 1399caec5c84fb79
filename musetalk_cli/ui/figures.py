"""Figures as sentences have them."""

from __future__ import annotations


def frames_text(number: int) -> str:
    """``1 frame``, ``125 frames``"""
    return f"{number} frame{'' if number == 1 else 's'}"


def size_text(num_bytes: int) -> str:
    """``4.1 MB``; of less than a tenth, which would be 0.0 or a digit, ``43 kB``."""
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 100_000 or not num_bytes else f"{num_bytes / 1e3:.1f} kB"
