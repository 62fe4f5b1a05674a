"""GlobalContext against the released codes of GCNet and of RNL's channel gate, and its refusals."""

import math

import keras
import numpy as np
import oracles
import oracles_channels
import pytest
import released
from keras import ops

from keras_nonlocal import GlobalContext


def test_layer_norm_as_in_gcnet():
    name = "block_gc_r4"
    activations, w = released.load_block(name)
    layer = GlobalContext(ratio=4)
    layer.build(activations["x"].shape)
    parts = {"mask": "conv_mask", "reduce": "channel_add_conv.0", "expand": "channel_add_conv.3"}
    parts = {k: released.projection(w[f"{v}.weight"], w[f"{v}.bias"]) for k, v in parts.items()}
    norm = {"gamma": "weight", "beta": "bias"}
    parts["norm"] = {k: w[f"channel_add_conv.1.{v}"].reshape(-1) for k, v in norm.items()}
    released.assign(layer, parts)
    released.check_block(layer, name, activations)


def test_batch_norm_as_in_the_channel_gate_of_the_rnl_code():
    name = "block_channelgate_r2"
    activations, w = released.load_block(name)
    layer = GlobalContext(ratio=2, norm="batch")
    layer.build(activations["x"].shape)
    parts = {"mask": "W_k", "reduce": "W_v1", "expand": "W_v2"}
    parts = {k: released.projection(w[f"{v}.weight"], w[f"{v}.bias"]) for k, v in parts.items()}
    released.assign(layer, parts | {"norm": released.norm(w, "bn1")})
    released.check_block(layer, name, activations)
    oracles_channels.check_slow_statistics(layer.norm, w, "bn1", values=len(activations["x"]))


def test_parameters_of_the_table():
    def parameters(channels):
        layer = GlobalContext()
        layer.build((None, 8, 14, 14, channels))
        return sum(math.prod(w.shape) for w in layer.trainable_weights)

    # Five in TSM ResNet-50: two of 512 channels in res3, three of 1024 in res4.
    assert 2 * parameters(512) + 3 * parameters(1024) == 24_795_349 - 24_327_632


def test_one_softmax_over_all_frames():
    # The frame with the larger logits decides for the other one too.
    x = np.zeros((1, 2, 3, 4, 2), "float32")
    x[:, 0, 1, 2] = 50, 1
    layer = GlobalContext(ratio=1)
    layer.build(x.shape)
    layer.mask.kernel.assign([[1.0], [0.0]])
    np.testing.assert_allclose(ops.convert_to_numpy(layer._context(x)), [[[50, 1]]], rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_logits_are_float32_under_mixed_precision(policy):
    # Logits 90000 and 90032: beyond float16, and one and the same number in bfloat16.
    x = np.array([[[300.0, 0.0], [300.0, 32.0]]], "float32")
    layer = GlobalContext(ratio=1, dtype=policy)
    layer.build(x.shape)
    layer.mask.kernel.assign([[300.0], [1.0]])
    layer.expand.kernel.assign(np.eye(2))
    layer.norm.gamma.assign([0.0, 1.0])
    layer.norm.beta.assign([0.0, 2.0])
    layer.reduce.kernel.assign([[0.0, 0.0], [0.0, 1.0]])  # LN turns [0, 32] into [-1, 1], [0, 0] into 0
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    expected = [[300.0, 3.0], [300.0, 35.0]]
    np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(y, "float32"))[0], expected, rtol=1e-2)


def test_large_values_in_float16():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 64)).astype("float32") * 1000
    for norm in ("layer", "batch"):
        layer, _ = oracles.randomise(GlobalContext(norm=norm, dtype="mixed_float16"), x.shape)
        for training in (False, True):
            assert np.isfinite(ops.convert_to_numpy(layer(x, training=training))).all()


def test_few_channels():
    layer = GlobalContext(norm="batch")
    layer.build((None, 5, 6))
    assert tuple(layer.reduce.kernel.shape) == (6, 1)
    words = r"small: Expected C // ratio of at least 2.*Received 31 channels and ratio=16.*Try: ratio=15 or"
    with pytest.raises(ValueError, match=words):
        GlobalContext(name="small").build((None, 5, 31))
    with pytest.raises(ValueError, match=r"Received 1 channels and ratio=1\. Try: norm='batch'\."):
        GlobalContext(ratio=1).build((None, 5, 1))


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="JAX's default, Keras's matmul on torch: no float64",
)
def test_float64_stays_float64():
    layer, w = oracles.randomise(GlobalContext(ratio=2, dtype="float64"), (2, 5, 4))
    x = np.random.default_rng(0).standard_normal((2, 5, 4))
    y = ops.convert_to_numpy(layer(ops.convert_to_tensor(x, "float64")))
    np.testing.assert_allclose(y, oracles_channels.global_context(x, w), rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ratio": 0}, "`ratio`.*Received 0.*Try: ratio=1"),
        ({"norm": "group"}, "`norm`.*'layer', 'batch'.*Received 'group'.*Try: 'layer'"),
    ],
)
def test_wrong_arguments_name_what_came_and_the_remedy(arguments, words):
    with pytest.raises(ValueError, match=f"odd_one: Expected {words}"):
        GlobalContext(name="odd_one", **arguments)
