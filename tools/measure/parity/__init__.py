"""Compares the neural model with the libraries that its official checkpoints come from."""
