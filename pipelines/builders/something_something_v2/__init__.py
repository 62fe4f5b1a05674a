"""Something-Something V2 for TFDS."""
