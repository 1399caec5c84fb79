"""The engine: audio goes in, one continuous talking video comes out.

    sources ─► blocks ─► features ─► workers (model × N) ─► compositing ─► encoder ─► sinks
      PCM     AudioBlock  FeatureBatch     FaceBatch, in order  FrameBatch     bytes

Every arrow is a bounded channel (stage.py), ``pipeline.py`` alone knows the order, and ``timing.py`` watches from the
side. Nothing is imported here, so that asking for help never loads a model.
"""
