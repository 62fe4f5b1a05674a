"""How positions attend to each other: stateless functions on [B, N, D], no weights.

B is the number of clips, N of queries and M of keys; D is the width of queries and keys, E that of values.
All sums are float32 under every policy, or wider where the input is; results have the dtype of `values`.
"""

import math

import keras
from keras import ops

from keras_nonlocal.precision import at_least_float32

LOGITS_PER_TILE = 5 * 2**19  # 10 MB of float32 per sample; products of that size run at nearly full speed
ROWS_PER_PART = 64


def softmax_aggregate(queries, keys, values, scale=1.0):
    """Returns for each query the mean of all values, weighted by a softmax over the keys.

    y_i = sum_j softmax_j(scale * q_i . k_j) v_j

    The queries are processed tile by tile, in the backward pass as well, which computes a tile's logits
    again instead of keeping them. On the JAX backend, half-precision inputs go through
    `keras.ops.dot_product_attention` where the device has a fused kernel for their width.

    Shapes: queries [B, N, D], keys [B, M, D], values [B, M, E] -> [B, N, E].
    Cost: time O(N * M * (D + E)), memory O(tile * M) with tile = LOGITS_PER_TILE / M queries.

    >>> import numpy as np
    >>> query, keys = np.zeros((1, 1, 2), "float32"), np.ones((1, 2, 2), "float32")
    >>> np.asarray(softmax_aggregate(query, keys, np.array([[[2.0], [4.0]]], "float32"))).tolist()
    [[[3.0]]]
    """
    fused = _fused_softmax_aggregate(queries, keys, values, scale)
    if fused is not None:
        return fused
    queries, keys, summed_values = map(at_least_float32, (queries, keys, values))
    if scale != 1.0:
        queries = queries * scale  # N * D products instead of N * M
    y = _aggregate_in_tiles(queries, keys, summed_values, _softmax, _softmax_gradient)
    return ops.cast(y, values.dtype)


def dot_product_aggregate(queries, keys, values):
    """Returns for each query the mean of all values, each times the dot product of its key and the query.

    y_i = 1/M sum_j (q_i . k_j) v_j = 1/M q_i (sum_j k_j v_j^T)

    Shapes: queries [B, N, D], keys [B, M, D], values [B, M, E] -> [B, N, E].
    Cost: time O((N + M) * D * E), memory O(D * E). Where the shapes make it cheaper, the weights
        q_i . k_j are computed first.

    >>> import numpy as np
    >>> query, keys = np.ones((1, 1, 2), "float32"), np.ones((1, 2, 2), "float32")
    >>> np.asarray(dot_product_aggregate(query, keys, np.array([[[2.0], [4.0]]], "float32"))).tolist()
    [[[6.0]]]
    """
    queries, keys, summed_values = map(at_least_float32, (queries, keys, values))
    positions, others, width, value_width = *queries.shape[1:2], *keys.shape[1:], values.shape[-1]
    matrix_is_smaller = None not in (positions, others) and (
        positions * others * (width + value_width) < (positions + others) * width * value_width
    )
    summed_values = summed_values / _key_count(keys)
    if matrix_is_smaller:
        y = ops.matmul(_similarities(queries, keys), summed_values)  # [B, N, E]
    else:
        y = ops.matmul(queries, ops.matmul(_transposed(keys), summed_values))  # [B, N, E]
    return ops.cast(y, values.dtype)


def relu_aggregate(queries, keys, values):
    """Returns for each query the mean of all values, each times the ReLU of key . query.

    y_i = 1/M sum_j max(0, q_i . k_j) v_j

    Shapes: queries [B, N, D], keys [B, M, D], values [B, M, E] -> [B, N, E].
    Cost: that of `softmax_aggregate`; the ReLU allows no other order of the products.

    >>> import numpy as np
    >>> query, keys = np.ones((1, 1, 1), "float32"), np.array([[[1.0], [-1.0]]], "float32")
    >>> np.asarray(relu_aggregate(query, keys, np.array([[[2.0], [4.0]]], "float32"))).tolist()
    [[[1.0]]]
    """
    queries, keys, summed_values = map(at_least_float32, (queries, keys, values))
    summed_values = summed_values / _key_count(keys)
    y = _aggregate_in_tiles(queries, keys, summed_values, ops.relu, _relu_gradient)
    return ops.cast(y, values.dtype)


def concatenation_aggregate(query_terms, key_terms, values):
    """Returns for each query the mean of all values, each times the ReLU of a query and a key term.

    y_i = 1/M sum_j max(0, a_i + b_j) v_j = 1/M (a_i sum_{b_j > -a_i} v_j + sum_{b_j > -a_i} b_j v_j)

    The keys are sorted by descending b_j. The keys with a positive weight for a query are then the first
    ones, so two running sums along the keys give every y_i, and no pair is formed.

    Shapes: query_terms [B, N], key_terms [B, M], values [B, M, E] -> [B, N, E].
    Cost: time O((N + M) * (E + log(N + M))), memory O((N + M) * E).

    >>> import numpy as np
    >>> terms = np.array([[1.0]], "float32"), np.array([[2.0, -2.0]], "float32")
    >>> np.asarray(concatenation_aggregate(*terms, np.array([[[2.0], [4.0]]], "float32"))).tolist()
    [[[3.0]]]
    """
    query_terms, key_terms, summed_values = map(at_least_float32, (query_terms, key_terms, values))
    order = ops.argsort(-key_terms, axis=1)  # [B, M]
    sorted_values = _rows(summed_values / _key_count(key_terms), order)  # [B, M, E]
    sorted_terms = ops.take_along_axis(key_terms, order, axis=1)[..., None]  # [B, M, 1]
    counts = _count_above(query_terms, key_terms)  # [B, N]
    plain = _rows(_sums_before(sorted_values), counts)  # [B, N, E]
    weighted = _rows(_sums_before(sorted_terms * sorted_values), counts)  # [B, N, E]
    return ops.cast(query_terms[..., None] * plain + weighted, values.dtype)


def softmax_weights(queries, keys, scale=1.0):
    """Returns the weights of `softmax_aggregate`: [B, n, D], [B, M, D] -> [B, n, M]; n may be a few rows."""
    queries, keys = map(at_least_float32, (queries, keys))
    return _softmax(_similarities(queries * scale, keys))


def dot_product_weights(queries, keys):
    """Returns the weights of `dot_product_aggregate`: [B, n, D], [B, M, D] -> [B, n, M]."""
    queries, keys = map(at_least_float32, (queries, keys))
    return _similarities(queries, keys) / _key_count(keys)


def relu_weights(queries, keys):
    """Returns the weights of `relu_aggregate`: [B, n, D], [B, M, D] -> [B, n, M]."""
    return ops.relu(dot_product_weights(queries, keys))


def concatenation_weights(query_terms, key_terms):
    """Returns the weights of `concatenation_aggregate`: [B, n], [B, M] -> [B, n, M]."""
    query_terms, key_terms = map(at_least_float32, (query_terms, key_terms))
    return ops.relu(query_terms[:, :, None] + key_terms[:, None]) / _key_count(key_terms)


def _key_count(keys):
    return ops.cast(ops.shape(keys)[1], keys.dtype)


def _transposed(x):
    return ops.transpose(x, (0, 2, 1))


def _similarities(queries, keys):
    return ops.matmul(queries, _transposed(keys))  # [B, N, M]


def _count_above(query_terms, key_terms):
    """Returns for each a_i how many b_j are above -a_i; an equal one adds 0 to the sum and may be counted."""
    queries = ops.shape(query_terms)[1]
    order = ops.argsort(ops.concatenate([query_terms, -key_terms], axis=1), axis=1)  # [B, N+M]
    keys_so_far = ops.cumsum(ops.cast(order >= queries, "int32"), axis=1)  # [B, N+M]
    places = ops.argsort(order, axis=1)[:, :queries]  # [B, N]
    return ops.take_along_axis(keys_so_far, places, axis=1)  # [B, N]


def _rows(x, indices):
    """Returns the rows of x [B, M, E] at indices [B, N], which differ from clip to clip: [B, N, E]."""
    batch, count, width = ops.shape(x)
    first = ops.arange(batch, dtype="int32") * count
    flat = ops.reshape(ops.cast(indices, "int32") + first[:, None], (-1,))  # [B*N]
    # take_along_axis would look up every entry of a row by itself.
    rows = ops.take(ops.reshape(x, (-1, width)), flat, axis=0)  # [B*N, E]
    return ops.reshape(rows, (batch, ops.shape(indices)[1], width))


def _sums_before(x):
    """Returns the sums of the first 0, 1, ..., M rows of [B, M, E]: [B, M+1, E]."""
    x = ops.pad(x, [(0, 0), (1, 0), (0, 0)])
    # Each part is multiplied by a triangle of ones, which is faster than cumsum and a digit more precise.
    parts = _to_tiles(x, (ops.shape(x)[1] + ROWS_PER_PART - 1) // ROWS_PER_PART)  # [parts, B, rows, E]
    rows = ops.arange(ops.shape(parts)[2])
    triangle = ops.cast(rows[:, None] >= rows, x.dtype)  # [rows, rows]
    sums = ops.matmul(triangle, parts)  # [parts, B, rows, E]
    totals = sums[:, :, -1:]
    return _from_tiles(sums + ops.cumsum(totals, axis=0) - totals, x)


def _softmax(logits):
    # A single key has the weight 1; Keras would warn about a softmax over one entry.
    return ops.ones_like(logits) if logits.shape[-1] == 1 else ops.softmax(logits)


def _softmax_gradient(weights, gradient, projected):
    return weights * (gradient - projected)


def _relu_gradient(weights, gradient, projected):
    return ops.where(weights > 0, gradient, 0.0)


def _fused_softmax_aggregate(queries, keys, values, scale):
    """Returns the backend's fused attention, which keeps no [N, M] matrix, or None where there is none."""
    dtypes = {keras.backend.standardize_dtype(x.dtype) for x in (queries, keys, values)}
    fits = dtypes <= {"float16", "bfloat16"} and queries.shape[-1] == values.shape[-1]
    if keras.config.backend() != "jax" or not fits:
        return None
    one_head = (x[:, :, None] for x in (queries, keys, values))  # [B, N, 1, D]
    try:
        return ops.dot_product_attention(*one_head, scale=scale, flash_attention=True)[:, :, 0]
    except (ImportError, NotImplementedError, RuntimeError, ValueError):
        return None  # JAX raises, while it traces, where the device has no fused kernel for the width


def _aggregate_in_tiles(queries, keys, values, weigh, weigh_gradient):
    """Returns weigh(Q K^T) V without keeping more than one tile of Q K^T, forwards and backwards."""
    count = _tile_count(queries, keys)
    if isinstance(count, int) and count == 1:
        return ops.matmul(weigh(_similarities(queries, keys)), values)  # [B, N, E]

    @ops.custom_gradient
    def aggregate(queries, keys, values):
        columns = _transposed(keys)  # [B, D, M], once for all tiles

        def tile_output(tile):
            return ops.matmul(weigh(ops.matmul(tile, columns)), values)  # [B, rows, E]

        outputs = ops.map(tile_output, _to_tiles(queries, count))  # [count, B, rows, E]

        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream  # torch passes the arguments as well
            return _tiled_gradient(queries, keys, values, outputs, upstream, weigh, weigh_gradient)

        return _from_tiles(outputs, queries), gradient

    return aggregate(queries, keys, values)


def _tiled_gradient(queries, keys, values, outputs, upstream, weigh, weigh_gradient):
    count = ops.shape(outputs)[0]
    query_tiles, upstream_tiles = _to_tiles(queries, count), _to_tiles(upstream, count)
    projected_tiles = ops.sum(upstream_tiles * outputs, axis=-1, keepdims=True)  # [count, B, rows, 1]
    key_columns, value_columns = _transposed(keys), _transposed(values)  # [B, D, M], [B, E, M]

    def add_tile(step, d_queries, d_keys, d_values):
        # Nothing is greater than infinity, so `tile` equals `step`, but it is known only when the last
        # tile is done. Otherwise TensorFlow would start ten tiles at a time and hold the logits of all.
        last = ops.stack([d_queries[0, 0, 0, 0], d_keys[0, 0, 0], d_values[0, 0, 0]])
        tile = step + ops.cast(ops.any(last > math.inf), "int32")
        rows, d_rows = query_tiles[tile], upstream_tiles[tile]  # [B, rows, D], [B, rows, E]
        weights = weigh(ops.matmul(rows, key_columns))  # [B, rows, M]
        d_weights = ops.matmul(d_rows, value_columns)  # [B, rows, M]
        d_logits = weigh_gradient(weights, d_weights, projected_tiles[tile])  # [B, rows, M]
        d_queries = ops.scatter_update(d_queries, ops.reshape(step, (1, 1)), ops.matmul(d_logits, keys)[None])
        d_keys = d_keys + ops.matmul(_transposed(d_logits), rows)
        return step + 1, d_queries, d_keys, d_values + ops.matmul(_transposed(weights), d_rows)

    start = ops.convert_to_tensor(0, "int32"), *map(ops.zeros_like, (query_tiles, keys, values))
    _, d_queries, d_keys, d_values = ops.while_loop(lambda step, *_: step < count, add_tile, start)
    return _from_tiles(d_queries, queries), d_keys, d_values


def _tile_count(queries, keys):
    """Returns how many tiles of at most LOGITS_PER_TILE are needed; an int where the shapes are known."""
    positions, others = ops.shape(queries)[1], ops.shape(keys)[1]
    if not (isinstance(positions, int) and isinstance(others, int)):
        rows = ops.maximum(LOGITS_PER_TILE // others, 1)
        return (positions + rows - 1) // rows
    count = math.ceil(positions / max(LOGITS_PER_TILE // others, 1))
    # A few more tiles save a padded copy if they have equally many queries.
    return next((even for even in range(count, 2 * count) if positions % even == 0), count)


def _to_tiles(x, count):
    """Cuts [B, N, D] into tiles [count, B, rows, D]; the last one is filled up with zeros."""
    batch, positions, width = ops.shape(x)
    rows = (positions + count - 1) // count
    missing = count * rows - positions
    if not (isinstance(missing, int) and missing == 0):
        x = ops.pad(x, [(0, 0), (0, missing), (0, 0)])
    return ops.transpose(ops.reshape(x, (batch, count, rows, width)), (1, 0, 2, 3))  # [count, B, rows, D]


def _from_tiles(tiles, like):
    """Undoes `_to_tiles`."""
    count, batch, rows, width = ops.shape(tiles)
    x = ops.reshape(ops.transpose(tiles, (1, 0, 2, 3)), (batch, count * rows, width))  # [B, count * rows, D]
    return x[:, : ops.shape(like)[1]]  # [B, N, D]
