"""Mini-Kinetics-200 for TFDS."""
