"""What every kind of network must do outside Keras: SavedModel and ONNX, for clips of any size."""

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from keras_nonlocal import VideoResNet
from keras_nonlocal.frame_wise import FrameWise
from keras_nonlocal.grouped_conv2d import GroupedConv2D

CLIPS = (None, None, None, 3)


def grouped():
    image = keras.Input((None, None, 3))
    x = FrameWise(GroupedConv2D(12, 3, groups=3, strides=2))(image)
    return keras.Model(image, x)


NETWORKS = {
    "tsm": lambda: VideoResNet(18, input_shape=CLIPS, num_classes=4),
    "c2d": lambda: VideoResNet(
        18, "c2d", topology="fair_32", input_shape=CLIPS, pooling="max", include_top=False
    ),
    "i3d": lambda: VideoResNet(18, "i3d_3x3x3", topology="fair_32", input_shape=CLIPS, num_classes=4),
    "grouped": grouped,
}


# A name alone stands for a whole network; the beginnings have every kind of layer but the last ones.
BEGINNINGS = [f"{name} to res3_0_relu" for name in ("tsm", "i3d")]
WHOLE = [pytest.param(name, marks=pytest.mark.long) for name in ("c2d to res3_0_relu", "tsm", "c2d", "i3d")]


@pytest.mark.parametrize("network", ["grouped", *BEGINNINGS, *WHOLE])
def test_exports_give_the_same_numbers(network, tmp_path):
    keras.utils.set_random_seed(0)
    name, _, end = network.partition(" to ")
    model = NETWORKS[name]()
    if end:
        model = keras.Model(model.input, model.get_layer(end).output)
    generator = np.random.default_rng(0)
    sizes = [(1, 9, 40, 48, 3), (2, 8, 33, 32, 3)]
    inputs = [generator.standard_normal(size).astype("float32") for size in sizes]
    if len(model.input.shape) == 4:
        inputs = [clip[:, 0] for clip in inputs]
    expected = [np.asarray(model(x)) for x in inputs]
    bound = 2e-5 * max(np.abs(y).max() for y in expected)
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "exported"))
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for x, y in zip(inputs, expected, strict=True):
        np.testing.assert_allclose(served.serve(x), y, atol=bound)
        np.testing.assert_allclose(session.run(None, {session.get_inputs()[0].name: x})[0], y, atol=bound)
