"""What is done to the pixels of a clip, with one draw per clip."""
