"""Trains and judges the mouth net that ships with the package: synthetic speech in, mouth shapes out."""
