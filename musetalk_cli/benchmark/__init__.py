"""Measures this machine: the bench command's engine."""
