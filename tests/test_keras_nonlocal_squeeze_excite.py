"""SqueezeExcite against the RNL paper's form and the classic one, and its refusals."""

import math

import keras
import numpy as np
import oracles
import oracles_channels
import pytest
import released
from keras import ops

from keras_nonlocal import SqueezeExcite


@pytest.mark.parametrize("ratio", [2, 16])
def test_added_as_in_the_rnl_paper(ratio):
    name = f"block_se_rnlpaper_r{ratio}"
    activations, w = released.load_block(name)
    layer = SqueezeExcite(ratio=ratio)
    layer.build(activations["x"].shape)
    parts = {"reduce": "fc1", "expand": "fc2"}
    parts = {k: released.projection(w[f"{v}.weight"], w[f"{v}.bias"]) for k, v in parts.items()}
    released.assign(layer, parts | {"norm": released.norm(w, "bn")})
    released.check_block(layer, name, activations)
    released.check_running_statistics(layer, w, "bn", positions=len(activations["x"]))


def test_parameters():
    def parameters(layer, channels):
        layer.build((None, 8, 14, 14, channels))
        return sum(math.prod(w.shape) for w in layer.trainable_weights)

    # Five in TSM ResNet-50: two of 512 channels in res3, three of 1024 in res4.
    added = 2 * parameters(SqueezeExcite(), 512) + 3 * parameters(SqueezeExcite(), 1024)
    assert added == 24_791_248 - 24_327_632
    # The classic form in SE-ResNet-50: two layers with biases and nothing else.
    assert parameters(SqueezeExcite(mode="multiply"), 512) == 2 * 512 * 32 + 512 + 32


@pytest.mark.parametrize("mode", ["add", "multiply"])
def test_few_channels_keep_one_hidden_unit(mode):
    shape = (3, 4, 5, 6)
    layer, w = oracles.randomise(SqueezeExcite(mode=mode), shape)
    assert w["reduce/kernel"].shape == (6, 1)
    x = np.random.default_rng(0).standard_normal(shape)
    expected = oracles_channels.squeeze_excite(x, w, mode=mode)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x.astype("float32"))), expected, atol=2e-6)


def test_the_classic_gate_starts_with_weights_in_both_layers():
    layer = SqueezeExcite(ratio=1, mode="multiply")
    layer.build((None, 4, 32))
    starts = [ops.convert_to_numpy(child.kernel) for child in (layer.reduce, layer.expand)]
    assert min(start.std() for start in starts) > 0.1
    assert np.abs(starts[0] - starts[1]).max() > 0.1


@pytest.mark.parametrize("mode", ["add", "multiply"])
def test_the_mean_survives_float16(mode):
    # The sum of 8192 values of 1000 is beyond float16, their mean is not.
    layer = SqueezeExcite(ratio=2, mode=mode, dtype="mixed_float16")
    layer.build((None, 64, 128, 2))
    layer.reduce.kernel.assign([[0.001], [0.001]])  # hidden unit: 2
    layer.expand.kernel.assign([[1.0, -1.0]])
    y = layer(np.full((1, 64, 128, 2), 1000.0, "float32"))
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    gate = 1 / (1 + np.exp([-2.0, 2.0]))
    expected = [1002.0, 998.0] if mode == "add" else 1000 * gate
    np.testing.assert_allclose(ops.convert_to_numpy(y)[0, 0, 0], expected, rtol=1e-3)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="JAX's default, Keras's matmul on torch: no float64",
)
def test_float64_stays_float64():
    layer, w = oracles.randomise(SqueezeExcite(ratio=1, dtype="float64"), (2, 5, 4))
    x = np.random.default_rng(0).standard_normal((2, 5, 4))
    y = ops.convert_to_numpy(layer(ops.convert_to_tensor(x, "float64")))
    np.testing.assert_allclose(y, oracles_channels.squeeze_excite(x, w), rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ratio": 0}, "`ratio`.*Received 0.*Try: ratio=1"),
        ({"ratio": 0.25}, "`ratio`.*Received 0.25.*Try"),
        ({"mode": "gate"}, "`mode`.*'add', 'multiply'.*Received 'gate'.*Try: 'add'"),
    ],
)
def test_wrong_arguments_name_what_came_and_the_remedy(arguments, words):
    with pytest.raises(ValueError, match=f"odd_one: Expected {words}"):
        SqueezeExcite(name="odd_one", **arguments)
