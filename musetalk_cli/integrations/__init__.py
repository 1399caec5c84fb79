"""Adapters that put a session into the pipeline of another framework; each needs the extra of its name."""
