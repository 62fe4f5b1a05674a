"""How a tensor of a file is laid out as a variable here: transposed, inflated, axes of length 1 dropped."""

import numpy as np


def lay_out(value, shape, channels_first=True):
    """Returns an array of `shape` with the values of `value`, or None where the two do not fit.

    Kernels O, I, *k become *k, I, O; axes of length 1 among *k are added or dropped to fit `shape`; an
    image kernel for a video is repeated t times and divided by t, so that a static clip gives the
    output of the image.

    Args:
        value: float array of a file.
        shape: tuple, the shape of the variable.
        channels_first: whether `value` is O, I, *k; else it is *k, I, O.

    Example:
        >>> lay_out(np.ones((8, 4, 1, 3, 3)), (3, 3, 4, 8)).shape
        (3, 3, 4, 8)
        >>> float(lay_out(np.ones((8, 4, 3, 3)), (5, 3, 3, 4, 8)).max())
        0.2
        >>> lay_out(np.ones((8, 4, 3, 3)), (7, 7, 4, 8)) is None
        True
    """
    if value.ndim >= 2 and channels_first:
        value = np.moveaxis(value, (1, 0), (-2, -1))  # [*k, I, O]
    if value.shape == shape:
        return value
    if min(value.ndim, len(shape)) < 2 or value.shape[-2:] != shape[-2:]:
        return None
    if _sides(value.shape) == _sides(shape):
        return value.reshape(shape)
    if value.ndim == 4 and shape[1:] == value.shape:
        return np.broadcast_to(value / shape[0], shape)  # [t, kh, kw, I, O]
    return None


def _sides(shape):
    return [side for side in shape[:-2] if side != 1]
