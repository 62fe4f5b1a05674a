"""The networks and blocks of the papers' tables. Each is a function without arguments that builds a model."""

from functools import partial

import keras

from keras_nonlocal import (
    AttentionChain,
    BilinearAttentionTransform,
    DepthwiseConv3D,
    GlobalContext,
    ImageResNet,
    NonLocal,
    RegionNonLocal,
    VideoResNet,
)

RES3, RES4 = (8, 28, 28, 512), (8, 14, 14, 1024)  # maps of 8 frames of 224x224, without temporal pooling

whole_nl = partial(NonLocal, subsample=None)
fair_nl = partial(NonLocal, pool_order="before", scaled=True)
subsampled_rnl = partial(RegionNonLocal, subsample=(1, 2, 2))


def video_bat(spatial_groups, temporal_groups=4, **arguments):
    """Returns BAT as its video code has it."""
    counts = {"spatial_groups": spatial_groups, "temporal_groups": temporal_groups}
    return BilinearAttentionTransform(normalization="softmax", matrix_size="fitted", **counts, **arguments)


def released_rnl(name):
    """Returns RNL as its code has it: the region is 3x7x7 in res3 and 3x3x3 in res4."""
    return RegionNonLocal((3, 7, 7) if name.startswith("res3") else (3, 3, 3), name=name)


def se_rnl(name):
    """Returns the attention chain with `released_rnl`."""
    return AttentionChain(region=released_rnl(name), name=name)


def gate_rnl(name):
    """Returns the attention chain with the channel gate of RNL's code in the place of SE."""
    return AttentionChain(GlobalContext(norm="batch"), released_rnl(name), name=name)


def alone(make_block, *shapes):
    """Returns a model of a block alone, or of one on each of several maps; of one in res3 without a shape."""
    inputs = [keras.Input(shape) for shape in shapes or (RES3,)]
    return keras.Model(inputs, [make_block()(x) for x in inputs])


def tsm(make_block=None, classes=400):
    """Returns a TSM ResNet-50 with its code's head, which classifies each frame and averages the logits."""
    model = VideoResNet(50, "tsm", make_block and "tsm_nl5", make_block, include_top=False)
    x = keras.layers.TimeDistributed(keras.layers.GlobalAveragePooling2D())(model.output)  # [B, T, C]
    logits = keras.layers.TimeDistributed(keras.layers.Dense(classes))(x)  # [B, T, classes]
    return keras.Model(model.input, keras.ops.mean(logits, axis=1))


def frames_32(depth, temporal="c2d", blocks=None, make_block=None, topology="fair_32"):
    """Returns a network of the NL paper for clips of 32 frames."""
    shape = (32, 224, 224, 3)
    return VideoResNet(depth, temporal, blocks, make_block, input_shape=shape, topology=topology)


def frames_8(classes, temporal="c2d", make_block=None):
    """Returns a ResNet-50 of the BAT paper for clips of 8 frames."""
    return VideoResNet(50, temporal, make_block and "nl5", make_block, num_classes=classes)


def image(depth=50, make_block=None, **options):
    """Returns a network of the BAT paper for images."""
    places = "bat_resnet18" if depth == 18 else "nl5"
    return ImageResNet(depth, make_block and places, make_block, **options)


def image_bat(depth=50, spatial_groups=4, transform="block_based", **options):
    """Returns a network of the BAT paper for images, with BAT."""
    block = partial(BilinearAttentionTransform, transform, spatial_groups)
    return image(depth, block, **options)


def channel_wise():
    """Returns F_theta of RNL in res3, which convolves each channel by itself."""
    return DepthwiseConv3D((3, 7, 7), use_bias=False)


def conventional():
    """Returns a convolution of F_theta's window that joins all channels."""
    return keras.layers.Conv3D(256, (3, 7, 7), padding="same", use_bias=False)
