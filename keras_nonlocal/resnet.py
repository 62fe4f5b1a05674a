"""VideoResNet: one builder for the residual networks that the blocks are added to.

Depths and temporal kinds are data. Names: stages res2 to res5, residual blocks and their parts
as in "res3_0_conv1", "res3_0_norm1", "res3_0_shortcut_conv"; an added block is "res3_0_block".
Weights: "res3_0_conv1/conv/kernel", "res3_0_norm1/gamma", "res3_0_block/g/kernel", "fc/kernel".
"""

from typing import NamedTuple

import keras
from keras import layers

from keras_nonlocal.frame_wise import FrameWise
from keras_nonlocal.temporal_shift import TemporalShift


class Depth(NamedTuple):
    """What a depth stands for: residual blocks per stage, their kind, and which of them shift."""

    block_counts: tuple
    bottleneck: bool
    shift_every_blocks: int


DEPTHS = {
    18: Depth((2, 2, 2, 2), bottleneck=False, shift_every_blocks=1),
    34: Depth((3, 4, 6, 3), bottleneck=False, shift_every_blocks=1),
    50: Depth((3, 4, 6, 3), bottleneck=True, shift_every_blocks=1),
    101: Depth((3, 4, 23, 3), bottleneck=True, shift_every_blocks=2),
    152: Depth((3, 8, 36, 3), bottleneck=True, shift_every_blocks=2),
}
STAGE_NAMES = ("res2", "res3", "res4", "res5")
STAGE_WIDTHS = (64, 128, 256, 512)
BOTTLENECK_EXPANSION = 4
TEMPORAL_KINDS = ("tsm", None)


def VideoResNet(
    depth=50,
    temporal="tsm",
    blocks=None,
    make_block=None,
    num_classes=400,
    input_shape=(8, 224, 224, 3),
    dropout=0.5,
    shift_divisor=8,
    name=None,
):
    """Build a residual network from clips to logits, with blocks added where asked.

    ResNet (He et al., CVPR 2016) as torchvision has it, applied frame by frame: stride on the
    3x3 convolution, symmetric padding, no biases. temporal="tsm" shifts the input of each
    residual branch's first convolution in time (Lin et al., ICCV 2019, arXiv 1811.08383).

    Shapes:
        [B, T, H, W, 3], already normalised -> logits [B, num_classes] in float32;
        B, T, H, W may be unknown.

    Args:
        depth: 18, 34, 50, 101 or 152.
        temporal: "tsm", or None for independent frames.
        blocks: where blocks go, {"res3": (0, 2), ...}: stage -> 0-based residual blocks after
            which one is added.
        make_block: called as make_block(name="res3_0_block") for each of them; a layer class,
            or any callable that returns a layer that keeps its input's shape.
        num_classes: width of the logits.
        input_shape: (T, H, W, channels) of a clip; None where unknown, except the channels.
        dropout: share of the pooled features that training drops; 0 to below 1.
        shift_divisor: "tsm" moves 1 / shift_divisor of the channels each way.
        name: of the model.

    Call:
        As any functional keras.Model; its layers take the global dtype policy, the head float32.

    Cost:
        Depth 50, 8 frames of 224x224, 400 classes: 24,327,632 parameters that train.

    Differs:
        TSM's code averages the frames' logits; the features are averaged here, which gives the
        same logits. Its shift of every second block holds for depths 101 and 152.

    Raises:
        ValueError: an unknown depth, temporal kind, stage or residual block; `blocks` without
            `make_block` or the reverse; an input shape not of four entries.

    Example:
        >>> from keras_nonlocal import RegionNonLocal, VideoResNet
        >>> model = VideoResNet(18, blocks={"res3": (0,)}, make_block=RegionNonLocal, num_classes=10)
        >>> model.output_shape, model.get_layer("res3_0_block").output.shape
        ((None, 10), (None, 8, 28, 28, 128))
    """
    _check_backbone(depth, temporal, input_shape)
    _check_blocks(DEPTHS[depth], blocks or {}, make_block)
    clips = keras.Input(input_shape, name="clips")
    x = _stem(clips)
    for stage, width, count in zip(STAGE_NAMES, STAGE_WIDTHS, DEPTHS[depth].block_counts, strict=True):
        for index in range(count):
            shifts = temporal == "tsm" and index % DEPTHS[depth].shift_every_blocks == 0
            x = _residual_block(
                x,
                width=width,
                stride=2 if index == 0 and stage != "res2" else 1,
                bottleneck=DEPTHS[depth].bottleneck,
                shift_divisor=shift_divisor if shifts else None,
                name=f"{stage}_{index}",
            )
            if index in (blocks or {}).get(stage, ()):
                x = make_block(name=f"{stage}_{index}_block")(x)
    return keras.Model(clips, _head(x, num_classes, dropout), name=name or f"video_resnet{depth}")


def _stem(x):
    x = _conv(x, 64, kernel_size=7, stride=2, name="stem_conv")
    x = _norm(x, name="stem_norm")
    x = layers.ReLU(name="stem_relu")(x)
    # Zeros stand for torch's minus infinity: nothing is negative after the ReLU.
    x = _pad(x, 1, name="stem_pool_pad")
    return FrameWise(layers.MaxPooling2D(3, strides=2, name="max"), name="stem_pool")(x)


def _residual_block(x, width, stride, bottleneck, shift_divisor, name):
    shortcut = x
    width_out = width * BOTTLENECK_EXPANSION if bottleneck else width
    if stride != 1 or x.shape[-1] != width_out:
        shortcut = _conv(x, width_out, kernel_size=1, stride=stride, name=f"{name}_shortcut_conv")
        shortcut = _norm(shortcut, name=f"{name}_shortcut_norm")
    if bottleneck:
        convolutions = ((width, 1, 1), (width, 3, stride), (width_out, 1, 1))
    else:
        convolutions = ((width, 3, stride), (width, 3, 1))
    if shift_divisor is not None:
        x = TemporalShift(shift_divisor, name=f"{name}_shift")(x)
    for number, (filters, kernel_size, conv_stride) in enumerate(convolutions, start=1):
        if number > 1:
            x = layers.ReLU(name=f"{name}_relu{number - 1}")(x)
        x = _conv(x, filters, kernel_size, conv_stride, name=f"{name}_conv{number}")
        x = _norm(x, name=f"{name}_norm{number}")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu")(x)


def _head(x, num_classes, dropout):
    x = layers.GlobalAveragePooling3D(dtype="float32", name="pool")(x)  # [B, C]
    x = layers.Dropout(dropout, dtype="float32", name="dropout")(x)
    start = keras.initializers.RandomNormal(stddev=0.001)
    return layers.Dense(num_classes, kernel_initializer=start, dtype="float32", name="fc")(x)


def _conv(x, filters, kernel_size, stride, name):
    if stride > 1 and kernel_size > 1:
        x = _pad(x, kernel_size // 2, name=f"{name}_pad")  # "same" would pad only the far side
    conv = layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name="conv",
    )
    return FrameWise(conv, name=name)(x)


def _norm(x, name):
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def _pad(x, pixels, name):
    return layers.ZeroPadding3D((0, pixels, pixels), name=name)(x)


def _check_backbone(depth, temporal, input_shape):
    if depth not in DEPTHS:
        raise ValueError(
            f"VideoResNet: Expected `depth` to be one of {tuple(DEPTHS)}. Received {depth!r}. Try 50."
        )
    if temporal not in TEMPORAL_KINDS:
        raise ValueError(
            f"VideoResNet: Expected `temporal` to be one of {TEMPORAL_KINDS}. "
            f"Received {temporal!r}. Try 'tsm'."
        )
    if len(input_shape) != 4 or input_shape[-1] is None:
        raise ValueError(
            "VideoResNet: Expected `input_shape` (T, H, W, channels) with a known number of channels. "
            f"Received {input_shape!r}. Try (8, 224, 224, 3); the batch is not a part of it."
        )


def _check_blocks(depth, blocks, make_block):
    if bool(blocks) != (make_block is not None):
        raise ValueError(
            "VideoResNet: Expected `blocks` and `make_block` together. "
            f"Received blocks={blocks or None!r} and make_block={make_block!r}. "
            'Try blocks={"res3": (0, 2), "res4": (0, 2, 4)}, make_block=RegionNonLocal.'
        )
    counts = dict(zip(STAGE_NAMES, depth.block_counts, strict=True))
    for stage, indices in blocks.items():
        if stage not in counts:
            raise ValueError(
                f"VideoResNet: Expected stages of `blocks` among {STAGE_NAMES}. "
                f"Received {stage!r}. Try 'res3'."
            )
        outside = [index for index in indices if index not in range(counts[stage])]
        if outside:
            raise ValueError(
                f"VideoResNet: Expected residual blocks of {stage} from 0 to {counts[stage] - 1}. "
                f"Received {outside}. Try counting from 0."
            )
