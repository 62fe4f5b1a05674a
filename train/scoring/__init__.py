"""What a trained model is worth: scores of videos, and what is measured of them.

`measures` is arithmetic. `scores` keeps what a model says of the videos of a split, and `tables` tells it
class by class. `evaluation` makes scores with a model, and `trained` reads a model and what belongs to it.
"""
