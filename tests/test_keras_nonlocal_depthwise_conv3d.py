"""DepthwiseConv3D against its equation: rank, clips shorter than the kernel, orientation."""

import backends
import keras
import numpy as np
import oracles
import pytest
from keras import ops
from layer_table import model_of

from keras_nonlocal import DepthwiseConv3D, depthwise_conv3d


@pytest.mark.parametrize(
    ("kernel_size", "shape"),
    [
        ((3, 5, 3), (2, 4, 5, 6, 3)),
        ((5, 3, 3), (2, 1, 4, 4, 3)),  # one frame: four of the five taps see nothing but padding
        ((7, 1, 1), (1, 2, 3, 3, 2)),
        ((1, 3, 5), (2, 6, 7, 3)),
        ((1, 1, 5), (2, 9, 4)),
    ],
)
def test_equation(kernel_size, shape):
    layer, w = oracles.randomise(DepthwiseConv3D(kernel_size, use_bias=True), shape)
    x = np.random.default_rng(1).standard_normal(shape)
    np.testing.assert_allclose(layer(x.astype("float32")), oracles.depthwise_conv3d(x, w), atol=1e-5)


def test_a_tap_reads_the_frame_on_its_own_side():
    layer = DepthwiseConv3D((3, 1, 1))
    layer.build((None, 4, 1, 1, 1))
    layer.kernel.assign(np.array([1.0, 10.0, 100.0]).reshape(3, 1, 1, 1, 1))
    frames = np.array([1.0, 2.0, 3.0, 4.0], "float32").reshape(1, 4, 1, 1, 1)
    # previous + 10 * own + 100 * next
    assert np.ravel(layer(frames)).tolist() == [210.0, 321.0, 432.0, 43.0]


def test_a_short_clip_of_unknown_length():
    layer, w = oracles.randomise(DepthwiseConv3D((5, 3, 3)), (None, None, None, None, 2))
    model = model_of(layer, (None, None, None, None, 2))
    for frames in (1, 2, 6):
        x = np.random.default_rng(frames).standard_normal((1, frames, 3, 4, 2))
        np.testing.assert_allclose(model.predict(x, verbose=0), oracles.depthwise_conv3d(x, w), atol=1e-5)


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match=r"even: Expected odd kernel sides.*Received .*\(2, 3, 3\).*Try"):
        DepthwiseConv3D((2, 3, 3), name="even")


@pytest.mark.parametrize("shape", [(2, 4, 5, 6, 3), (2, 1, 3, 4, 3), (1, 2, 1, 1, 2)])
def test_own_gradient_is_that_of_the_backend(monkeypatch, shape):
    x = np.random.default_rng(1).standard_normal(shape).astype("float32")
    kernel = np.random.default_rng(2).standard_normal((5, 3, 7, shape[-1], 1)).astype("float32")
    cotangent = np.random.default_rng(3).standard_normal(shape).astype("float32")

    def loss(x, kernel):
        return ops.sum(ops.multiply(depthwise_conv3d._convolve(x, kernel), cotangent))

    ours = backends.gradients(loss, x, kernel)
    # On a GPU, and on JAX and torch, the backend's own gradient is taken.
    monkeypatch.setattr(keras.distribution, "list_devices", lambda kind: [f"{kind}:0"])
    for mine, theirs in zip(ours, backends.gradients(loss, x, kernel), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5)
