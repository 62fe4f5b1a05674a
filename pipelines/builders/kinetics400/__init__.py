"""Kinetics-400 for TFDS."""
