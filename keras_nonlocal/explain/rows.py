"""The rows of an affinity matrix that belong to chosen positions; the other rows are never computed."""

import math

import numpy as np
from keras import ops

from keras_nonlocal.compact_generalized import CompactGeneralizedNonLocal
from keras_nonlocal.explain.finding import call_of
from keras_nonlocal.non_local import NonLocal
from keras_nonlocal.positions import window_of
from keras_nonlocal.region_non_local import RegionNonLocal

AXES = ("frame", "row", "column")


def attention_rows(model, clip, block, positions):
    """Returns the weights with which chosen positions of a block's map sum up the values of all keys.

    Row i is f(x_i, x_j) / C(x) for all j, as the equation of `NonLocal` or `RegionNonLocal` has it: softmax
    rows add up to 1, others have any sum, and dot products any sign. Keys out of a position's reach weigh 0.

    Args:
        model: A functional keras.Model or a built keras.Sequential that holds the block.
        clip: [T, H, W, C], normalised as for the model, or an image [H, W, C].
        block: A name of `blocks_of`: a `NonLocal` or a `RegionNonLocal`.
        positions: Ints [P, 3], (frame, row, column) of the block's map, from 0; (row, column) of an image.

    Returns:
        float32 [P, T', H', W'], or [P, H', W'] for an image. The sides are those of the map or, where the
        block sub-samples, of its keys: a key then stands for a window of `subsample` positions, and what is
        left at the border, too small for a window, has no key.

    Cost:
        The layers before the block, the block's projections, and P * T' * H' * W' weights: never N x N.

    Raises:
        ValueError: As `block_input`; the block is of another kind; a position is outside the map.

    Example:
        >>> import keras, numpy as np
        >>> from keras_nonlocal import NonLocal, explain
        >>> clips = keras.Input((4, 6, 6, 8))
        >>> model = keras.Model(clips, NonLocal(name="nl")(clips))
        >>> rows = explain.attention_rows(model, np.ones((4, 6, 6, 8)), "nl", [(0, 5, 5), (3, 0, 0)])
        >>> rows.shape, [round(float(row.sum()), 4) for row in rows]
        ((2, 4, 3, 3), [1.0, 1.0])
    """
    layer, x = call_of(model, clip, block, (NonLocal, RegionNonLocal), "attention_rows")
    sides, window = tuple(x.shape[1:-1]), window_of(layer.pool_window(), x.shape)
    places = _checked(positions, sides, AXES[-len(sides) :], block)
    key_sides = tuple(side // size for side, size in zip(sides, window, strict=True))
    queries, keys, _ = layer.embed(x)  # [B', N', D], [B', M', D]
    query_table, key_table = _table(layer, sides), _table(layer, key_sides, pooled=True)  # [B', N'], [B', M']
    parts, places = np.divmod(np.argsort(query_table, axis=None)[places], query_table.shape[1])
    rows = np.zeros((len(places), math.prod(key_sides)), "float32")
    for part in np.unique(parts):
        (chosen,) = np.nonzero(parts == part)
        of_part = ops.take(queries[part], places[chosen], axis=0)[None]  # [1, n, D]
        weights = layer.weigh(of_part, keys[part][None])[0]  # [n, M']
        rows[np.ix_(chosen, key_table[part])] = ops.convert_to_numpy(weights)
    return rows.reshape(-1, *key_sides)


def element_rows(model, clip, block, elements):
    """Returns the weights with which elements of a `CompactGeneralizedNonLocal` sum up those of their group.

    In this block every channel of every position attends to every channel of its group at every position:
    y_ic = sum_jk f(theta_ic, phi_jk) g_jk. Yue et al., NeurIPS 2018, figure 5, draw a map for each of some
    channels: they pick a reference position in the space of g, compute its maps from theta and phi, and show
    what is above 0.7 (`above_threshold`).

    Args:
        model, clip, block: As for `attention_rows`; the block is a `CompactGeneralizedNonLocal`.
        elements: Ints [P, 4], (frame, row, column, channel), from 0; (row, column, channel) of an image. The
            channel is one of the d of theta.

    Returns:
        float32 [P, T', H', W', d / G]: the channels k of the group of the element's channel, in their order.
        The Taylor series is summed up to the block's order, as the block does.

    Cost:
        The layers before the block, its projections, and P * N * d / G weights.

    Raises:
        ValueError: As `attention_rows`.
    """
    layer, x = call_of(model, clip, block, (CompactGeneralizedNonLocal,), "element_rows")
    theta, phi, _ = (ops.convert_to_numpy(a)[0] for a in layer.embed(x))  # [T', H', W', d] each
    scale = ops.convert_to_numpy(layer.scale_of(ops.convert_to_tensor(theta[None])))
    places = _checked(elements, theta.shape, (*AXES[1 - theta.ndim :], "channel"), block)
    width = theta.shape[-1] // layer.groups
    rows = np.empty((len(places), *theta.shape[:-1], width), "float32")
    for row, place in zip(rows, places, strict=True):
        start = place % theta.shape[-1] // width * width
        row[...] = layer.weigh(theta.flat[place], phi[..., start : start + width], scale)
    return rows


def _checked(positions, sides, axes, block):
    """Returns positions as places on one axis, [P], or raises ValueError where one is not of the map."""
    found = np.asarray(positions)
    if found.ndim == 1 and found.size:
        found = found[None]
    if found.ndim != 2 or found.shape[1] != len(sides) or found.dtype.kind not in "iu":
        raise ValueError(
            f"{block}: Expected positions as rows of {len(sides)} ints ({', '.join(axes)}). "
            f"Received {positions!r}. Try: [{tuple(side // 2 for side in sides)}], the middle of the map."
        )
    outside = (found < 0) | (found >= np.array(sides))
    if outside.any():
        bad = found[outside.any(axis=1)][0]
        nearest = tuple(int(n) for n in np.clip(bad, 0, np.array(sides) - 1))
        raise ValueError(
            f"{block}: Expected positions in a map of {tuple(sides)}, from 0. "
            f"Received {tuple(int(n) for n in bad)}. Try: {nearest}."
        )
    return np.ravel_multi_index(tuple(found.T), sides)


def _table(layer, sides, pooled=False):
    """Returns which position of the map is where in the queries, or keys, of a layer: [B', N']."""
    count = math.prod(sides)
    laid = layer.lay_out(np.arange(count, dtype="int32").reshape(1, *sides, 1), pooled)
    return ops.convert_to_numpy(laid)[..., 0]
