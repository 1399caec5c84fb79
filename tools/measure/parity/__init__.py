"""Holds the neural model against the libraries that its official files come from."""
