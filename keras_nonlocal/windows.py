"""The classifier of a network at every place of a large view: the mean of probabilities, not of features."""

import keras
from keras import ops


def windowed(model, side, activation="softmax"):
    """Returns a network that classifies each window of its last map, and gives the mean of the probabilities.

    A network that was trained on small crops sees a larger view, or a whole frame, as windows of the extent
    of a crop's map: 224 pixels have a map of 7 x 7, and 256 have one of 8 x 8, hence 2 x 2 windows. In each
    window the features are averaged and classified,

        p = mean_w activation(fc(mean_(t, y, x in w) features(t, y, x)))

    so that an activation is taken before the mean. FAIR's released code (Wang et al., CVPR 2018) and
    PySlowFast test so. The network itself takes one mean over all positions, in which positions at the border
    count as much as others, and classifies this.

    Shapes:
        As `model`: clips [B, T, H, W, C] or images [B, H, W, C] -> [B, num_classes] in float32, the logits
        of p: their activation is p, to rounding.

    Args:
        model: A `VideoResNet` or `ImageResNet` with its top and without `classifier_activation`, which it
            shares all weights with; it is left as it was.
        side: The height and width of a window in positions of the last map, at least 1 and at most those
            of the map; all frames of the map are in each window.
        activation: "softmax", or "sigmoid" for classes that do not exclude each other.

    Cost:
        The classifier runs once for each window, at one position apart: (H' - side + 1)(W' - side + 1) times.

    Raises:
        ValueError: The model has not the pooling and classifier of a `VideoResNet`, the side is below 1,
            or there is no such activation.

    Example:
        >>> import keras
        >>> from keras_nonlocal import VideoResNet
        >>> model = VideoResNet(18, num_classes=10, input_shape=(8, None, None, 3))
        >>> windowed(model, 7).output_shape  # Of 256 x 320 pixels there are 2 x 4 windows.
        (None, 10)
    """
    layers = {layer.name: layer for layer in model.layers}
    if not {"pool", "fc"} <= set(layers) or side < 1 or activation not in ("softmax", "sigmoid"):
        raise ValueError(
            "Expected a network with layers `pool` and `fc`, windows of a side of at least 1, and softmax or "
            f"sigmoid. Received layers up to {model.layers[-1].name!r}, side={side}, "
            f"activation={activation!r}. Try: VideoResNet(include_top=True), side=7, activation='softmax'."
        )
    x = ops.cast(layers["pool"].input, "float32")
    x = ops.mean(x, axis=1) if len(x.shape) == 5 else x  # [B, H', W', D]
    x = keras.layers.AveragePooling2D(side, strides=1, dtype="float32", name="windows")(x)
    logits = layers["fc"](x)  # [B, windows down, windows across, K]
    if activation == "softmax":
        logits = _log_mean(ops.log_softmax(logits))
    else:
        logits = _log_mean(ops.log_sigmoid(logits)) - _log_mean(ops.log_sigmoid(-logits))
    # Those of a class may be subclasses, whose steps are their own.
    return type(model)(model.input, logits, name=f"{model.name}_windows")


def _log_mean(log_probabilities):
    """Returns the logarithm of the mean over axes 1 and 2; the largest one is not rounded to 0 before."""
    most = ops.max(log_probabilities, axis=(1, 2), keepdims=True)
    means = ops.mean(ops.exp(log_probabilities - most), axis=(1, 2))
    return ops.log(means) + ops.squeeze(most, axis=(1, 2))
