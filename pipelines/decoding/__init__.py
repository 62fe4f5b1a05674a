"""A source and frame numbers to pixels."""
