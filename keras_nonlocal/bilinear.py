"""The bilinear attentional transform: stateless functions on arrays, no weights.

A map has T frames of H x W pixels and d channels in k groups. P, m x m, mixes the rows of a frame, Q its
columns, and T, r x r, mixes the frames of a clip. A matrix smaller than its axis moves whole blocks
of H/m rows, W/m columns or T/r frames: it stands for its Kronecker product with an identity.
"""

import math

import keras
from keras import ops

from keras_nonlocal.positions import shape_of
from keras_nonlocal.precision import at_least_float32


def matrix_sides(size, matrix_size, sides):
    """Returns the sides of P and Q for maps of some sides, (H, W).

    They are `matrix_size`, or `size` for None, or for "fitted" H // (H // s) for both and, where `size` is a
    pair, W // (W // s_w) for Q.

    >>> [matrix_sides(7, "fitted", (side, 2 * side)) for side in (14, 28, 16, 32)]
    [(7, 7), (7, 7), (8, 8), (8, 8)]
    >>> matrix_sides((3, 7), "fitted", (8, 16)), matrix_sides((3, 7), None, (8, 16))
    ((4, 8), (3, 7))
    """
    if matrix_size != "fitted":
        return pair(matrix_size or size)
    if isinstance(size, int):
        return pair(_fitted(size, sides[0]))
    return tuple(_fitted(small, side) for small, side in zip(size, sides, strict=True))


def pair(value):
    """Returns a pair as it is, and two of anything else."""
    return value if isinstance(value, tuple) else (value, value)


def _fitted(size, side):
    if side is None or (isinstance(side, int) and side < size):
        return size  # there is nothing to check, or the map is too small: `check_multiples` refuses it
    return side // (side // size)


def block_maxima(x, blocks):
    """Returns the maximum of each of `blocks` stretches of the second axis: [N, L, k] -> [N, blocks, k]."""
    batch, length, groups = shape_of(x)
    return ops.max(ops.reshape(x, (batch, blocks, length // blocks, groups)), axis=2)  # [N, blocks, k]


def block_means(x, blocks):
    """Returns the mean of each of `blocks` equal stretches of frames.

    Shapes: [B, T, H, W, k] -> [B, blocks, k]. The sums are float32 under every policy.
    """
    batch, frames, height, width, groups = shape_of(x)
    y = ops.reshape(x, (batch, blocks, (frames // blocks) * height * width, groups))
    return ops.cast(ops.mean(at_least_float32(y), axis=2), x.dtype)  # [B, blocks, k]


def place_windows(windows, side):
    """Returns the mean of s x s windows placed along a matrix's diagonal, 0 where there is no window.

    M[i, j] = mean over the windows o that cover (i, j) of windows[o, i - o, j - o]

    Shapes: windows [N, O, k, s, s] with O = side - s + 1 -> [N, k, side, side].

    >>> import numpy as np
    >>> windows = np.array([1.0, 3.0], "float32").reshape(1, 2, 1, 1, 1) * np.ones((2, 2), "float32")
    >>> np.asarray(place_windows(windows, 3))[0, 0].tolist()
    [[1.0, 1.0, 0.0], [1.0, 2.0, 3.0], [0.0, 3.0, 3.0]]
    """
    if windows.shape[1] == 1:
        return windows[:, 0]  # [N, k, s, s]
    starts, inside = ops.arange(ops.shape(windows)[1]), ops.arange(windows.shape[-1])
    row_of_entry = starts[:, None] + inside  # [O, s]
    places = ops.cast(row_of_entry[:, :, None] == ops.arange(side), windows.dtype)  # [O, s, side]
    covered = ops.sum(places, axis=1)  # [O, side]
    count = ops.matmul(ops.transpose(covered), covered)  # [side, side]
    placed = ops.matmul(windows, places[:, None])  # [N, O, k, s, side]
    placed = ops.matmul(ops.transpose(places, (0, 2, 1))[:, None], placed)  # [N, O, k, side, side]
    return ops.sum(placed, axis=1) / ops.maximum(count, 1)  # [N, k, side, side]


def normalise(logits, axis, normalization):
    """Returns weights along `axis` that are non-negative and add up to 1, in float32 or wider.

    `normalization` is "softmax", or "sigmoid": sigmoid(z) / sum sigmoid(z), equation 2.

    >>> import numpy as np
    >>> logits = np.array([0.0, np.log(3.0)], "float32")
    >>> [round(float(weight), 3) for weight in normalise(logits, -1, "sigmoid")]
    [0.4, 0.6]
    """
    logits = at_least_float32(logits)
    if normalization == "sigmoid":
        # The softmax of log sigmoid(z) is the same, without 0 / 0 where all sigmoids underflow.
        logits = ops.log_sigmoid(logits)
    return ops.softmax(logits, axis=axis)


def apply_matrices(x, p=None, q=None, t=None):
    """Returns T (P X Q): every frame is multiplied by its own P and Q, then T mixes the frames.

    Channel c is in group c // (d / k) of P and Q, and in group c // (d / k_t) of T. None stands
    for the identity.

    Shapes: x [B, T, H, W, d], p [B, T, k, m, m], q [B, T, k, m', m'], t [B, k_t, r, r] -> as x.
    Cost: d * T * H * W * (m + m' + r) products; the Kronecker products are never built.

    >>> import numpy as np
    >>> x = np.arange(4, dtype="float32").reshape((1, 1, 4, 1, 1))
    >>> swap, one = np.array([[0.0, 1.0], [1.0, 0.0]], "float32"), np.ones((1, 1), "float32")
    >>> np.asarray(apply_matrices(x, swap[None, None, None], one[None, None, None])).ravel().tolist()
    [2.0, 3.0, 0.0, 1.0]
    """
    if p is None and t is None:
        return x
    # Both kinds of groups consist of these, so one transposition in and one out serve all products.
    groups = math.lcm(1 if p is None else p.shape[2], 1 if t is None else t.shape[1])
    batch, frames, height, width, channels = shape_of(x)
    share = channels // groups
    y = ops.reshape(x, (batch, frames * height * width, groups, share))
    y = ops.transpose(y, (0, 2, 1, 3))  # [B, G, T*H*W, d/G]
    if p is not None:
        p, q = (_per_group(ops.transpose(a, (0, 2, 1, 3, 4)), groups, x.dtype) for a in (p, q))
        rows, columns, stack = ops.shape(p)[-1], ops.shape(q)[-1], batch * groups * frames
        y = ops.reshape(y, (stack, rows, (height // rows) * width * share))
        y = ops.matmul(ops.reshape(p, (stack, rows, rows)), y)  # [B*G*T, m, H/m*W*d/G]
        y = ops.reshape(y, (stack, height, columns, (width // columns) * share))
        q = ops.transpose(ops.reshape(q, (stack, 1, columns, columns)), (0, 1, 3, 2))
        y = ops.matmul(q, y)  # [B*G*T, H, m', W/m'*d/G]
    if t is not None:
        t, size = _per_group(t, groups, x.dtype), t.shape[-1]
        y = ops.reshape(y, (batch, groups, size, (frames // size) * height * width * share))
        y = ops.matmul(t, y)  # [B, G, r, T/r*H*W*d/G]
    y = ops.reshape(y, (batch, groups, frames * height * width, share))
    y = ops.transpose(y, (0, 2, 1, 3))  # [B, T*H*W, G, d/G]
    return ops.reshape(y, (batch, frames, height, width, channels))


def _per_group(matrices, groups, dtype):
    """Repeats matrices [B, k, ...] so that each of `groups` finer groups has its own."""
    matrices, times = ops.cast(matrices, dtype), groups // matrices.shape[1]
    return matrices if times == 1 else ops.repeat(matrices, times, axis=1)  # [B, G, ...]


def shrink(x, rows, columns):
    """Returns the means of rows x columns blocks: [B, T, H, W, d] -> [B, T, rows, columns, d]."""
    batch, frames, height, width, channels = shape_of(x)
    # LiteRT takes means of at most five axes.
    y = ops.reshape(x, (batch * frames * rows, height // rows, columns, width // columns, channels))
    y = ops.cast(ops.mean(at_least_float32(y), axis=(1, 3)), x.dtype)  # [B*T*rows, columns, d]
    return ops.reshape(y, (batch, frames, rows, columns, channels))


def enlarge(x, height, width):
    """Returns frames enlarged bilinearly, with half-pixel centres and the border repeated outside.

    This is PyTorch's `interpolate(mode="bilinear", align_corners=False)`, as a product with two matrices.

    Shapes: [B, T, h, w, d] -> [B, T, height, width, d].

    >>> import numpy as np
    >>> x = np.array([0.0, 4.0], "float32").reshape((1, 1, 1, 2, 1))
    >>> np.asarray(enlarge(x, 1, 4)).ravel().tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    batch, frames, rows, columns, channels = shape_of(x)
    y = ops.reshape(x, (batch * frames, rows, columns * channels))
    y = ops.matmul(interpolation(height, rows, x.dtype), y)  # [B*T, H, w*d]
    y = ops.reshape(y, (batch * frames, height, columns, channels))
    y = ops.matmul(interpolation(width, columns, x.dtype), y)  # [B*T, H, W, d]
    return ops.reshape(y, (batch, frames, height, width, channels))


def interpolation(side, small, dtype):
    """Returns the weights [side, small] of linear interpolation: a tent around each coarse centre."""
    wide = keras.backend.result_type(dtype, "float32")
    centres = ops.cast(ops.arange(side), wide) + 0.5
    centres = centres * (ops.cast(small, wide) / ops.cast(side, wide)) - 0.5
    centres = ops.clip(centres, 0.0, ops.cast(small - 1, wide))
    distance = ops.abs(centres[:, None] - ops.cast(ops.arange(small), wide))  # [side, small]
    return ops.cast(ops.relu(1.0 - distance), dtype)
