"""Something-Something V1 for TFDS."""
