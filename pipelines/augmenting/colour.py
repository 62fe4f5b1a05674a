"""Changes of colour, which are drawn once per clip and are equal for all frames.

Clips are uint8 [T, H, W, 3] and are rounded after each change. Factors mean what they mean in torchvision and
Pillow: 1 keeps the clip, 0 gives black, an even grey or a grey picture. Where those take the mean of one
image, these functions take the mean of the whole clip.
"""

import numpy as np
import tensorflow as tf

# This is the luma of ITU-R BT.601, with which Pillow turns RGB into grey.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def colour_jitter(clip, seed, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1):
    """Changes brightness, contrast, saturation and hue in random order (torchvision's `ColorJitter`).

    The first three factors are uniform in [max(0, 1 - x), 1 + x], and the turn of the hue is uniform in
    [-x, x], where x is the argument. An argument of 0 leaves its change out.

    Args:
        clip: uint8 [T, H, W, 3].
        seed: Integer tensor [2].
        brightness: Range of its factor, at least 0.
        contrast: Range of its factor, at least 0.
        saturation: Range of its factor, at least 0.
        hue: Range of its turn, in turns of the colour circle, in [0, 0.5].

    Returns:
        uint8 [T, H, W, 3].

    Raises:
        ValueError: An argument is outside its range.

    Cost: the hue takes as long as all the rest.
    """
    strengths = dict(zip(ADJUSTMENTS, (brightness, contrast, saturation, hue), strict=True))
    order, factors = jitter_draws(seed, **strengths)
    wanted = [number for number, strength in enumerate(strengths.values()) if strength > 0]
    clip = tf.convert_to_tensor(clip)
    for place in range(len(wanted)):
        changes = [
            lambda clip=clip, change=change, factor=factor: change(clip, factor)
            for change, factor in zip(ADJUSTMENTS.values(), tf.unstack(factors), strict=True)
        ]
        clip = tf.switch_case(order[place], changes)
    return clip


def jitter_draws(seed, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1):
    """Draws the order and the factors of `colour_jitter`.

    Returns:
        (order, factors): int32, the indices of the wanted changes in the order in which they are made
        (0 brightness, 1 contrast, 2 saturation, 3 hue), and float32 [4], the factors of all four.
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    for name, strength in strengths.items():
        largest = 0.5 if name == "hue" else float("inf")
        if not 0 <= strength <= largest:
            raise ValueError(
                f"Expected {name} in [0, {largest}]. Received {name}={strength}. Try: {name}=0.1."
            )
    lows = tf.constant([max(0.0, 1.0 - x) for x in (brightness, contrast, saturation)] + [-hue], tf.float32)
    highs = tf.constant([1.0 + x for x in (brightness, contrast, saturation)] + [hue], tf.float32)
    draws = tf.random.stateless_uniform([2, len(strengths)], seed)
    wanted = [number for number, strength in enumerate(strengths.values()) if strength > 0]
    wanted = tf.constant(wanted, tf.int32)
    order = tf.gather(wanted, tf.argsort(tf.gather(draws[0], wanted)))
    return order, lows + draws[1] * (highs - lows)


def adjust_brightness(clip, factor):
    """Multiplies every level by a factor of at least 0."""
    return to_levels(tf.cast(clip, tf.float32) * factor)


def adjust_contrast(clip, factor):
    """Multiplies every level's distance from the clip's mean grey by a factor of at least 0."""
    pixels = tf.cast(clip, tf.float32)
    mean_grey = tf.reduce_sum(tf.reduce_mean(pixels, [0, 1, 2]) * _GREY)
    return to_levels(mean_grey + factor * (pixels - mean_grey))


def adjust_saturation(clip, factor):
    """Multiplies every pixel's distance from its own grey by a factor of at least 0."""
    # The matrix of p' = factor * p + (1 - factor) * grey(p).
    mixture = factor * tf.eye(3) + (1 - factor) * tf.constant(np.repeat(_GREY[:, None], 3, axis=1))
    pixels = tf.matmul(tf.reshape(tf.cast(clip, tf.float32), [-1, 3]), mixture)  # [T*H*W, 3]
    return tf.ensure_shape(to_levels(tf.reshape(pixels, tf.shape(clip))), clip.shape)


def adjust_hue(clip, turns):
    """Turns every pixel's hue on the colour circle by `turns`, in [-0.5, 0.5]."""
    return to_levels(tf.image.adjust_hue(tf.cast(clip, tf.float32), turns))


def to_levels(pixels):
    """Returns floating-point levels as uint8, rounded, with those outside 0-255 clipped."""
    return tf.cast(tf.clip_by_value(pixels, 0.0, 255.0) + 0.5, tf.uint8)


# The changes of `colour_jitter`, by the name of its argument.
ADJUSTMENTS = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}
