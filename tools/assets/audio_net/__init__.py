"""Trains and evaluates the packaged mouth net: synthetic speech in, mouth shapes out."""
