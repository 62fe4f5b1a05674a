"""BatchNormalization gives what Keras's batch normalisation gives: outputs, gradients, statistics, files."""

import backends
import keras
import numpy as np
import pytest
from keras import ops

from keras_nonlocal import VideoResNet
from keras_nonlocal.batch_norm import BatchNormalization

SHAPES = [(3, 5), (2, 7, 6), (2, 3, 4, 5), (2, 3, 4, 3, 6), (1, 1, 1, 4)]


def pair(shape, **arguments):
    """Returns (Keras's norm, ours), built, with the same gamma and beta that are neither 1 nor 0."""
    norms = [
        kind(momentum=0.9, epsilon=1e-5, **arguments)
        for kind in (keras.layers.BatchNormalization, BatchNormalization)
    ]
    for norm in norms:
        norm.build(shape)
        rng = np.random.default_rng(1)
        for weight in norm.trainable_weights:
            weight.assign(rng.uniform(0.5, 2.0, weight.shape))
    return norms


def run(norm, x, weights):
    """Returns output, gradients of input, and of gamma and beta, and the statistics after a training call."""

    def loss(x):
        return ops.sum(ops.cast(norm(x, training=True), "float32") * weights)

    y = ops.convert_to_numpy(ops.cast(norm(x, training=True), "float32"))
    (dx,) = backends.gradients(loss, x)
    statistics = [ops.convert_to_numpy(v) for v in (norm.moving_mean, norm.moving_variance)]
    return [y, dx, *statistics]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others call Keras's own")
@pytest.mark.parametrize("arguments", [{}, {"scale": False}, {"center": False}], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_training_is_keras_own(shape, arguments):
    rng = np.random.default_rng(0)
    x, weights = (rng.normal(1.0, 2.0, shape).astype("float32") for _ in range(2))
    theirs, ours = (run(norm, x, weights) for norm in pair(shape, **arguments))
    for expected, found in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)
    assert np.ptp(theirs[2]) > 0.01


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others call Keras's own")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_training_is_one_fused_operation(shape):
    import tensorflow as tf

    norm = BatchNormalization()
    norm.build(shape)
    for training, count in ((True, 1), (False, 0)):
        traced = tf.function(lambda x, training=training: norm(x, training=training))
        graph = traced.get_concrete_function(tf.TensorSpec(shape)).graph
        assert [operation.type for operation in graph.get_operations()].count("FusedBatchNormV3") == count


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_statistics_are_float32_in_mixed_precision(policy):
    x = np.random.default_rng(0).normal(100.0, 0.5, (4, 3, 8, 8, 2)).astype("float32")
    norms = pair(x.shape, dtype=policy)
    for norm in norms:
        y = norm(x, training=True)
        assert keras.backend.standardize_dtype(y.dtype) == policy.removeprefix("mixed_")
    theirs, ours = ([ops.convert_to_numpy(v) for v in (n.moving_mean, n.moving_variance)] for n in norms)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


@pytest.mark.parametrize("arguments", [{"axis": 1}, {"trainable": False}, {"renorm": True}], ids=str)
def test_what_the_fused_operation_cannot_do_is_left_to_keras(arguments):
    x = np.random.default_rng(0).normal(1.0, 2.0, (2, 3, 4, 3)).astype("float32")
    theirs, ours = (ops.convert_to_numpy(norm(x, training=True)) for norm in pair(x.shape, **arguments))
    np.testing.assert_array_equal(ours, theirs)


def test_a_mask_is_left_to_keras():
    x = np.random.default_rng(0).normal(1.0, 2.0, (2, 6, 3)).astype("float32")
    mask = np.arange(6) < np.array([[4], [6]])
    theirs, ours = (ops.convert_to_numpy(n(x, training=True, mask=mask)) for n in pair(x.shape))
    np.testing.assert_array_equal(ours, theirs)


def test_sizes_may_be_unknown_and_models_last(tmp_path):
    inputs = keras.Input((None, None, None, 4))
    model = keras.Model(inputs, BatchNormalization(name="norm")(inputs))
    x = np.random.default_rng(0).normal(1.0, 2.0, (2, 3, 5, 4, 4)).astype("float32")
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.get_layer("norm")) is BatchNormalization
    np.testing.assert_array_equal(ops.convert_to_numpy(again(x)), ops.convert_to_numpy(model(x)))


def test_networks_have_it_everywhere_and_weights_of_keras_norms_fit(tmp_path, monkeypatch):
    make = {"input_shape": (4, 32, 32, 3), "depth": 18, "num_classes": 3, "blocks": None}
    network = VideoResNet(**make)
    norms = [n for n in network._flatten_layers() if isinstance(n, keras.layers.BatchNormalization)]
    assert len(norms) == 20 and {type(norm) for norm in norms} == {BatchNormalization}
    monkeypatch.setattr("keras_nonlocal.residual.BatchNormalization", keras.layers.BatchNormalization)
    before = VideoResNet(**make)
    assert [w.path for w in before.weights] == [w.path for w in network.weights]
    before.save_weights(tmp_path / "before.weights.h5")
    network.load_weights(tmp_path / "before.weights.h5")
    before.save(tmp_path / "before.keras")
    old = keras.models.load_model(tmp_path / "before.keras")
    x = np.random.default_rng(0).normal(size=(1, 4, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(network(x)), ops.convert_to_numpy(old(x)))
