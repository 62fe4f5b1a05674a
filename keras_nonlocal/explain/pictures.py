"""From weights to pictures: strongest links, pixels of positions, and maps of the input's size."""

import numpy as np
from keras import ops

from keras_nonlocal.bilinear import interpolation


def strongest_links(rows, count):
    """Returns the keys that weigh most in each row, over all frames, the strongest first.

    Wang et al., CVPR 2018, draw them as arrows from a position to its 20 keys (figures 1 and 3).

    Args:
        rows: [P, ...] of `attention_rows` or `element_rows`.
        count: How many keys, from 1 to those of a row.

    Returns:
        (keys, weights): ints [P, count, axes] such as (frame, row, column), and float32 [P, count]. Equal
        weights stand in the order of their keys.

    Raises:
        ValueError: A row has not so many keys.

    Example:
        >>> import numpy as np
        >>> keys, weights = strongest_links(np.array([[[[0.1, 0.2]], [[0.4, 0.3]]]]), 2)
        >>> keys.tolist(), weights.tolist()
        ([[[1, 0, 0], [1, 0, 1]]], [[0.4, 0.3]])
    """
    rows = np.asarray(rows)
    flat = rows.reshape(len(rows), -1)
    if not isinstance(count, int) or not 1 <= count <= flat.shape[1]:
        raise ValueError(
            f"strongest_links: Expected a count of 1 to {flat.shape[1]}, the keys of a row. "
            f"Received {count!r}. Try: {min(20, flat.shape[1])}."
        )
    order = np.argsort(-flat, axis=1, kind="stable")[:, :count]
    keys = np.stack(np.unravel_index(order, rows.shape[1:]), axis=-1)
    return keys, np.take_along_axis(flat, order, axis=1)


def to_pixels(positions, map_sides, input_sides):
    """Returns the frames and pixels of the input that positions of a map stand for.

    A map is a grid of equal cells over the input: cell i of n covers the i-th n-th part of each axis, where
    an overlay of `upsample` has its centre. A position sees more, its receptive field, whose centre may be
    half a cell away: convolutions that pad both sides put the first one on the input's border.

    Args:
        positions: Ints [..., axes], such as (frame, row, column).
        map_sides: (T', H', W') of the map, or of the keys, which are `rows.shape[1:]`.
        input_sides: (T, H, W) of the clip, or (H, W) of an image.

    Returns:
        float32 [..., axes, 2]: where the cell begins and where it ends, in frames and pixels from 0.

    Raises:
        ValueError: The numbers of axes differ, or a position is outside the map.

    Example:
        >>> to_pixels([(1, 0, 6)], (4, 7, 7), (8, 224, 224))[0].tolist()
        [[2.0, 4.0], [0.0, 32.0], [192.0, 224.0]]
    """
    found, sides, full = np.asarray(positions), np.array(map_sides), np.array(input_sides)
    if found.shape[-1:] != sides.shape or sides.shape != full.shape or ((found < 0) | (found >= sides)).any():
        raise ValueError(
            "to_pixels: Expected positions in the map, which has as many axes as the input. Received "
            f"{positions!r} of a map {tuple(map_sides)} of an input {tuple(input_sides)}. "
            "Try: positions of (frame, row, column), with sides (T, H, W), or without frames for an image."
        )
    cell = full / sides
    return np.stack([found * cell, (found + 1) * cell], axis=-1).astype("float32")


def upsample(maps, sides):
    """Returns maps enlarged to the input's sides, linearly along each axis, for an overlay.

    Centres are half-pixel, and the border is repeated outside, as in `to_pixels` and in the interpolation of
    PyTorch's "trilinear" with align_corners=False.

    Args:
        maps: [..., T', H', W'], or any number of axes at the end.
        sides: As many sides: (T, H, W), (H, W).

    Returns:
        float32 [..., T, H, W].

    Raises:
        ValueError: There are more sides than axes, or a side is below 1.
    """
    maps, sides = np.asarray(maps, "float32"), tuple(sides)
    if not sides or len(sides) > maps.ndim or min(sides) < 1:
        raise ValueError(
            f"upsample: Expected positive sides for the last axes of the maps. Received {sides} for maps of "
            f"shape {maps.shape}. Try: (T, H, W) of the clip, or (H, W) for maps of an image."
        )
    for axis, side in enumerate(sides, start=maps.ndim - len(sides)):
        weights = ops.convert_to_numpy(interpolation(side, maps.shape[axis], "float32"))  # [side, small]
        maps = np.moveaxis(np.moveaxis(maps, axis, -1) @ weights.T, -1, axis)
    return maps


def above_threshold(maps, threshold=0.7, axes=None):
    """Returns where maps are strong: each is scaled to 0 ... 1 and compared with a threshold.

    Yue et al., NeurIPS 2018, show the patches above 0.7 (figure 5) and do not say how they scale: here by the
    least and the largest value of each map. A map of equal values has no strong position.

    Args:
        maps: [P, ...], such as `attention_rows`.
        threshold: From 0 to 1.
        axes: The axes of one map; None means all but the first. (1, 2, 3) for `element_rows` of a video
            scales each channel by itself.

    Returns:
        bool, of the shape of `maps`.
    """
    maps = np.asarray(maps)
    axes = tuple(range(1, maps.ndim)) if axes is None else axes
    least, most = maps.min(axis=axes, keepdims=True), maps.max(axis=axes, keepdims=True)
    return (maps - least >= threshold * (most - least)) & (most > least)
