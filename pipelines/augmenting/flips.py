"""Mirror images of whole clips."""

import tensorflow as tf


def random_flip(clip, seed):
    """Mirrors the whole clip [T, H, W, 3] left to right with probability one half.

    Returns:
        (clip, flipped): the clip, and whether it is mirrored, a boolean scalar.
    """
    clip, flipped = tf.convert_to_tensor(clip), tf.random.stateless_uniform([], seed) < 0.5
    return tf.cond(flipped, lambda: mirror(clip), lambda: clip), flipped


def mirror(clip):
    """Returns a clip [T, H, W, 3] with left and right exchanged."""
    # TensorFlow has a fast way for three axes, of which the last is colour.
    rows = tf.reshape(clip, tf.concat([[-1], tf.shape(clip)[2:]], axis=0))  # [T*H, W, 3]
    return tf.ensure_shape(tf.reshape(tf.reverse(rows, [1]), tf.shape(clip)), clip.shape)
