"""A face in C, in one call. Where there is no library, numpy does the same."""
