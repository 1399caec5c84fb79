"""Resampling in C: a region of an image twice as large, and its pixels at any position."""
