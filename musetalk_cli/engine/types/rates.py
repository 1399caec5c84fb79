"""The two rates of sound."""

MODEL_RATE_HZ = 16_000  # what the models hear
SOUND_RATE_HZ = 48_000  # what the viewer hears
