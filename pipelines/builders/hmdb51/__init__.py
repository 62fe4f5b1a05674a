"""HMDB51 for TFDS."""
