"""The native kernel: one library in C for the whole engine. Where there is none, numpy and OpenCV do its work."""
