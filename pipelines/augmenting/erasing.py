"""Random erasing of a box, which is the same in all frames of a clip."""

import tensorflow as tf

from pipelines.augmenting.crops import first_box_that_fits


def random_erasing(clip, seed, probability=0.25, area=(0.02, 1 / 3), aspect=(0.3, 10 / 3), colour=None):
    """Covers a random box, which is the same in all frames (Zhong et al. 2020).

    Args:
        clip: uint8 [T, H, W, 3].
        seed: Integer tensor [2].
        probability: How often a clip is touched at all, in [0, 1].
        area: Least and largest area of the box, as fractions of the frame's.
        aspect: Least and largest width / height of the box.
        colour: Three levels of 0-255 that fill the box, such as the mean colour of the data set. None
            fills it with noise, uniform for each pixel and channel, the same in all frames.

    Returns:
        uint8 [T, H, W, 3].

    Raises:
        ValueError: A range is empty or not positive, or the probability is outside [0, 1].
    """
    clip = tf.convert_to_tensor(clip)
    shape = tf.shape(clip)[1:3]
    corner, extent = erasing_box(shape, seed, probability, area, aspect)

    def covered():
        rows, columns = tf.range(shape[0])[:, None, None], tf.range(shape[1])[:, None]
        inside = (rows >= corner[0]) & (rows < corner[0] + extent[0])
        inside &= (columns >= corner[1]) & (columns < corner[1] + extent[1])
        inside = tf.repeat(tf.cast(inside, tf.uint8), 3, axis=2)  # [H, W, 3]
        if colour is None:
            noise_seed = tf.random.split(seed, 2)[1]
            patch = tf.random.stateless_uniform(tf.shape(inside), noise_seed, 0, 256, tf.int32)
        else:
            patch = tf.round(colour)
        return clip * (1 - inside) + inside * tf.cast(patch, tf.uint8)

    return tf.cond(extent[0] > 0, covered, lambda: clip)


def erasing_box(shape, seed, probability=0.25, area=(0.02, 1 / 3), aspect=(0.3, 10 / 3)):
    """Draws the box of `random_erasing` in a frame of `shape` (height, width), as `random_resized_box` does.

    Returns:
        (corner, extent): int32 [2] (top, left) and int32 [2] (height, width), in pixels; the extent is
        (0, 0) if nothing is to be covered, or no box fits.
    """
    if not 0 <= probability <= 1:
        raise ValueError(
            f"Expected a probability in [0, 1]. Received probability={probability}. Try: probability=0.25."
        )
    box_seed = tf.random.split(seed, 2)[0]
    fits, corner, extent = first_box_that_fits(tf.convert_to_tensor(shape), box_seed, area, aspect)
    fits &= tf.random.stateless_uniform([], seed) < probability
    return corner, tf.where(fits, extent, 0)
