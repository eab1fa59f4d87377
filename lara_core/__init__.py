"""LARA-Gen: music that follows a text and a curve of valence and arousal. `pipeline.Lara` is the way in."""

__version__ = "0.1.0"
