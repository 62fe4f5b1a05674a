"""The one way in which frames change their size: bilinear, antialiased, rounded to whole levels.

Row y of the result shows the frame around row c = (y + 0.5) * height / size - 0.5: it is the mean of all rows
r, weighted with max(0, 1 - |r - c| / s), where s = max(1, height / size). Columns are treated likewise.
These are the weights of Pillow's BILINEAR, by which the released code of TSM, RNL, CGNL and BAT resizes.
"""

import tensorflow as tf

from pipelines.bad_video import Unusable

# A frame of 16 x 16000 pixels must not become one of gigabytes.
_MOST_PIXELS = 2**25


def crop_and_resize(frames, corner, extent, size):
    """Cuts a box of `extent` (height, width) at `corner` (top, left) and resizes it to a square.

    Pixels outside the box have no influence. A box that has the wanted size already is not changed.

    Args:
        frames: uint8 [T, H, W, 3].
        corner: int32 [2] (top, left), in pixels.
        extent: int32 [2] (height, width), in pixels.
        size: Side of the square in pixels.

    Returns:
        uint8 [T, size, size, 3].
    """
    box = frames[:, corner[0] : corner[0] + extent[0], corner[1] : corner[1] + extent[1]]
    square = tf.constant([size, size])
    return tf.ensure_shape(_resize(box, extent, square), (None, size, size, 3))


def scale_short_side(frames, size):
    """Resizes frames to a short side of `size` pixels and keeps the aspect.

    Args:
        frames: uint8 [..., H, W, 3].
        size: Length of the short side in pixels.

    Returns:
        uint8 [..., H', W', 3], its long side rounded to whole pixels.

    Raises:
        Unusable: A resized frame would have more than 2^25 pixels; in graphs it is
            `tf.errors.InvalidArgumentError`.
    """
    shape = tf.shape(frames)
    scaled = _scaled(shape[-3:-1], size)
    pixels = tf.reduce_prod(tf.cast(scaled, tf.int64))
    what = f"pixels of a scaled frame are above the limit of {_MOST_PIXELS:,}"
    if tf.executing_eagerly() and int(pixels) > _MOST_PIXELS:
        raise Unusable(f"{int(pixels):,} {what}")
    with tf.control_dependencies([tf.debugging.Assert(pixels <= _MOST_PIXELS, [pixels, what])]):
        flat = tf.reshape(frames, tf.concat([[-1], shape[-3:]], 0))  # [N, H, W, 3]
    return tf.reshape(_resize(flat, shape[-3:-1], scaled), tf.concat([shape[:-3], scaled, [3]], 0))


def square_views(frames, size, crops):
    """Scales the short side to `size` and cuts squares along the long side.

    Only the pixels of the squares are computed, so a very long side costs nothing.

    Args:
        frames: uint8 [..., H, W, 3].
        size: Side of the squares in pixels.
        crops: 1 (centre) or 3 (left or top, centre, right or bottom).

    Returns:
        uint8 [..., crops, size, size, 3].

    Raises:
        ValueError: `crops` is neither 1 nor 3.
    """
    if crops not in (1, 3):
        raise ValueError(f"Expected 1 or 3 crops. Received crops={crops}. Try: crops=3.")
    shape = tf.shape(frames)
    flat = tf.reshape(frames, tf.concat([[-1], shape[-3:]], 0))  # [N, H, W, 3]
    scaled = _scaled(shape[-3:-1], size)
    free = scaled - size
    middle, is_long = free // 2, tf.stack([free[0] > free[1], free[0] <= free[1]])
    views = []
    for place in {1: [1], 3: [0, 1, 2]}[crops]:
        corner = tf.where(is_long, free * place // 2, middle)
        views.append(_resized_box(flat, scaled, corner, tf.constant([size, size])))
    views = tf.stack(views, axis=1)  # [N, crops, size, size, 3]
    return tf.reshape(views, tf.concat([shape[:-3], [crops, size, size, 3]], 0))


def _scaled(shape, size):
    """Returns (height, width) of frames of `shape` (height, width) whose short side becomes `size`."""
    return tf.cast(tf.round(shape * size / tf.reduce_min(shape)), tf.int32)


def _resize(frames, shape, scaled):
    """Resizes frames [N, H, W, 3] of `shape` (H, W) to `scaled` (H', W')."""
    enlarged = tf.reduce_all(scaled >= shape) & tf.reduce_any(scaled > shape)
    return tf.cond(
        enlarged,
        # A frame that only grows needs no antialiasing, and this kernel takes a fourth of the time.
        lambda: _rounded(tf.image.resize(frames, scaled)),
        lambda: _resized_box(frames, scaled, tf.constant([0, 0]), scaled),
    )


def _resized_box(frames, scaled, corner, extent):
    """Returns the box of `extent` at `corner` of frames [N, H, W, 3] resized to `scaled` (H', W')."""
    shape = tf.shape(frames)[1:3]

    def box():
        return frames[:, corner[0] : corner[0] + extent[0], corner[1] : corner[1] + extent[1]]

    def resized_box():
        pixels = tf.raw_ops.ScaleAndTranslate(
            images=frames,
            size=extent,
            scale=tf.cast(scaled / shape, tf.float32),
            translation=-tf.cast(corner, tf.float32),
            kernel_type="triangle",
            antialias=True,
        )
        return _rounded(pixels)

    return tf.cond(tf.reduce_all(tf.equal(scaled, shape)), box, resized_box)


def _rounded(pixels):
    """Returns levels in [0, 255] as uint8; halves are rounded up."""
    return tf.cast(pixels + 0.5, tf.uint8)
