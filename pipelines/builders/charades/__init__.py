"""Charades for TFDS."""
