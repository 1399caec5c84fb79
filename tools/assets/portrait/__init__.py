"""Draws the built-in portraits: a shaded height field for the skin, painted eyes, stroke-built hair and brows."""
