"""Checks and measures the neural model on a GPU, in one run of a few minutes."""
