"""The aggregations on [B, N, D]: tiles, gradients of tiles, orders of products, half precision."""

import backends
import keras
import numpy as np
import oracles
import pytest
from keras import ops

from keras_nonlocal import NonLocal, affinity

SHAPES = {"queries": (2, 37, 5), "keys": (2, 23, 5), "values": (2, 23, 4)}
WEIGH = {
    affinity.softmax_aggregate: oracles.softmax,
    affinity.relu_aggregate: oracles.mean_of(lambda s: np.maximum(s, 0)),
    affinity.dot_product_aggregate: oracles.mean_of(lambda s: s),
}


def draw(shapes=SHAPES, dtype="float32"):
    generator = np.random.default_rng(3)
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes.values()]


def pairs_oracle(query_terms, key_terms, values):
    """The sum over all pairs, as the equation has it."""
    result = np.zeros((*query_terms.shape, values.shape[-1]))
    for b, i in np.ndindex(query_terms.shape):
        for j, key_term in enumerate(key_terms[b]):
            result[b, i] += max(0.0, query_terms[b, i] + key_term) * values[b, j] / key_terms.shape[1]
    return result


# Of the 37 x 23 logits a tile holds: all; 5 queries (37 = 8 * 5 - 3: the last tile is filled up); 1 query.
@pytest.mark.parametrize("logits_per_tile", [2**20, 5 * 23, 1])
@pytest.mark.parametrize("aggregate", WEIGH, ids=lambda function: function.__name__)
def test_tiles_change_neither_result_nor_gradient(monkeypatch, aggregate, logits_per_tile):
    monkeypatch.setattr(affinity, "LOGITS_PER_TILE", logits_per_tile)
    arrays = draw()
    expected = oracles.attend(*(a.astype("float64") for a in arrays), WEIGH[aggregate])
    np.testing.assert_allclose(ops.convert_to_numpy(aggregate(*arrays)), expected, atol=2e-6)

    cotangent, step = np.random.default_rng(4).standard_normal(expected.shape), 1e-6

    def loss(*tensors):
        return ops.sum(ops.multiply(aggregate(*tensors), cotangent.astype("float32")))

    for at, gradient in enumerate(backends.gradients(loss, *arrays)):
        direction = np.random.default_rng(at).standard_normal(gradient.shape)

        def total(scale, at=at, direction=direction):
            moved = [a.astype("float64") for a in arrays]
            moved[at] = moved[at] + scale * direction
            return np.sum(oracles.attend(*moved, WEIGH[aggregate]) * cotangent)

        difference = (total(step) - total(-step)) / (2 * step)
        np.testing.assert_allclose(np.sum(gradient * direction), difference, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("positions", "keys", "limit", "count"),
    [
        (6272, 6272, 2**20, 49),  # 38 tiles of 167 queries would do; 49 tiles of 128 come out even
        (1568, 392, 2**20, 1),
        (25088, 25088, 2**20, 784),  # 41 queries at most: 32
        (37, 23, 5 * 23, 8),  # a prime: 8 tiles of 5, and 3 queries of zeros
        (10, 100, 50, 10),  # not even one query fits: one at a time
    ],
)
def test_tiles_come_out_even_where_they_can(monkeypatch, positions, keys, limit, count):
    monkeypatch.setattr(affinity, "LOGITS_PER_TILE", limit)
    assert affinity._tile_count(np.empty((1, positions, 0)), np.empty((1, keys, 0))) == count


@pytest.mark.parametrize("positions", [3, 40])  # N M (D + E) products against (N + M) D E: either order once
def test_dot_product_takes_the_cheaper_order(monkeypatch, positions):
    formed = []
    similarities = affinity._similarities
    monkeypatch.setattr(affinity, "_similarities", lambda *a: formed.append(a) or similarities(*a))
    arrays = draw({"queries": (2, positions, 5), "keys": (2, 4, 5), "values": (2, 4, 6)})
    expected = oracles.attend(*arrays, WEIGH[affinity.dot_product_aggregate])
    np.testing.assert_allclose(
        ops.convert_to_numpy(affinity.dot_product_aggregate(*arrays)), expected, atol=2e-6
    )
    assert len(formed) == (positions == 3)


@pytest.mark.parametrize("ties", [False, True])
def test_concatenation_is_the_sum_over_all_pairs(ties):
    arrays = draw({"queries": (2, 37), "keys": (2, 23), "values": (2, 23, 4)})
    if ties:  # a_i = -b_j, where the positive part begins
        arrays[0][:, :23] = -arrays[1]
    result = ops.convert_to_numpy(affinity.concatenation_aggregate(*arrays))
    np.testing.assert_allclose(result, pairs_oracle(*(a.astype("float64") for a in arrays)), atol=2e-6)


def test_concatenation_gradient():
    arrays = draw({"queries": (2, 17), "keys": (2, 11), "values": (2, 11, 3)})
    cotangent, step = np.random.default_rng(4).standard_normal((2, 17, 3)), 1e-6

    def loss(*tensors):
        return ops.sum(ops.multiply(affinity.concatenation_aggregate(*tensors), cotangent.astype("float32")))

    for at, gradient in enumerate(backends.gradients(loss, *arrays)):
        direction, moved = np.random.default_rng(at).standard_normal(gradient.shape), []
        for scale in (step, -step):
            inputs = [a.astype("float64") for a in arrays]
            inputs[at] += scale * direction
            moved.append(np.sum(pairs_oracle(*inputs) * cotangent))
        difference = (moved[0] - moved[1]) / (2 * step)
        np.testing.assert_allclose(np.sum(gradient * direction), difference, rtol=2e-5, atol=2e-5)


def test_concatenation_of_many_terms_keeps_its_digits():
    # Running sums over 8000 terms, most of which cancel: what float32 loses must stay near its last digits.
    arrays = draw({"queries": (1, 4000), "keys": (1, 4000), "values": (1, 4000, 1)})
    arrays[0] += 3
    a, b, v = (x[0].astype("float64") for x in arrays)
    expected = np.maximum(a[:, None] + b[None], 0) @ v / 4000
    result = ops.convert_to_numpy(affinity.concatenation_aggregate(*arrays))
    np.testing.assert_allclose(result[0], expected, atol=3e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_logits_and_softmax_are_float32_under_mixed_precision(dtype):
    # Logits 90000 and 90032: beyond float16, and one and the same number in bfloat16.
    queries = ops.convert_to_tensor([[[300.0, 1.0]]], dtype)
    keys = ops.convert_to_tensor([[[300.0, 0.0], [300.0, 32.0]]], dtype)
    values = ops.convert_to_tensor([[[1.0], [-1.0]]], dtype)
    y = affinity.softmax_aggregate(queries, keys, values)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    assert float(y[0, 0, 0]) == -1.0


@pytest.mark.parametrize(
    "aggregate",
    [affinity.dot_product_aggregate, affinity.relu_aggregate],
    ids=lambda function: function.__name__,
)
def test_sums_over_keys_are_float32_under_mixed_precision(aggregate):
    # 5000 products of 16 * 16 * 1: their sum is beyond float16 though their mean, 256, is not.
    queries, keys = np.full((1, 1, 1), 16, "float16"), np.full((1, 5000, 1), 16, "float16")
    y = aggregate(*map(ops.convert_to_tensor, (queries, keys, np.ones((1, 5000, 1), "float16"))))
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    assert float(y[0, 0, 0]) == 256.0


def test_fused_attention_of_jax(monkeypatch):
    """What reaches Keras's fused attention, and that its refusal leads to the tiles."""
    calls, refusing = [], []

    def fused(queries, keys, values, scale, flash_attention):
        if refusing:
            raise RuntimeError("no such device")
        calls.append((tuple(queries.shape), scale, flash_attention))
        logits = ops.einsum("bnhd,bmhd->bhnm", *(ops.cast(x, "float32") for x in (queries, keys))) * scale
        return ops.cast(
            ops.einsum("bhnm,bmhd->bnhd", ops.softmax(logits), ops.cast(values, "float32")), "float16"
        )

    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    monkeypatch.setattr(ops, "dot_product_attention", fused)
    arrays = draw(SHAPES | {"values": (2, 23, 5)}, "float16")
    halves = [ops.convert_to_tensor(a) for a in arrays]
    expected = oracles.attend(0.5 * arrays[0].astype("float64"), *(a.astype("float64") for a in arrays[1:]))
    for _ in range(2):
        y = affinity.softmax_aggregate(*halves, scale=0.5)
        np.testing.assert_allclose(ops.convert_to_numpy(y), expected, atol=2e-3)
        refusing.append(True)
    assert calls == [((2, 37, 1, 5), 0.5, True)]
    refusing.clear()
    affinity.softmax_aggregate(*(ops.cast(a, "float32") for a in halves))  # cuDNN takes half precision only
    affinity.softmax_aggregate(*halves[:2], halves[2][..., :4])  # and values as wide as the keys
    assert len(calls) == 1


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="the others know all sides when they run")
def test_maps_of_unknown_sides_train_in_one_tile():
    import tensorflow as tf

    layer = NonLocal()
    layer.build((None, None, None, None, 8))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, None, 8))])
    def gradient(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=True) ** 2)
        return tape.gradient(loss, [layer.norm.gamma, layer.theta.kernel])

    x = np.random.default_rng(0).standard_normal((2, 2, 4, 4, 8)).astype("float32")
    assert all(np.isfinite(part).all() for part in gradient(x))
