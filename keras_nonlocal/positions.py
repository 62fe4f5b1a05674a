"""The positions of a map: its axes between batch and channels, their windows and pooling.

A map is a sequence [B, L, C], an image [B, H, W, C] or a video [B, T, H, W, C]. Windows are
written for video, (t, h, w); an image uses the last two entries, a sequence the last one.
"""

import math

import keras
from keras import ops

KINDS = {3: "sequence [B, L, C]", 4: "image [B, H, W, C]", 5: "video [B, T, H, W, C]"}


def check_map(layer, input_shape, ranks=(3, 4, 5)):
    """Returns the channel count of a map that `layer` can take, or raises ValueError."""
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            f"{layer.name}: Expected keras.config.image_data_format() 'channels_last'. "
            f"Received '{keras.config.image_data_format()}'. "
            "Try: keras.config.set_image_data_format('channels_last') and transpose the input."
        )
    if len(input_shape) not in ranks:
        raise ValueError(
            f"{layer.name}: Expected a {' or '.join(KINDS[rank] for rank in ranks)}. "
            f"Received shape {tuple(input_shape)} of rank {len(input_shape)}. "
            "Try: keras.layers.Reshape, or add the missing axis with keras.ops.expand_dims."
        )
    if input_shape[-1] is None:
        raise ValueError(
            f"{layer.name}: Expected a known number of channels on the last axis. "
            f"Received shape {tuple(input_shape)}. Try: keras.Input with the last entry an int."
        )
    return input_shape[-1]


def check_window(name, window, layer_name):
    """Returns `window` as a tuple (t, h, w) of positive ints, or raises ValueError; an int means a cube."""
    entries = (window,) * 3 if isinstance(window, int) else tuple(window)
    if len(entries) != 3 or not all(isinstance(size, int) and size > 0 for size in entries):
        raise ValueError(
            f"{layer_name}: Expected `{name}` to be a positive int or three of them (t, h, w). "
            f"Received {window!r}. Try: (1, 2, 2); images use the last two entries, sequences the last."
        )
    return entries


def check_kernel(kernel_size, layer_name):
    """Returns `kernel_size` as a tuple (t, h, w) of odd ints, or raises ValueError."""
    sides = check_window("kernel_size", kernel_size, layer_name)
    if any(size % 2 == 0 for size in sides):
        raise ValueError(
            f"{layer_name}: Expected odd kernel sides, so that the window has a middle. "
            f"Received kernel_size={kernel_size!r}. Try: (3, 7, 7)."
        )
    return sides


def window_of(window, input_shape):
    """Returns the entries of a (t, h, w) window that a map of this shape has axes for."""
    return window[5 - len(input_shape) :]


def check_fits(layer, window, input_shape):
    """Raises ValueError where a pooling window is larger than a known side of the map."""
    for size, side in zip(window_of(window, input_shape), input_shape[1:-1], strict=True):
        if side is not None and size > side:
            raise ValueError(
                f"{layer.name}: Expected a map at least as large as the sub-sampling window. "
                f"Received window {window_of(window, input_shape)} on shape {tuple(input_shape)}. "
                "Try: a smaller `subsample`, or subsample=None."
            )


def check_multiples(layer, factors, input_shape, remedy):
    """Raises ValueError where a known side of the map is not a multiple of its factor in (t, h, w)."""
    factors = window_of(factors, input_shape)
    for factor, side in zip(factors, input_shape[1:-1], strict=True):
        if side is not None and side % factor:
            raise ValueError(
                f"{layer.name}: Expected sides that are multiples of {factors}. "
                f"Received shape {tuple(input_shape)}. Try: {remedy}"
            )


def flatten_positions(x):
    """Lays all positions of a map on one axis: [B, ..., C] -> [B, N, C]."""
    sides = x.shape[1:-1]
    if all(side is not None for side in sides):
        return ops.reshape(x, (-1, math.prod(sides), x.shape[-1]))  # [B, N, C]
    return ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))  # [B, N, C]


def restore_positions(y, like):
    """Undoes `flatten_positions`: [B, N, D] -> [B, ..., D] with the sides of `like`."""
    return ops.reshape(y, (*ops.shape(like)[:-1], y.shape[-1]))  # [B, ..., D]


def shape_of(x):
    """Returns the shape of x, ints where it is known, to reshape x itself to; tests of ONNX files need it.

    If tf2onnx reads two unknown sides off x, it writes them as "the same as the input's". It also drops a
    reshape that comes just before, and then the input is another one. Sides of an empty slice, which costs
    nothing, it leaves alone.
    """
    if None not in x.shape[1:]:
        return ops.shape(x)
    return (ops.shape(x)[0], *ops.shape(x[:0])[1:])


def fold_frames(x):
    """Folds the frames into the batch: [B, T, H, W, C] -> [B*T, H, W, C]."""
    return ops.reshape(x, (-1, *shape_of(x)[2:]))  # [B*T, H, W, C]


def unfold_frames(y, frames):
    """Undoes `fold_frames`: [B*T, H, W, C] -> [B, T, H, W, C] with T = `frames`."""
    return ops.reshape(y, (-1, frames, *shape_of(y)[1:]))  # [B, T, H, W, C]


def flatten_reach(x, reach="spacetime", frames=None):
    """Lays the positions that see each other on one axis: [B, ..., C] -> [B', N', C].

    "spacetime" takes all positions of a clip, "space" those of a frame, "time" those of a pixel;
    `frames` cuts the clip into windows of that many frames first, None leaves it whole.
    """
    if reach == "time":
        x = ops.transpose(x, (0, 2, 3, 1, 4))  # [B, H, W, T, C]
        return ops.reshape(x, (-1, frames or ops.shape(x)[3], x.shape[-1]))  # [B*H*W*T/frames, frames, C]
    if len(x.shape) == 5 and (reach == "space" or frames):
        batch, length, height, width, channels = shape_of(x)
        frames = 1 if reach == "space" else frames
        return ops.reshape(x, (batch * (length // frames), frames * height * width, channels))
    return flatten_positions(x)


def restore_reach(y, like, reach="spacetime"):
    """Undoes `flatten_reach`: [B', N', D] -> [B, ..., D] with the sides of `like`."""
    if reach != "time":
        return restore_positions(y, like)
    batch, frames, height, width, _ = ops.shape(like)
    y = ops.reshape(y, (batch, height, width, frames, y.shape[-1]))  # [B, H, W, T, D]
    return ops.transpose(y, (0, 3, 1, 2, 4))  # [B, T, H, W, D]


def max_pool(x, window):
    """Max-pools a map by a (t, h, w) window, stride equal to the window, no padding."""
    return pool(x, window, _max_pool_image)


def pool(x, window, pool_images):
    """Pools a map by a (t, h, w) window with `pool_images(images, (h, w))`, which must be separable.

    On video, space is pooled first, frame by frame, then time: 2-D pooling is faster than 3-D pooling.
    """
    if len(x.shape) == 3:
        return pool_images(x[:, None], (1, window[2]))[:, 0]  # [B, M, C]
    if len(x.shape) == 4:
        return pool_images(x, window[1:])  # [B, H', W', C]
    if window[1:] != (1, 1):
        x = unfold_frames(pool_images(fold_frames(x), window[1:]), ops.shape(x)[1])  # [B, T, H', W', C]
    if window[0] != 1:
        batch, frames, height, width, channels = shape_of(x)
        rows = ops.reshape(x, (batch, frames, height * width, channels))  # [B, T, H'*W', C]
        rows = pool_images(rows, (window[0], 1))  # [B, T', H'*W', C]
        frames = shape_of(rows)[1]
        x = ops.reshape(rows, (batch, frames, height, width, channels))  # [B, T', H', W', C]
    return x


def _max_pool_image(x, window):
    return ops.max_pool(x, window, strides=window, padding="valid", data_format="channels_last")
