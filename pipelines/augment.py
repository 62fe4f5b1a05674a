"""Clip operations: one draw per clip, so that every frame of it is treated alike.

Frames are uint8 [T, H, W, 3]; the random operations take a `seed`, an integer tensor [2] as of
`tf.random.stateless_uniform`, and the same seed always gives the same result.
"""

import numpy as np
import tensorflow as tf

# Corners, edge middles, centre and quarter points of the TSN crop, in steps of a quarter of the free space.
_CROP_OFFSETS = np.array(
    [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (0, 2), (2, 0), (4, 2), (2, 4), (1, 1), (1, 3), (3, 1), (3, 3)]
)


def multi_scale_crop(frames, size, seed, scales=(1.0, 0.875, 0.75, 0.66)):
    """Crops at a random one of a few sizes and 13 places, and resizes to a square (TSN; TSM and RNL).

    Height and width are the short side times two scales that are at most one step apart; a length
    less than 3 pixels from `size` becomes `size`.

    Args:
        frames: uint8 [T, H, W, 3].
        size: Side of the result in pixels.
        seed: Integer tensor [2].
        scales: Descending fractions of the short side, in (0, 1].

    Returns:
        float32 [T, size, size, 3] in [0, 255].
    """
    shape = tf.shape(frames)
    short_side = tf.cast(tf.minimum(shape[1], shape[2]), tf.float32)
    lengths = tf.cast(short_side * tf.constant(scales, tf.float32), tf.int32)
    lengths = tf.where(tf.abs(lengths - size) < 3, size, lengths)
    pairs = [(i, j) for i in range(len(scales)) for j in range(len(scales)) if abs(i - j) <= 1]
    draws = tf.random.stateless_uniform([2], seed)
    pair = tf.constant(pairs)[tf.cast(draws[0] * len(pairs), tf.int32)]
    extent = tf.minimum(tf.gather(lengths, pair), shape[1:3])  # Height and width.
    place = tf.constant(_CROP_OFFSETS, tf.int32)[tf.cast(draws[1] * len(_CROP_OFFSETS), tf.int32)]
    corner = (shape[1:3] - extent) // 4 * place
    return crop_and_resize(frames, corner, extent, size)


def crop_and_resize(frames, corner, extent, size):
    """Cuts a box of `extent` (height, width) at `corner` (top, left) and resizes it bilinearly.

    Returns:
        float32 [T, size, size, 3] in [0, 255].
    """
    box = frames[:, corner[0] : corner[0] + extent[0], corner[1] : corner[1] + extent[1]]
    return tf.ensure_shape(tf.image.resize(box, (size, size)), (None, size, size, 3))


def random_flip(clip, seed):
    """Mirrors the whole clip [T, H, W, 3] left to right with probability one half."""
    return tf.cond(tf.random.stateless_uniform([], seed) < 0.5, lambda: tf.reverse(clip, [2]), lambda: clip)


def square_crops(frames, size, crops):
    """Cuts squares along the long side: the centre, or left (top), centre and right (bottom).

    Args:
        frames: uint8 [T, H, W, 3] with H, W >= size.
        size: Side of the squares in pixels.
        crops: 1 or 3.

    Returns:
        float32 [crops, T, size, size, 3] in [0, 255].
    """
    free = tf.shape(frames)[1:3] - size
    middle, along = free // 2, tf.stack([free[0] > free[1], free[0] <= free[1]])
    corners = [tf.where(along, free * place // 2, middle) for place in {1: [1], 3: [0, 1, 2]}[crops]]
    views = [frames[:, corner[0] : corner[0] + size, corner[1] : corner[1] + size] for corner in corners]
    return tf.cast(tf.ensure_shape(tf.stack(views), (crops, None, size, size, 3)), tf.float32)


def normalise(clip, mean, std):
    """Returns (clip - mean) / std per channel, `mean` and `std` in the units of the clip."""
    return (clip - tf.constant(mean, tf.float32)) / tf.constant(std, tf.float32)
