"""The parts of a residual network for video and for images: stem, residual blocks and head.

Strided convolutions pad symmetrically: "same" would pad the far side alone, and converted weights would give
other logits.
"""

import keras
from keras import layers

from keras_nonlocal.architecture import Convolution
from keras_nonlocal.batch_norm import BatchNormalization
from keras_nonlocal.frame_wise import FrameWise
from keras_nonlocal.grouped_conv2d import GroupedConv2D
from keras_nonlocal.squeeze_excite import SqueezeExcite
from keras_nonlocal.temporal_shift import TemporalShift


def stem(x, kernel_frames, topology, frozen):
    """Applies the 7x7 convolution and the max-pooling that every network begins with."""
    stride_frames = topology.stem_stride_frames
    if kernel_frames == 1 and stride_frames > 1:  # Frames that no kernel would see are dropped first.
        x = layers.MaxPooling3D(1, strides=(stride_frames, 1, 1), name="stem_stride")(x)
        stride_frames = 1
    x = conv(x, Convolution(64, 7, 2, kernel_frames), "stem_conv", stride_frames)
    x = norm(x, "stem_norm", frozen)
    x = layers.ReLU(name="stem_relu")(x)
    pixels, frames = int(topology.pool1_padded), topology.pool1_frames
    if frames > 1:
        return join_frames(x, (frames, 2, 2), (3, 3), pixels, topology, "stem_pool")
    x = _pad(x, 0, pixels, name="stem_pool_pad") if pixels else x
    return FrameWise(layers.MaxPooling2D(3, strides=2, name="max"), name="stem_pool")(x)


def join_frames(x, strides, window, pixels, topology, name):
    """Applies a max-pooling with a stride in time: `window` is its (h, w), and `pixels` are added around it.

    Its window in time is as long as the stride or, where a topology has them overlap, one frame longer, with
    one frame added at both ends.
    """
    overlap = int(topology.pools_overlap)
    if overlap or pixels:
        # Zeros stand for torch's minus infinity: nothing is negative after the ReLU.
        x = _pad(x, overlap, pixels, name=f"{name}_pad")
    return layers.MaxPooling3D((strides[0] + overlap, *window), strides=strides, name=name)(x)


def residual_block(x, convolutions, shift_divisor, squeeze_excite_ratio, frozen, name):
    """Applies a residual branch of `convolutions` and adds its input, projected where the shapes differ.

    Args:
        x: A map [B, T, H, W, C] or [B, H, W, C].
        convolutions: List of `Convolution`, in the order of the data.
        shift_divisor: None, or the divisor of the TemporalShift before the first convolution.
        squeeze_excite_ratio: None, or the ratio of the SqueezeExcite at the end of the branch.
        frozen: Whether batch norms keep to their running statistics.
        name: The beginning of the layers' names.
    """
    width_out, stride = convolutions[-1].filters, max(c.stride for c in convolutions)
    shortcut = x
    if stride != 1 or x.shape[-1] != width_out:
        shortcut = conv(x, Convolution(width_out, 1, stride), f"{name}_shortcut_conv")
        shortcut = norm(shortcut, f"{name}_shortcut_norm", frozen)
    if shift_divisor is not None:
        x = TemporalShift(shift_divisor, name=f"{name}_shift")(x)
    for order, convolution in enumerate(convolutions, start=1):
        if order > 1:
            x = layers.ReLU(name=f"{name}_relu{order - 1}")(x)
        x = conv(x, convolution, f"{name}_conv{order}")
        x = norm(x, f"{name}_norm{order}", frozen)
    if squeeze_excite_ratio is not None:
        gate = SqueezeExcite(squeeze_excite_ratio, mode="multiply", name="gate")
        x = FrameWise(gate, name=f"{name}_se")(x)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu")(x)


def conv(x, convolution, name, stride_frames=1):
    """Applies a convolution without bias, frame by frame unless its kernel spans time."""
    filters, size, stride, frames, groups = convolution
    strided = max(stride, stride_frames) > 1
    if strided and max(size, frames) > 1:
        x = _pad(x, frames // 2, size // 2, name=f"{name}_pad")
    arguments = {
        "filters": filters,
        "padding": "valid" if strided else "same",
        "use_bias": False,
        "kernel_initializer": keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
    }
    if frames > 1:
        window, strides = (frames, size, size), (stride_frames, stride, stride)
        return layers.Conv3D(kernel_size=window, strides=strides, name=name, **arguments)(x)
    make = layers.Conv2D if groups == 1 else GroupedConv2D
    layer = make(kernel_size=size, strides=stride, groups=groups, name="conv", **arguments)
    return FrameWise(layer, name=name)(x)


def norm(x, name, frozen):
    """Applies batch norm, which keeps to its running statistics and does not train if it is `frozen`."""
    return BatchNormalization(momentum=0.9, epsilon=1e-5, trainable=not frozen, name=name)(x)


def with_norms(block, frozen):
    """Returns a block; if the network's batch norms are `frozen`, its own are, unless it says otherwise."""
    for layer in block._flatten_layers() if frozen else ():  # Keras has no public way to a chain's layers.
        if getattr(layer, "frozen_batch_norm", False) is None:
            layer.frozen_batch_norm = True
            for norm in layer._flatten_layers():  # There are some already if the layer was built before.
                if isinstance(norm, layers.BatchNormalization):
                    norm.trainable = False
    return block


def head(x, num_classes, dropout, activation, initializer):
    """Applies average pooling, dropout and the classifier: [B, ..., D] -> [B, num_classes].

    `initializer`, for the classifier's kernel, is one of Keras, or the standard deviation of a normal one.
    """
    if isinstance(initializer, float):
        initializer = keras.initializers.RandomNormal(stddev=initializer)
    x = layers.Dropout(dropout, dtype="float32", name="dropout")(pool(x, "avg"))
    return layers.Dense(
        num_classes, activation=activation, kernel_initializer=initializer, dtype="float32", name="fc"
    )(x)


def pool(x, kind):
    """Takes the average ("avg") or the maximum ("max") of all positions: [B, ..., D] -> [B, D] in float32."""
    layer = {
        ("avg", 4): layers.GlobalAveragePooling2D,
        ("avg", 5): layers.GlobalAveragePooling3D,
        ("max", 4): layers.GlobalMaxPooling2D,
        ("max", 5): layers.GlobalMaxPooling3D,
    }[kind, len(x.shape)]
    return layer(dtype="float32", name="pool")(x)


def _pad(x, frames, pixels, name):
    if len(x.shape) == 4:
        return layers.ZeroPadding2D(pixels, name=name)(x)
    return layers.ZeroPadding3D((frames, pixels, pixels), name=name)(x)
