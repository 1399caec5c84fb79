"""Measures the neural model: operations, time against diffusers, and a profile."""
