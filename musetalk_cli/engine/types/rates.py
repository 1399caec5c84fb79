"""The two rates of audio."""

MODEL_RATE_HZ = 16_000  # what the models hear
AUDIO_RATE_HZ = 48_000  # what the viewer hears
