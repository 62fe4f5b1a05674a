"""A network that classifies every window of its last map, against loops over the windows."""

import keras
import numpy as np
import pytest

from keras_nonlocal import ImageResNet, VideoResNet
from keras_nonlocal.windows import windowed


def small(frames=2, classes=3):
    """Returns a network with the head of a `VideoResNet`, whose features are means of 4 x 4 pixels."""
    clip = keras.Input((*([frames] if frames else []), None, None, 3))
    make = keras.layers.AveragePooling3D if frames else keras.layers.AveragePooling2D
    pool = keras.layers.GlobalAveragePooling3D if frames else keras.layers.GlobalAveragePooling2D
    features = make((1, 4, 4) if frames else 4)(clip)
    x = keras.layers.Dropout(0.5)(pool(name="pool")(features))
    model = keras.Model(clip, keras.layers.Dense(classes, name="fc")(x))
    rng = np.random.default_rng(0)
    model.get_layer("fc").set_weights([3 * rng.normal(size=(3, classes)), rng.normal(size=classes)])
    return model


def probabilities(logits, activation):
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-logits))
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("height", "width", "side"), [(20, 28, 3), (8, 8, 2), (8, 12, 1), (12, 8, 2)])
@pytest.mark.parametrize("frames", [2, 0])
def test_the_probabilities_are_the_mean_over_the_windows(frames, height, width, side, activation):
    model = small(frames)
    shape = (2, *([frames] if frames else []), height, width, 3)
    clips = np.random.default_rng(1).normal(size=shape).astype("float32")
    kernel, bias = model.get_layer("fc").get_weights()
    logits = np.asarray(windowed(model, side, activation)(clips))
    assert logits.shape == (2, 3)
    for clip, found in zip(clips.reshape(2, -1, height, width, 3), logits, strict=True):
        expected = []
        for row in range(height // 4 - side + 1):
            for column in range(width // 4 - side + 1):
                pixels = clip[:, 4 * row : 4 * (row + side), 4 * column : 4 * (column + side)]
                expected.append(probabilities(pixels.mean((0, 1, 2)) @ kernel + bias, activation))
        mean = np.mean(expected, axis=0)
        np.testing.assert_allclose(probabilities(found, activation), mean, rtol=1e-4, atol=1e-6)
        if len(expected) > 1:  # It is another number than that of all features at once.
            whole = probabilities(clip.mean((0, 1, 2)) @ kernel + bias, activation)
            assert np.abs(whole - mean).max() > 1e-3


def test_a_single_window_is_the_network_itself():
    model = VideoResNet(18, num_classes=4, input_shape=(2, None, None, 3))
    clips = np.random.default_rng(1).normal(size=(1, 2, 64, 64, 3)).astype("float32")
    whole, windows = (np.asarray(network(clips)) for network in (model, windowed(model, 2)))
    np.testing.assert_allclose(windows - windows.mean(), whole - whole.mean(), atol=1e-5)
    assert {id(v) for v in windowed(model, 1).weights} == {id(v) for v in model.weights}


def test_probabilities_of_almost_nothing_are_not_rounded_to_it():
    model = small()
    model.get_layer("fc").set_weights([200 * np.eye(3), np.zeros(3)])
    clips = np.zeros((1, 2, 8, 8, 3), "float32")
    clips[..., 0] = 1  # The second class has a probability of e^-200 in each window.
    logits = np.asarray(windowed(model, 1)(clips))[0]
    np.testing.assert_allclose(logits, [0, -200, -200], atol=1e-3)


@pytest.mark.parametrize(
    ("make", "side", "activation"),
    [
        (lambda: VideoResNet(18, input_shape=(2, 64, 64, 3), include_top=False), 2, "softmax"),
        (small, 0, "softmax"),
        (small, 2, "relu"),
    ],
)
def test_other_networks_sides_and_activations_are_refused(make, side, activation):
    with pytest.raises(ValueError, match=rf"Expected a network with layers .*side={side}, .*Try: "):
        windowed(make(), side, activation)


def test_images_have_windows_too():
    assert windowed(ImageResNet(18, input_shape=(None, None, 3)), 7).output_shape == (None, 1000)
