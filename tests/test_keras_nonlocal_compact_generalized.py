"""CompactGeneralizedNonLocal against the released code, its series, its start and half precision."""

import math

import keras
import numpy as np
import oracles
import oracles_compact
import pytest
import released
from keras import ops

from keras_nonlocal import CompactGeneralizedNonLocal

BLOCKS = {
    "block_cgnl_dot_g8": {},
    "block_cgnl_dot_g1": {"groups": 1},
    "block_cgnl_3d_dot_g8": {},
    "block_cgnl_rbf3_g8": {"pairwise": "gaussian_rbf"},
    "block_cgnl_embgauss3_g4": {"pairwise": "embedded_gaussian", "groups": 4},
}


@pytest.mark.parametrize("name", BLOCKS)
def test_released_numbers(name):
    activations, w = released.load_block(name)
    layer = CompactGeneralizedNonLocal(**BLOCKS[name], norm="group")
    layer.build(activations["x"].shape)
    keys = {"theta": "t", "phi": "p", "g": "g", "out": "z"}
    parts = {k: {"kernel": released.projection(w[f"{v}.weight"], None)["kernel"]} for k, v in keys.items()}
    released.assign(layer, parts | {"norm": {"gamma": w["gn.weight"], "beta": w["gn.bias"]}})
    released.check_block(layer, name, activations)


def random_map(shape, seed=7):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def test_batch_statistics_are_used_in_training_and_followed():
    shape = (3, 2, 4, 3, 8)
    layer, w = oracles.randomise(CompactGeneralizedNonLocal(groups=2), shape)
    x = random_map(shape)
    y = oracles_compact.branch(x.astype("float64"), w, groups=2)
    batch = {
        "moving_mean": y.mean(axis=(0, 1, 2, 3)),
        "moving_variance": y.var(axis=(0, 1, 2, 3)),
    }
    in_training = w | {f"norm/{name}": value for name, value in batch.items()}
    expected = x + oracles.batch_norm(y, in_training)
    np.testing.assert_allclose(layer(x, training=True), expected, atol=1e-5)
    for name, value in batch.items():
        followed = 0.9 * w[f"norm/{name}"] + 0.1 * value
        np.testing.assert_allclose(getattr(layer.norm, name).numpy(), followed, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(
    "arguments", [{"pairwise": "embedded_gaussian"}, {"pairwise": "gaussian_rbf", "gamma": 0.5}]
)
def test_the_series_tends_to_its_function(arguments):
    shape, order = (1, 3, 4, 4), 14
    layer = CompactGeneralizedNonLocal(groups=1, **arguments, order=order, norm=None)
    layer, w = oracles.randomise(layer, shape)
    x = random_map(shape) / 2
    expected = oracles_compact.compact_generalized(
        x.astype("float64"), w, groups=1, **arguments, order=None, norm=None
    )
    np.testing.assert_allclose(layer(x), expected, atol=2e-5)


@pytest.mark.parametrize("pairwise", ["dot_product", "gaussian_rbf", "embedded_gaussian"])
@pytest.mark.parametrize("shape", [(2, 1, 8), (2, 1, 1, 8), (2, 1, 1, 1, 8)])
def test_one_position(pairwise, shape):
    arguments = {"pairwise": pairwise, "groups": 2, "norm": "group"}
    layer, w = oracles.randomise(CompactGeneralizedNonLocal(**arguments), shape)
    x = random_map(shape)
    expected = oracles_compact.compact_generalized(x.astype("float64"), w, **arguments)
    np.testing.assert_allclose(layer(x), expected, atol=2e-5)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_sums_beyond_float16_are_normalised_in_float32(norm, dtype):
    shape = (1, 24, 30, 8)
    layer = CompactGeneralizedNonLocal(groups=2, norm=norm, dtype=dtype)
    layer, w = oracles.randomise(layer, shape)
    layer.phi.kernel.assign(layer.g.kernel)  # phi . g then is a sum of squares
    x = 16 * np.round(random_map(shape))
    w["phi/kernel"] = w["g/kernel"]
    y = oracles_compact.branch(x.astype("float64"), w, groups=2)
    assert np.abs(y).max() > 1e6
    if norm == "batch":
        w |= {"norm/moving_mean": y.mean(axis=(0, 1, 2)), "norm/moving_variance": y.var(axis=(0, 1, 2))}
        expected = oracles.batch_norm(y, w)
    else:
        expected = oracles_compact.group_norm(y, w, groups=2)
    found = keras.ops.convert_to_numpy(keras.ops.cast(layer(x, training=True), "float32"))
    assert np.abs(found - x - expected).max() < (0.09 if dtype == "mixed_float16" else 0.4)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="JAX's default and Keras's matmul on torch have no float64",
)
def test_float64_stays_float64():
    shape = (2, 3, 4, 8)
    arguments = {"pairwise": "embedded_gaussian", "groups": 2, "norm": "group", "scaled": True}
    layer, w = oracles.randomise(CompactGeneralizedNonLocal(**arguments, dtype="float64"), shape)
    x = random_map(shape).astype("float64")
    expected = oracles_compact.compact_generalized(x, w, **arguments)
    np.testing.assert_allclose(layer(x), expected, atol=1e-12)


def test_group_norm_of_a_map_far_from_zero():
    """The mean is taken away before the squares are summed: 1e-7 of a large mean is not the deviation."""
    shape = (2, 9, 11, 8)
    layer = CompactGeneralizedNonLocal(groups=2, norm="group")
    layer, w = oracles.randomise(layer, shape)
    y = 300 + random_map(shape)
    expected = oracles_compact.group_norm(y.astype("float64"), w, groups=2)
    np.testing.assert_allclose(layer.norm(y), expected, atol=5e-5)


def test_group_norm_of_a_large_map():
    """Keras's own group norm is 1e-4 off here, on TensorFlow and a CPU."""
    shape = (1, 8, 28, 28, 128)
    layer, w = oracles.randomise(CompactGeneralizedNonLocal(norm="group"), shape)
    y = random_map(shape)
    expected = oracles_compact.group_norm(y.astype("float64"), w, groups=8)
    np.testing.assert_allclose(layer.norm(y), expected, atol=5e-6)


@pytest.mark.parametrize("norm", ["batch", "group", None])
def test_the_start(norm):
    layer = CompactGeneralizedNonLocal(norm=norm)
    layer.build((None, 8, 8, 512))
    for child in (layer.theta, layer.phi, layer.g):
        assert np.std(child.kernel.numpy()) == pytest.approx(0.01, rel=0.02)
    assert np.std(layer.out.kernel.numpy()) == pytest.approx(0.01 if norm else 0, rel=0.02)
    assert np.abs(layer.theta.kernel.numpy() - layer.phi.kernel.numpy()).max() > 0.01
    assert all(child.bias is None for child in (layer.theta, layer.phi, layer.g))


@pytest.mark.parametrize(
    ("shape", "arguments", "parameters"),
    [
        ((None, 8, 28, 28, 512), {}, 410_624),
        ((None, 8, 14, 14, 1024), {"norm": "group"}, 1_640_448),
        ((None, 8, 28, 28, 512), {"grouped_out": False}, 410_624 + 7 * 32 * 512),
        ((None, 8, 28, 28, 512), {"use_bias": True}, 410_624 + 3 * 256 + 512),
    ],
)
def test_parameters_added(shape, arguments, parameters):
    layer = CompactGeneralizedNonLocal(**arguments)
    layer.build(shape)
    assert sum(math.prod(w.shape) for w in layer.trainable_weights) == parameters


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"groups": 0}, "`groups`.*at least 1.*Received 0.*Try: groups=1"),
        ({"pairwise": "gaussian"}, "`pairwise`.*'dot_product', 'gaussian_rbf'.*Received 'gaussian'"),
        ({"order": 0}, "`order`.*at least 1.*Received 0.*Try: order=1"),
        ({"order": 2.5}, "`order`.*Received 2.5.*Try: order=1"),
        ({"gamma": 0}, "`gamma`.*above 0.*Received 0.*Try: 1e-4"),
        ({"gamma": "wide"}, "`gamma`.*Received 'wide'.*Try: 1e-4"),
        ({"channels": 0}, "`channels`.*Received 0.*Try: None"),
        ({"norm": "layer"}, "`norm`.*'batch', 'group', None.*Received 'layer'.*Try: 'batch'"),
    ],
)
def test_wrong_arguments_name_what_came_and_the_remedy(arguments, words):
    with pytest.raises(ValueError, match=f"odd_one: Expected {words}"):
        CompactGeneralizedNonLocal(name="odd_one", **arguments)


@pytest.mark.parametrize(
    ("arguments", "channels", "words"),
    [
        ({"groups": 8}, 24, "divide the 12 channels.*Received groups=8.*Try: groups=6"),
        ({"groups": 4, "channels": 8}, 10, "divide the 10 channels.*Received groups=4.*Try: groups=5"),
        (
            {"groups": 4, "channels": 8, "grouped_out": False, "norm": "group"},
            10,
            "divide the 10 channels.*Received groups=4.*Try",
        ),
    ],
)
def test_groups_that_do_not_divide_are_refused(arguments, channels, words):
    with pytest.raises(ValueError, match=f"odd_one: Expected `groups` to {words}"):
        CompactGeneralizedNonLocal(name="odd_one", **arguments).build((None, 4, 4, channels))


def test_a_full_convolution_and_batch_norm_ask_nothing_of_the_input_channels():
    layer = CompactGeneralizedNonLocal(groups=4, channels=8, grouped_out=False)
    x = random_map((2, 3, 4, 10))
    np.testing.assert_array_equal(layer(x), x)


@pytest.mark.parametrize("pairwise", ["dot_product", "gaussian_rbf", "embedded_gaussian"])
@pytest.mark.parametrize("scaled", [False, True])
def test_normalised_theta_and_phi_have_directions_alone(pairwise, scaled):
    shape, arguments = (2, 3, 4, 8), {"groups": 2, "pairwise": pairwise, "scaled": scaled, "gamma": 0.5}
    layer, w = oracles.randomise(CompactGeneralizedNonLocal(normalize=True, **arguments), shape)
    x = random_map(shape)
    y = ops.convert_to_numpy(layer(x))
    expected = oracles_compact.compact_generalized(x.astype("float64"), w, normalize=True, **arguments)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for child, factor in ((layer.theta, 100.0), (layer.phi, 0.01)):
        child.kernel.assign(child.kernel * factor)
    np.testing.assert_allclose(layer(x), y, atol=1e-5)
    assert np.isfinite(ops.convert_to_numpy(layer(np.zeros(shape, "float32")))).all()
