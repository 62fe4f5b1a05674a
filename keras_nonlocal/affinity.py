"""How positions attend to each other: stateless functions on [B, N, D], no weights.

B batch, N query positions, M key positions, D width of queries and keys, E width of values.
"""

from keras import ops


def softmax_aggregate(queries, keys, values, scale=1.0):
    """Average the values of all keys, weighted by a softmax over the keys.

    y_i = sum_j softmax_j(scale * q_i . k_j) v_j

    Logits and softmax are float32 under every policy: unscaled logits overflow float16 and
    keep only 8 bits in bfloat16. The weighted sum runs in the dtype of `values`.

    Shapes: queries [B, N, D], keys [B, M, D], values [B, M, E] -> [B, N, E].
    Cost: time O(N * M * (D + E)), memory O(N * M).

    >>> import numpy as np
    >>> query, keys = np.zeros((1, 1, 2), "float32"), np.ones((1, 2, 2), "float32")
    >>> np.asarray(softmax_aggregate(query, keys, np.array([[[2.0], [4.0]]], "float32"))).tolist()
    [[[3.0]]]
    """
    queries = ops.cast(queries, "float32")
    if scale != 1.0:
        queries = queries * scale  # N * D products instead of N * M
    keys = ops.transpose(ops.cast(keys, "float32"), (0, 2, 1))  # [B, D, M]
    weights = ops.softmax(ops.matmul(queries, keys), axis=-1)  # [B, N, M]
    return ops.matmul(ops.cast(weights, values.dtype), values)  # [B, N, E]
