"""A frame of a video in C: where its mouth is, how the skin moves, and its face."""
