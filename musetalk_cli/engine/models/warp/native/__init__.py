"""The warp model's work on pixels in C. Where there is no library, numpy does the same."""
