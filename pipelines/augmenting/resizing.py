"""The one way in which frames change their size: bilinear, antialiased, rounded to whole levels.

Row y of the result shows the frame around row c = (y + 0.5) * height / size - 0.5: it is the mean of all rows
r, weighted with max(0, 1 - |r - c| / s), where s = max(1, height / size). Columns are treated likewise.
These are the weights of Pillow's BILINEAR, by which the released code of TSM, RNL, CGNL and BAT resizes.
"""

import tensorflow as tf

from pipelines.bad_video import Unusable

# Where the views of a test lie in its frames; "whole" takes all of a frame, see `scale_short_side`.
PLACES = ("ends", "thirds", "whole")

# A frame of 16 x 16000 pixels must not become one of gigabytes: TensorFlow resizes with 27 bytes a pixel.
_MOST_PIXELS = 2**22


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
    square = _resized(box, (extent[0], extent[1]), (size, size), (0, 0), (size, size))
    return tf.ensure_shape(square, (None, size, size, 3))


def scale_short_side(frames, size):
    """Resizes frames to a short side of `size` pixels and keeps the aspect.

    Args:
        frames: uint8 [..., H, W, 3].
        size: Length of the short side in pixels.

    Returns:
        uint8 [..., H', W', 3], its long side rounded to whole pixels.

    Raises:
        Unusable: A frame would be resized to more than 2^22 pixels; in graphs it is
            `tf.errors.InvalidArgumentError`.
    """
    shape = _sides(frames)
    scaled = _checked(shape, _scaled(shape, size))

    def resized():
        leading = tf.shape(frames)[:-3]
        flat = tf.reshape(frames, (-1, *shape, 3))  # [N, H, W, 3]
        pixels = _resized(flat, shape, scaled, (0, 0), scaled)
        return tf.reshape(pixels, tf.concat([leading, [*scaled, 3]], 0))

    return _cond(_equal(shape, scaled), lambda: frames, resized)


def square_views(frames, size, crops, short_side=0, places="ends"):
    """Scales the short side and cuts squares along the long side, in the middle of the short one.

    Only the pixels of the squares are computed, so a very long side costs nothing. Of a square frame, the
    width counts as the long side. A place that is half a pixel off is the one to the left, or above.

    Args:
        frames: uint8 [..., H, W, 3].
        size: Side of the squares in pixels.
        crops: 1 (centre) or 3.
        short_side: Length of the scaled short side in pixels, at least `size`; 0 for `size`.
        places: Where three squares lie on the slack of the long side: at its start, middle and end ("ends"),
            or at 0, 1/3 and 2/3 of it ("thirds"), to the pixel round(k (slack + 1) / 3), as in BAT's
            released code, which never sees the far end. A frame without slack gives three equal squares,
            whose scores have the mean of the single one that BAT's code cuts there.

    Returns:
        uint8 [..., crops, size, size, 3].

    Raises:
        ValueError: `crops` is neither 1 nor 3, there is no such place, or the short side is too short.
    """
    if (places, crops) not in (("ends", 1), ("ends", 3), ("thirds", 3)):
        raise ValueError(
            "Expected 1 or 3 crops with places='ends', or 3 with 'thirds'. "
            f"Received crops={crops}, places={places!r}. Try: crops=3."
        )
    if short_side and short_side < size:
        raise ValueError(
            f"Expected a short side of at least size={size} pixels, or 0. Received short_side={short_side}. "
            f"Try: short_side={size}."
        )
    shape = _sides(frames)
    scaled = _scaled(shape, short_side or size)
    slack = [side - size for side in scaled]
    flat = tf.reshape(frames, (-1, *shape, 3))  # [N, H, W, 3]
    views = []
    for crop in range(crops):
        along = [_place(free, crop, crops, places) for free in slack]
        down, across = [along[0], slack[1] // 2], [slack[0] // 2, along[1]]
        corner = _cond(shape[0] > shape[1], lambda down=down: down, lambda across=across: across)
        views.append(_resized(flat, shape, scaled, corner, (size, size)))
    views = tf.stack(views, axis=1)  # [N, crops, size, size, 3]
    return tf.reshape(views, tf.concat([tf.shape(frames)[:-3], [crops, size, size, 3]], 0))


def _place(slack, crop, crops, places):
    """Returns where a square begins along a side with `slack` pixels more than the square: int or tensor."""
    if places == "ends":
        return slack * (crop if crops > 1 else 1) // 2
    third = (2 * (slack + 1) * crop + 3) // 6  # Thirds have no halves to round.
    return min(third, slack) if isinstance(slack, int) else tf.minimum(third, slack)


def _sides(frames):
    """Returns (height, width) of frames: integers as far as they are known, else tensors."""
    known = frames.shape[-3:-1]
    return [tf.shape(frames)[axis - 3] if side is None else int(side) for axis, side in enumerate(known)]


def _scaled(shape, size):
    """Returns (height, width) of frames of `shape` (height, width) whose short side becomes `size`."""
    height, width = shape
    if isinstance(height, int) and isinstance(width, int):
        return [round(side * size / min(shape)) for side in shape]
    return [tf.cast(tf.round(side * size / tf.minimum(height, width)), tf.int32) for side in shape]


def _checked(shape, scaled):
    """Returns `scaled`; raises `Unusable` if a frame of `shape` would become too large.

    In graphs this fails when it runs, and nothing is resized before.
    """
    height, width = scaled
    words = f"pixels of a scaled frame are above the limit of {_MOST_PIXELS:,}; try a smaller short side"
    if isinstance(height, int) and isinstance(width, int):
        if height * width > _MOST_PIXELS and not _equal(shape, scaled):
            raise Unusable(f"{height * width:,} {words}", is_final=False)
        return scaled
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    fits = tf.debugging.Assert((pixels <= _MOST_PIXELS) | _equal(shape, scaled), [pixels, words])
    with tf.control_dependencies([fits]):
        return [tf.identity(height), tf.identity(width)]


def _resized(frames, shape, scaled, corner, extent):
    """Resizes frames [N, H, W, 3] of `shape` (H, W) to `scaled` (H', W'), and returns a box of the result.

    Only the pixels of the box of `extent` (height, width) at `corner` (top, left) are computed.
    """

    def box():
        return frames[:, corner[0] : corner[0] + extent[0], corner[1] : corner[1] + extent[1]]

    return _cond(_equal(shape, scaled), box, lambda: _resized_box(frames, scaled, corner, extent))


# A frame that is decoded alone is resized outside of graphs, where each operation has a cost of its own.
@tf.function(
    autograph=False,
    input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)] + 3 * [tf.TensorSpec((2,), tf.int32)],
)
def _resized_box(frames, scaled, corner, extent):
    shape = tf.shape(frames)[1:3]
    rows, columns = (tuple(sides[axis] for sides in (shape, scaled, corner, extent)) for axis in (0, 1))
    pixels = _resized_rows(frames, *rows)
    pixels = tf.cond(
        shape[1] == scaled[1],
        lambda: pixels[:, :, corner[1] : corner[1] + extent[1]],
        lambda: tf.transpose(_resized_rows(tf.transpose(pixels, (0, 2, 1, 3)), *columns), (0, 2, 1, 3)),
    )
    return tf.cast(pixels + 0.5, tf.uint8)  # A half is rounded up.


def _resized_rows(pixels, height, scaled, first, count):
    """Returns `count` rows from the row `first` on of pixels [N, H, W, 3] of another height: float32.

    TensorFlow's kernel is quick with rows and slow with columns. So both directions come as rows, which takes
    a third of the time and gives the same numbers. A whole row is one pixel here, with W * 3 channels.
    """

    def resized():
        frames, _, width, channels = tf.unstack(tf.shape(pixels))
        rows = tf.raw_ops.ScaleAndTranslate(
            images=tf.reshape(pixels, (frames, height, 1, width * channels)),
            size=(count, 1),
            scale=tf.stack([tf.cast(scaled / height, tf.float32), 1.0]),
            translation=tf.stack([-tf.cast(first, tf.float32), 0.0]),
            kernel_type="triangle",
            antialias=True,
        )
        return tf.reshape(rows, (frames, count, width, channels))

    return tf.cond(height == scaled, lambda: tf.cast(pixels[:, first : first + count], tf.float32), resized)


def _equal(shape, other):
    return _every([a == b for a, b in zip(shape, other, strict=True)])


def _every(conditions):
    """Returns whether all conditions hold: a bool if they are, else a tensor."""
    if all(isinstance(condition, bool) for condition in conditions):
        return all(conditions)
    return tf.reduce_all(tf.stack(conditions))


def _cond(condition, yes, no):
    """Chooses at once where the condition is known: a frame that is scaled alone is not worth a graph."""
    if isinstance(condition, bool):
        return yes() if condition else no()
    return tf.cond(condition, yes, no)
