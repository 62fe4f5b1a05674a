"""Random crops: there is one draw per clip, so that all of its frames are treated alike.

Clips are uint8 [T, H, W, 3], of any T, H and W. The operations take a `seed`, an integer tensor [2], as
`tf.random.stateless_uniform` does, and the same seed always gives the same result. Each operation has a
function `..._box` of its own that draws the box; this box decides every pixel of the crop.
"""

import numpy as np
import tensorflow as tf

from pipelines.augmenting.resizing import crop_and_resize

# The places of the TSN crop (corners, edge middles, centre, quarter points), in quarters of the free space.
_CROP_OFFSETS = np.array(
    [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (0, 2), (2, 0), (4, 2), (2, 4), (1, 1), (1, 3), (3, 1), (3, 3)]
)
# So many boxes are drawn by area and aspect, as in torchvision.
_CANDIDATES = 10


def multi_scale_crop(frames, size, seed, scales=(1.0, 0.875, 0.75, 0.66)):
    """Crops a box of random size at one of 13 places, and resizes it to a square (TSN; TSM and RNL).

    Args:
        frames: uint8 [T, H, W, 3].
        size: Side of the result in pixels.
        seed: Integer tensor [2].
        scales: Descending fractions of the short side, in (0, 1].

    Returns:
        uint8 [T, size, size, 3].
    """
    return crop_and_resize(frames, *multi_scale_box(tf.shape(frames)[1:3], size, seed, scales), size)


def multi_scale_box(shape, size, seed, scales=(1.0, 0.875, 0.75, 0.66)):
    """Draws the box of `multi_scale_crop` in a frame of `shape` (height, width).

    Height and width are the short side times two scales that are at most one step apart; a length
    less than 3 pixels from `size` becomes `size`, none exceeds the frame, and none is 0.

    Returns:
        (corner, extent): int32 [2] (top, left) and int32 [2] (height, width), in pixels.
    """
    shape = tf.convert_to_tensor(shape)
    # Floats are double, as in the authors' Python, where 0.7 * 90 becomes 62; single ones make it 63.
    lengths = tf.cast(tf.cast(tf.reduce_min(shape), tf.float64) * tf.constant(scales, tf.float64), tf.int32)
    lengths = tf.where(tf.abs(lengths - size) < 3, size, tf.maximum(lengths, 1))
    pairs = [(i, j) for i in range(len(scales)) for j in range(len(scales)) if abs(i - j) <= 1]
    draws = tf.random.stateless_uniform([2], seed)
    extent = tf.minimum(tf.gather(lengths, tf.constant(pairs)[_whole(draws[0], len(pairs))]), shape)
    place = tf.constant(_CROP_OFFSETS, tf.int32)[_whole(draws[1], len(_CROP_OFFSETS))]
    return (shape - extent) // 4 * place, extent


def scale_jitter_crop(frames, size, seed, short_sides=(256, 320)):
    """Scales the short side to a random length and crops a square at a random place (FAIR; NL).

    Both are one step: the square that the crop would show is cut from the unscaled frames, see
    `scale_jitter_box`, and resized.

    Args:
        frames: uint8 [T, H, W, 3].
        size: Side of the result in pixels.
        seed: Integer tensor [2].
        short_sides: Shortest and longest length of the scaled short side in pixels, both included;
            at least `size`.

    Returns:
        uint8 [T, size, size, 3].

    Raises:
        ValueError: The short side may become shorter than the crop.
    """
    return crop_and_resize(frames, *scale_jitter_box(tf.shape(frames)[1:3], size, seed, short_sides), size)


def scale_jitter_box(shape, size, seed, short_sides=(256, 320)):
    """Draws the box of `scale_jitter_crop` in a frame of `shape` (height, width).

    With an integer s, uniform over `short_sides`, and the short side m of the frame, the box is a square
    with a side of size * m / s pixels, rounded. Its place is uniform over those where it fits.

    Returns:
        (corner, extent): int32 [2] (top, left) and int32 [2] (height, width), in pixels.
    """
    shortest, longest = short_sides
    if not 0 < size <= shortest <= longest:
        raise ValueError(
            "Expected a range of lengths of the short side that hold the crop. Received "
            f"short_sides={short_sides}, size={size}. Try: short_sides=({size}, {round(1.25 * size)})."
        )
    shape = tf.convert_to_tensor(shape)
    draws = tf.random.stateless_uniform([3], seed)
    scaled = shortest + _whole(draws[0], longest - shortest + 1)
    length = (2 * size * tf.reduce_min(shape) + scaled) // (2 * scaled)
    extent = tf.stack([length, length])
    return _whole(draws[1:], shape - extent + 1), extent


def random_resized_crop(frames, size, seed, area=(0.08, 1.25), aspect=(3 / 4, 4 / 3)):
    """Crops a box of random area and aspect and resizes it to a square (CGNL).

    Args:
        frames: uint8 [T, H, W, 3].
        size: Side of the result in pixels.
        seed: Integer tensor [2].
        area: Least and largest area of the box, as fractions of the frame's; above 1 is allowed.
        aspect: Least and largest width / height of the box.

    Returns:
        uint8 [T, size, size, 3].

    Raises:
        ValueError: A range is empty or not positive.
    """
    return crop_and_resize(frames, *random_resized_box(tf.shape(frames)[1:3], seed, area, aspect), size)


def random_resized_box(shape, seed, area=(0.08, 1.25), aspect=(3 / 4, 4 / 3)):
    """Draws the box of `random_resized_crop` in a frame of `shape` (height, width).

    The area is uniform in its range, and the aspect is uniform on a logarithmic scale. Ten boxes are drawn,
    and the first one that fits into the frame counts (areas above 1 never fit). Its place is uniform over
    those where it fits. If none fits, the box is the square of the short side in the middle. The draws have
    the distribution of torchvision's `RandomResizedCrop`.

    Returns:
        (corner, extent): int32 [2] (top, left) and int32 [2] (height, width), in pixels.
    """
    shape = tf.convert_to_tensor(shape)
    fits, corner, extent = first_box_that_fits(shape, seed, area, aspect)
    square = tf.repeat(tf.reduce_min(shape), 2)
    return tf.where(fits, corner, (shape - square) // 2), tf.where(fits, extent, square)


def first_box_that_fits(shape, seed, area, aspect):
    """Draws boxes by area and aspect; returns (whether one fits, its corner, its extent)."""
    for name, (least, largest) in (("area", area), ("aspect", aspect)):
        if not 0 < least <= largest:
            raise ValueError(
                f"Expected a range of positive numbers, the least one first. Received {name}="
                f"({least}, {largest}). Try: {name}=(0.3, 1.0)."
            )
    draws = tf.random.stateless_uniform([_CANDIDATES, 4], seed)
    fractions = area[0] + draws[:, 0] * (area[1] - area[0])
    aspects = aspect[0] * (aspect[1] / aspect[0]) ** draws[:, 1]
    areas = fractions * tf.cast(shape[0] * shape[1], tf.float32)
    extents = tf.sqrt(tf.stack([areas / aspects, areas * aspects], axis=1))  # [candidates, 2]
    extents = tf.cast(tf.round(extents), tf.int32)
    fit = tf.reduce_all((extents >= 1) & (extents <= shape), axis=1)
    first = tf.argmax(fit)
    return fit[first], _whole(draws[first, 2:], shape - extents[first] + 1), extents[first]


def _whole(draw, count):
    """Turns uniform draws in [0, 1) into integers in [0, count)."""
    return tf.cast(draw * tf.cast(count, tf.float32), tf.int32)
