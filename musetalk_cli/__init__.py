"""musetalk: live and file-based lip sync from the command line."""

__version__ = "0.1.0"
