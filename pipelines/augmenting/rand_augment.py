"""RandAugment for clips (Cubuk et al. 2020): a few random operations, each the same for all frames.

The operations, their ranges and their pixels are those of torchvision's `RandAugment` on Pillow images, with
its nearest neighbours and black corners. There are two exceptions: levels are rounded where Pillow cuts them
off, and statistics (the mean of contrast, the histograms of autocontrast and equalize) are those of the whole
clip, since still pictures would flicker if each frame had its own.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipelines.augmenting.colour import adjust_brightness, adjust_contrast, adjust_saturation, to_levels

MAX_MAGNITUDE = 30
# This is Pillow's SMOOTH, by which sharpness is measured.
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def rand_augment(clip, seed, num_layers=2, magnitude=9):
    """Applies `num_layers` operations one after another, each drawn uniformly from `OPERATIONS`.

    Args:
        clip: uint8 [T, H, W, 3].
        seed: Integer tensor [2].
        num_layers: Count N of operations, at least 0.
        magnitude: Strength M of all of them, in [0, 30]. Where an operation has two directions, such as
            left and right, its direction is random.

    Returns:
        uint8 [T, H, W, 3].

    Raises:
        ValueError: An argument is outside its range.

    Cost: see `benchmarks/augmentation.py`; equalize takes longest.
    """
    if num_layers < 0 or not 0 <= magnitude <= MAX_MAGNITUDE:
        raise ValueError(
            f"Expected num_layers of at least 0 and a magnitude in [0, {MAX_MAGNITUDE}]. Received "
            f"num_layers={num_layers}, magnitude={magnitude}. Try: num_layers=2, magnitude=9."
        )
    clip = tf.convert_to_tensor(clip)
    indices, signs = rand_augment_draws(seed, num_layers)
    for layer in range(num_layers):
        branches = [
            lambda clip=clip, operation=operation, sign=signs[layer]: operation.apply(
                clip, operation.strongest * magnitude / MAX_MAGNITUDE * (sign if operation.signed else 1.0)
            )
            for operation in OPERATIONS.values()
        ]
        clip = tf.switch_case(indices[layer], branches)
    return clip


def rand_augment_draws(seed, num_layers):
    """Draws the operations of `rand_augment` and their signs.

    Returns:
        (indices, signs): int32 [num_layers], indices in `OPERATIONS`, and float32 [num_layers], -1 or 1.
    """
    draws = tf.random.stateless_uniform([2, num_layers], seed)
    return tf.cast(draws[0] * len(OPERATIONS), tf.int32), tf.where(draws[1] < 0.5, -1.0, 1.0)


def autocontrast(clip):
    """Stretches each channel so that its darkest level in the clip becomes 0 and its brightest 255."""
    width = tf.shape(clip)[2]
    rows = tf.reshape(clip, [-1, 3 * width])  # [T*H, W*3]
    # Columns are reduced first, as reducing to three levels at once takes longer.
    lows = tf.reduce_min(tf.reshape(tf.reduce_min(rows, 0), [-1, 3]), 0)
    highs = tf.reduce_max(tf.reshape(tf.reduce_max(rows, 0), [-1, 3]), 0)
    lows, highs = tf.cast(lows, tf.float32), tf.cast(highs, tf.float32)
    even = tf.equal(lows, highs)
    lows, scales = tf.where(even, 0.0, lows), tf.where(even, 1.0, 255 / tf.maximum(highs - lows, 1))
    pixels = (tf.cast(rows, tf.float32) - tf.tile(lows, [width])) * tf.tile(scales, [width])
    return tf.ensure_shape(tf.reshape(to_levels(pixels), tf.shape(clip)), clip.shape)


def equalize(clip):
    """Maps the levels of each channel so that all levels become about equally frequent in the clip."""
    width = tf.shape(clip)[2]
    rows = tf.cast(tf.reshape(clip, [-1, 3 * width]), tf.int32)  # [T*H, W*3]
    rows += tf.tile(tf.constant([0, 256, 512]), [width])  # Each channel has levels of its own.
    counts = tf.math.bincount(tf.reshape(rows, [-1]), minlength=768, maxlength=768)
    counts = tf.reshape(counts, [3, 256])
    darker = tf.cumsum(counts, axis=1, exclusive=True)
    # A step is 1 / 255 of the pixels that are darker than the brightest level of the clip.
    step = tf.reduce_max(tf.where(counts > 0, darker, 0), axis=1, keepdims=True) // 255
    table = tf.where(step > 0, (darker + step // 2) // tf.maximum(step, 1), tf.range(256))
    table = tf.cast(tf.minimum(table, 255), tf.uint8)  # [3, 256]
    pixels = tf.gather(tf.reshape(table, [-1]), rows)
    return tf.ensure_shape(tf.reshape(pixels, tf.shape(clip)), clip.shape)


def posterize(clip, bits):
    """Keeps the upper `bits` of each level, an integer in [0, 8]."""
    return tf.bitwise.bitwise_and(clip, tf.constant(256 - (1 << (8 - bits)), tf.uint8))


def solarize(clip, threshold):
    """Inverts the levels that are at or above the threshold."""
    inverted = tf.cast(tf.cast(clip, tf.float32) >= threshold, tf.uint8) * 255
    return tf.bitwise.bitwise_xor(clip, inverted)


def adjust_sharpness(clip, factor):
    """Multiplies every level's distance from the smoothed picture by a factor; the border is kept."""
    if any(side is not None and side < 3 for side in clip.shape[1:3]):
        return clip  # It is all border.
    pixels = tf.cast(clip, tf.float32)
    kernel = tf.tile(tf.constant(_SMOOTH)[:, :, None, None], [1, 1, 3, 1])
    smooth = tf.nn.depthwise_conv2d(pixels, kernel, [1, 1, 1, 1], "VALID")  # [T, H-2, W-2, 3]
    inner = to_levels(smooth + factor * (pixels[:, 1:-1, 1:-1] - smooth))
    middle = tf.concat([clip[:, 1:-1, :1], inner, clip[:, 1:-1, -1:]], axis=2)
    return tf.ensure_shape(tf.concat([clip[:, :1], middle, clip[:, -1:]], axis=1), clip.shape)


def affine(clip, matrix):
    """Moves the pixels: the result at the point p shows the clip at matrix @ (x, y, 1), or black outside.

    Args:
        clip: uint8 [T, H, W, 3].
        matrix: Two rows of three entries, scalars or tensors. x runs to the right and y down, in pixels
            from the upper left corner; the first pixel's centre is (0.5, 0.5).

    Returns:
        uint8 [T, H, W, 3]. Each pixel is the one of the clip in which its point lies.
    """
    frames, height, width = tf.unstack(tf.shape(clip)[:3])
    y = tf.range(height, dtype=tf.float32)[:, None] + 0.5
    x = tf.range(width, dtype=tf.float32) + 0.5
    column, row = (
        tf.cast(tf.floor(to_x * x + to_y * y + offset), tf.int32) for to_x, to_y, offset in matrix
    )  # [H, W]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    source = tf.reshape(tf.where(inside, row * width + column, height * width), [-1])
    pixels = tf.reshape(clip, [frames, height * width, 3])
    pixels = tf.pad(pixels, [[0, 0], [0, 1], [0, 0]])  # The last one is the black outside.
    moved = tf.reshape(tf.gather(pixels, source, axis=1), tf.shape(clip))  # [T, H, W, 3]
    return tf.ensure_shape(moved, clip.shape)


def rotate(clip, degrees):
    """Turns the picture anticlockwise about its middle."""
    shape = tf.cast(tf.shape(clip), tf.float32)
    y, x = shape[1] / 2, shape[2] / 2
    radians = degrees * math.pi / 180
    cosine, sine = tf.cos(radians), tf.sin(radians)
    return affine(
        clip, [(cosine, -sine, x - cosine * x + sine * y), (sine, cosine, y - sine * x - cosine * y)]
    )


def translate(clip, right, down):
    """Moves the picture by fractions of its width and height, which are cut off to whole pixels."""
    shape = tf.cast(tf.shape(clip), tf.float32)
    right, down = tf.cast(right * shape[2], tf.int32), tf.cast(down * shape[1], tf.int32)
    return affine(clip, [(1, 0, -tf.cast(right, tf.float32)), (0, 1, -tf.cast(down, tf.float32))])


class Operation(NamedTuple):
    """One of the operations: `apply(clip, level)`, the level at magnitude 30, and whether it has a sign."""

    apply: callable
    strongest: float
    signed: bool


OPERATIONS = {
    "identity": Operation(lambda clip, level: clip, 0.0, False),
    "shear_x": Operation(lambda clip, level: affine(clip, [(1, level, 0), (0, 1, 0)]), 0.3, True),
    "shear_y": Operation(lambda clip, level: affine(clip, [(1, 0, 0), (level, 1, 0)]), 0.3, True),
    "translate_x": Operation(lambda clip, level: translate(clip, level, 0.0), 150 / 331, True),
    "translate_y": Operation(lambda clip, level: translate(clip, 0.0, level), 150 / 331, True),
    "rotate": Operation(rotate, 30.0, True),
    "brightness": Operation(lambda clip, level: adjust_brightness(clip, 1 + level), 0.9, True),
    "colour": Operation(lambda clip, level: adjust_saturation(clip, 1 + level), 0.9, True),
    "contrast": Operation(lambda clip, level: adjust_contrast(clip, 1 + level), 0.9, True),
    "sharpness": Operation(lambda clip, level: adjust_sharpness(clip, 1 + level), 0.9, True),
    "posterize": Operation(lambda clip, level: posterize(clip, 8 - round(level)), 4.0, False),
    "solarize": Operation(lambda clip, level: solarize(clip, 255 - level), 255.0, False),
    "autocontrast": Operation(lambda clip, level: autocontrast(clip), 0.0, False),
    "equalize": Operation(lambda clip, level: equalize(clip), 0.0, False),
}
