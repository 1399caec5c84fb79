"""Measures the neural model's arithmetic: operations, time against diffusers, and where the time goes."""
