"""What a model takes."""

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class ClipFormat:
    """What a model takes: float32 clips [frames, size, size, 3].

    Attributes:
        frames: Frames T of a clip.
        size: Height and width in pixels.
        mean: Three channel means, in grey levels of 0-255.
        std: Three channel deviations, likewise.
    """

    frames: int
    size: int
    mean: tuple
    std: tuple


def normalise(clip, mean, std):
    """Returns (clip - mean) / std per channel as float32, `mean` and `std` in the units of the clip.

    Args:
        clip: uint8 or float [..., W, 3].
        mean: Three channel means.
        std: Three channel deviations.
    """
    shape = tf.shape(clip)
    rows = tf.cast(tf.reshape(clip, [-1, 3 * shape[-2]]), tf.float32)  # [T*H, W*3]
    # Whole rows at a time: broadcasting three numbers over the last axis takes four times as long.
    mean, scale = (tf.tile(tf.constant(row, tf.float32), [shape[-2]]) for row in (mean, 1 / np.array(std)))
    # A product, not a quotient: XLA would make it one, and give other last bits than plain TensorFlow.
    return tf.ensure_shape(tf.reshape((rows - mean) * scale, shape), clip.shape)
