"""The clips that a model takes."""

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class ClipFormat:
    """The clips that a model takes: float32 [frames, size, size, 3].

    Attributes:
        frames: Count T of frames in a clip.
        size: Height and width in pixels.
        mean: Three channel means, in grey levels of 0-255.
        std: Three channel standard deviations, in the same unit.
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
        std: Three channel standard deviations.
    """
    shape = tf.shape(clip)
    rows = tf.cast(tf.reshape(clip, [-1, 3 * shape[-2]]), tf.float32)  # [T*H, W*3]
    # Whole rows at a time: broadcasting three numbers over the last axis takes four times as long.
    mean, scale = (tf.tile(tf.constant(row, tf.float32), [shape[-2]]) for row in (mean, 1 / np.array(std)))
    # This is a product, as XLA turns a quotient into one, with other last bits than plain TensorFlow's.
    return tf.ensure_shape(tf.reshape((rows - mean) * scale, shape), clip.shape)
