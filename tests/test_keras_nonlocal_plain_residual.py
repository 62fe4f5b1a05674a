"""PlainResidual: what it costs beside the blocks that it stands in for, its training, and its refusals."""

import math

import numpy as np
import oracles
import pytest
from keras import ops

from keras_nonlocal import CompactGeneralizedNonLocal, NonLocal, PlainResidual


def parameters(layer, channels):
    layer.build((None, 2, 7, 7, channels))
    return sum(math.prod(w.shape) for w in layer.trainable_weights)


@pytest.mark.parametrize("channels", [64, 512, 1024])
def test_it_has_the_parameters_of_the_block_that_it_is_a_control_for(channels):
    plain, non_local = parameters(PlainResidual(), channels), parameters(NonLocal(), channels)
    assert non_local - plain == channels // 2  # NL has 5/2 C biases and one BN, this has two BN.
    for groups in (1, 4, 8):
        width = (3 * groups + 1) * channels // (4 * groups)
        compact = parameters(CompactGeneralizedNonLocal(groups), channels)
        assert parameters(PlainResidual(channels=width), channels) - compact == 2 * width


def test_figures_of_the_docstring():
    assert parameters(PlainResidual(), 512) == 526_336 and parameters(NonLocal(), 512) == 526_592
    assert parameters(PlainResidual(channels=400), 512) == 411_424
    assert parameters(CompactGeneralizedNonLocal(groups=8), 512) == 410_624


def test_no_position_sees_another():
    layer, _ = oracles.randomise(PlainResidual(channels=3), (1, 2, 3, 4, 6))
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 4, 6)).astype("float32")
    y = ops.convert_to_numpy(layer(x))
    x[0, 1, 2, 3] += 1
    moved = np.abs(ops.convert_to_numpy(layer(x)) - y).max(axis=-1)[0] > 1e-6
    assert moved[1, 2, 3] and moved.sum() == 1


def test_both_norms_use_and_follow_the_batch_in_training():
    shape = (3, 2, 4, 6)
    layer, w = oracles.randomise(PlainResidual(channels=5), shape)
    x = np.random.default_rng(0).standard_normal(shape)
    inner = oracles.project(x, w, "reduce")
    hidden = np.maximum(
        oracles.batch_norm(inner, with_statistics(w, "reduce_norm", inner), name="reduce_norm"), 0
    )
    out = oracles.project(hidden, w, "out")
    expected = x + oracles.batch_norm(out, with_statistics(w, "norm", out))
    np.testing.assert_allclose(layer(x.astype("float32"), training=True), expected, atol=2e-5)
    for norm, y in ((layer.reduce_norm, inner), (layer.norm, out)):
        before = w[f"{norm.name}/moving_mean"]
        followed = 0.9 * before + 0.1 * y.mean(axis=(0, 1, 2))
        np.testing.assert_allclose(norm.moving_mean.numpy(), followed, atol=1e-5)


def with_statistics(w, name, y):
    batch = {f"{name}/moving_mean": y.mean(axis=(0, 1, 2)), f"{name}/moving_variance": y.var(axis=(0, 1, 2))}
    return w | batch


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"channels": 0}, "`channels`.*Received 0.*Try"),
        ({"channels": 1.5}, "`channels`.*Received 1.5.*Try"),
    ],
)
def test_wrong_arguments_name_what_came_and_the_remedy(arguments, words):
    with pytest.raises(ValueError, match=f"odd_one: Expected {words}"):
        PlainResidual(name="odd_one", **arguments)
