"""Changes of the pixels of a clip; what is random is drawn once per clip."""
