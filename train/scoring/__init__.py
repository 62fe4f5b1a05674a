"""What a trained model is worth: scores of videos, and what is measured of them."""
