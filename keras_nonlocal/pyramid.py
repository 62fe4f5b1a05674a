"""The last map of each stage of a residual network, for detection and segmentation heads."""

import re

import keras

from keras_nonlocal.architecture import STAGE_NAMES


def feature_pyramid(model):
    """Returns the model that gives the output of every stage, for detection and segmentation heads.

    Args:
        model: A network of `VideoResNet` or `ImageResNet`, with or without top.

    Returns:
        A keras.Model on the same layers, with a dictionary of outputs: "res2" to "res5", each
        the stage's last map, its blocks included and before any pooling: [B, T, H / 4, W / 4, D]
        to [B, T', H / 32, W / 32, 8 D] for D channels in res2.

    Raises:
        ValueError: The model is not such a network.

    Example:
        >>> from keras_nonlocal import VideoResNet
        >>> pyramid = feature_pyramid(VideoResNet(18, include_top=False, input_shape=(8, 64, 64, 3)))
        >>> pyramid.output["res3"].shape, pyramid.output["res5"].shape
        ((None, 8, 8, 8, 128), (None, 8, 2, 2, 512))
    """
    ends = {}
    for layer in model.layers:  # They come in the order of the data, so the last one of a stage stays.
        if found := re.fullmatch(r"(res\d)_\d+_(relu|block)", layer.name):
            ends[found[1]] = layer.output
    if tuple(ends) != STAGE_NAMES:
        raise ValueError(
            f"feature_pyramid: Expected a network of VideoResNet or ImageResNet, stages {STAGE_NAMES}. "
            f"Received {model.name} with {tuple(ends)}. Try: keras.Model(model.input, the outputs)."
        )
    return keras.Model(model.input, ends, name=f"{model.name}_pyramid")
