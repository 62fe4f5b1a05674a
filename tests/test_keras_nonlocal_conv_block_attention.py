"""ConvBlockAttention against the released CBAM and its form for video, and its refusals."""

import math

import keras
import numpy as np
import oracles
import oracles_channels
import pytest
import released
from keras import ops

from keras_nonlocal import ConvBlockAttention


def released_layer(ratio, shape, w, reduce, expand, spatial):
    layer = ConvBlockAttention(ratio=ratio)
    layer.build(shape)
    parts = {"reduce": reduce, "expand": expand}
    parts = {k: released.projection(w[f"{v}.weight"], w[f"{v}.bias"]) for k, v in parts.items()}
    kernel = np.moveaxis(w[f"{spatial}.conv.weight"], (0, 1), (-1, -2))  # O, I, ... -> ..., I, O
    parts |= {"conv": {"kernel": kernel}, "norm": released.norm(w, f"{spatial}.bn")}
    released.assign(layer, parts)
    return layer


def test_images_as_released():
    name, spatial = "block_cbam2d_r4", "SpatialGate.spatial"
    activations, w = released.load_block(name)
    shape = activations["x"].shape
    layer = released_layer(4, shape, w, "ChannelGate.mlp.1", "ChannelGate.mlp.3", spatial)
    released.check_block(layer, name, activations)
    oracles_channels.check_slow_statistics(layer.norm, w, f"{spatial}.bn", values=math.prod(shape[:-1]))


def test_video_as_the_rnl_paper_compares_with():
    name = "block_cbam3d_r16_777"
    activations, w = released.load_block(name)
    shape = activations["x"].shape
    layer = released_layer(16, shape, w, "mlp.fc1", "mlp.fc2", "spatial")
    released.check_block(layer, name, activations)
    oracles_channels.check_slow_statistics(layer.norm, w, "spatial.bn", values=math.prod(shape[:-1]))


@pytest.mark.parametrize(
    ("shape", "kernel_shape"),
    [((2, 6, 4), (5, 2, 1)), ((2, 5, 6, 4), (1, 5, 2, 1)), ((2, 3, 5, 6, 4), (3, 1, 5, 2, 1))],
)
def test_each_rank_uses_its_own_entries_of_the_kernel(shape, kernel_shape):
    layer, w = oracles.randomise(ConvBlockAttention(kernel_size=(3, 1, 5)), shape)
    assert w["conv/kernel"].shape == kernel_shape and w["reduce/kernel"].shape == (4, 1)
    x = np.random.default_rng(0).standard_normal(shape)
    expected = oracles_channels.conv_block_attention(x, w)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x.astype("float32"))), expected, atol=2e-6)


def test_large_values_in_float16():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 64)).astype("float32") * 1000
    layer, w = oracles.randomise(ConvBlockAttention(dtype="mixed_float16"), x.shape)
    y = ops.convert_to_numpy(layer(x, training=False))
    # Logits of thousands: the gates are 0 or 1, and where they are is known despite the rounding.
    expected = oracles_channels.conv_block_attention(x.astype("float64"), w)
    assert np.mean(np.abs(y - expected) > 2e-3 * np.abs(x)) < 0.01
    assert np.isfinite(ops.convert_to_numpy(layer(x, training=True))).all()


def test_the_means_survive_float16():
    # Sums of 1000 over 8192 positions, and over 2048 channels, are beyond float16; the means are not.
    for shape in ((1, 64, 128, 2), (1, 2, 2, 2048)):
        layer = ConvBlockAttention(ratio=shape[-1], dtype="mixed_float16")
        layer.build(shape)
        layer.reduce.kernel.assign(np.full((shape[-1], 1), 1 / shape[-1]))
        layer.expand.kernel.assign(np.full((1, shape[-1]), 1e-3))  # logits 1 + 1
        kernel = np.zeros(layer.conv.kernel.shape)
        kernel[3, 3] = [[1e-3], [2e-3]]
        layer.conv.kernel.assign(kernel)
        y = ops.convert_to_numpy(layer(np.full(shape, 1000.0, "float32")))
        u = 1 / (1 + np.exp(-2.0))
        np.testing.assert_allclose(y, 1000 * u / (1 + np.exp(-3 * u)), rtol=3e-3)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="JAX's default, Keras's matmul on torch: no float64",
)
def test_float64_stays_float64():
    layer, w = oracles.randomise(ConvBlockAttention(ratio=2, dtype="float64"), (2, 5, 6, 4))
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 4))
    y = ops.convert_to_numpy(layer(ops.convert_to_tensor(x, "float64")))
    np.testing.assert_allclose(y, oracles_channels.conv_block_attention(x, w), rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 34_000),
        ({"use_bias": False}, 34_000 - 32 - 512),
        ({"batch_norm": False}, 34_000 - 2),
        ({"use_bias": False, "batch_norm": False}, 2 * 512 * 32 + 2 * 7**3),
    ],
)
def test_parameters_of_its_forms(arguments, parameters):
    layer = ConvBlockAttention(**arguments)
    layer.build((None, 8, 28, 28, 512))
    assert sum(math.prod(w.shape) for w in layer.trainable_weights) == parameters


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ratio": True}, "`ratio`.*Received True.*Try: ratio=1"),
        ({"kernel_size": (7, 6, 7)}, r"odd kernel sides.*Received kernel_size=\(7, 6, 7\).*Try"),
        ({"kernel_size": (7, 7)}, r"`kernel_size`.*Received \(7, 7\).*Try"),
    ],
)
def test_wrong_arguments_name_what_came_and_the_remedy(arguments, words):
    with pytest.raises(ValueError, match=f"odd_one: Expected {words}"):
        ConvBlockAttention(name="odd_one", **arguments)
