"""Draws the built-in portraits: a shaded height field for the skin, drawn eyes, stroke-built hair and brows."""
