"""Resizing as its definition has it, in float64, and the per-frame transforms that tests give to decoders."""

import numpy as np

from pipelines.augmenting.resizing import scale_short_side


def weights(length, size):
    """Returns [size, length]: how much each pixel of `length` counts for each of `size`, pixel by pixel."""
    matrix, support = np.zeros((size, length)), max(1.0, length / size)
    for place in range(size):
        centre = (place + 0.5) * length / size - 0.5
        for pixel in range(length):
            matrix[place, pixel] = max(0.0, 1 - abs(pixel - centre) / support)
    return matrix / matrix.sum(axis=1, keepdims=True)


def resized(frames, height, width):
    """Returns frames [T, H, W, C] with other sides."""
    rows, columns = weights(frames.shape[1], height), weights(frames.shape[2], width)
    return np.einsum("yh,thwc,xw->tyxc", rows, np.asarray(frames, float), columns)


def assert_rounded(levels, exact):
    """Checks that uint8 levels are exact numbers, rounded; a half may go either way."""
    levels = np.asarray(levels)
    assert levels.dtype == np.uint8 and levels.shape == exact.shape
    assert np.abs(levels - exact).max() <= 0.5 + 1e-3


def to_short_side(size):
    """Returns the transform of a frame that scales its short side; None for no size."""
    return size and (lambda frame: np.asarray(scale_short_side(frame, size)))
