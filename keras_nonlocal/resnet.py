"""VideoResNet and ImageResNet: one builder for the residual networks that the blocks are added to.

Depths, temporal kinds and topologies are data. Names: stages res2 to res5, residual blocks and their
parts as in "res3_0_conv1", "res3_0_norm1", "res3_0_shortcut_conv"; an added block is "res3_0_block".
Weights: "res3_0_conv1/conv/kernel" ("res3_0_conv1/kernel" if it spans time), "res3_0_norm1/gamma",
"res3_0_block/g/kernel", "fc/kernel"; the same in both networks.
"""

import os
import re
import warnings

import keras
from keras import layers

from keras_nonlocal.architecture import (
    DEPTHS,
    IMAGES,
    STAGE_NAMES,
    TEMPORAL_KINDS,
    TOPOLOGIES,
    residual_branch,
)
from keras_nonlocal.placement import placement
from keras_nonlocal.residual import residual_block, stem


def VideoResNet(
    depth=50,
    temporal="tsm",
    blocks=None,
    make_block=None,
    num_classes=400,
    input_shape=(8, 224, 224, 3),
    dropout=0.5,
    shift_divisor=8,
    topology=None,
    groups=1,
    group_width=64,
    squeeze_excite_ratio=None,
    frozen_batch_norm=False,
    include_top=True,
    weights=None,
    pooling=None,
    classifier_activation=None,
    classifier_initializer=None,
    name=None,
):
    """Build a residual network from clips to logits, with blocks added where asked.

    ResNet (He et al., CVPR 2016) without biases; frames are folded into the batch wherever a kernel
    spans none. What goes on in time is `temporal`; where the network strides and pools, `topology`.

    Shapes:
        [B, T, H, W, C], already normalised -> logits [B, num_classes] in float32, or, without the
        top, [B, T', H', W', D], pooled [B, D]. B, T, H, W may be unknown.

    Args:
        depth: 18, 34, 50, 101 or 152.
        temporal: "tsm" shifts the input of each residual branch in time (Lin et al., ICCV 2019);
            "c2d" has no kernel that spans time; "i3d_3x1x1" and "i3d_3x3x3" have a first kernel of 5
            frames and kernels of 3 frames at the first 1x1 or the 3x3 of residual branches: all of
            res2, every second one of res3 to res5 (Wang et al., CVPR 2018).
        blocks: where blocks go, stage -> 0-based residual blocks after which one is added,
            {"res3": (0, 2), "res4": (4,)}; with blocks of several kinds {"res3": {0: make_a, 2:
            make_b}}; or the name of a placement, see keras_nonlocal.placement.PLACEMENTS ("nl5").
        make_block: called as make_block(name="res3_0_block") for each of them; a layer class,
            or any callable that returns a layer that keeps its input's shape. None where `blocks`
            names the callables itself.
        num_classes: width of the logits.
        input_shape: (T, H, W, channels) of a clip; None where unknown, except the channels.
        dropout: share of the pooled features that training drops; 0 to below 1.
        shift_divisor: "tsm" moves 1 / shift_divisor of the channels each way.
        topology: a `Topology` or its name: "torchvision" (no pooling in time, pool1 padded; that of
            "tsm"), "fair_8" (pool1 unpadded, pairs of frames joined after res2; that of the other
            kinds, FAIR's code for 8 frames), "fair_32" (also every second frame at the stem and pairs
            at pool1: FAIR's code for 32 frames), "slowfast" (fair_8 with pool1 padded),
            "keras" and "paper_32" (torchvision and fair_32 with the stride on the first 1x1 of a
            stage in the place of its 3x3, as keras.applications and the NL paper's counts have it).
        groups, group_width: groups of the 3x3 convolutions and their channels per group in res2:
            32 and 4 give ResNeXt 32x4d (Xie et al., CVPR 2017).
        squeeze_excite_ratio: None, or the reduction of a SqueezeExcite at the end of each residual
            branch, frame by frame: 16 gives SE-ResNet (Hu et al., CVPR 2018).
        frozen_batch_norm: keep the network's batch norms to their running statistics, for small
            batches and 128-frame clips; blocks have an argument of their own, batch_norm=False.
        include_top: whether dropout and classifier stand on the pooled features.
        weights: None, or the path of a `.weights.h5` file that fits this network exactly.
        pooling: without the top, None, "avg" or "max" over T, H, W.
        classifier_activation: None gives logits, "softmax" probabilities.
        classifier_initializer: of the classifier's kernel; None means N(0, 0.001) for "tsm", as
            TSM's and RNL's code, N(0, 0.01) for the others, as FAIR's.
        name: of the model.

    Call:
        As any functional keras.Model; its layers take the global dtype policy, the head float32.

    Cost:
        Depth 50, "tsm", 8 frames of 224x224, 400 classes: 24,327,632 parameters that train, 32.7 G
        multiply-adds; `keras_nonlocal.counting` counts any other.

    Differs:
        Strides on the 3x3, where the NL paper counts them on the first 1x1 (topology="paper_32").
        TSM's code averages the frames' logits; the features are averaged here, which gives the
        same logits. Its shift of every second block holds for depths 101 and 152.

    Raises:
        ValueError: an unknown depth, temporal kind, topology, placement, stage or residual block;
            `blocks` without `make_block` or the reverse; an input shape not of four entries or with too
            few frames; groups or an inflated 1x1 where residual blocks have no bottleneck; a weights
            file that is not there, cannot be read or is another network's.

    Example:
        >>> from keras_nonlocal import RegionNonLocal, VideoResNet
        >>> model = VideoResNet(18, blocks={"res3": (0,)}, make_block=RegionNonLocal, num_classes=10)
        >>> model.output_shape, model.get_layer("res3_0_block").output.shape
        ((None, 10), (None, 8, 28, 28, 128))
    """
    _check("temporal", temporal, TEMPORAL_KINDS, "tsm", "VideoResNet")
    _check_input_shape(input_shape, ("T", "H", "W"), (8, 224, 224, 3), "VideoResNet")
    return _resnet(
        TEMPORAL_KINDS[temporal],
        kind="VideoResNet",
        inputs=keras.Input(input_shape, name="clips"),
        name=name or f"video_resnet{depth}",
        depth=depth,
        blocks=blocks,
        make_block=make_block,
        num_classes=num_classes,
        dropout=dropout,
        shift_divisor=shift_divisor,
        topology=topology,
        groups=groups,
        group_width=group_width,
        squeeze_excite_ratio=squeeze_excite_ratio,
        frozen_batch_norm=frozen_batch_norm,
        include_top=include_top,
        weights=weights,
        pooling=pooling,
        classifier_activation=classifier_activation,
        classifier_initializer=classifier_initializer,
    )


def ImageResNet(
    depth=50,
    blocks=None,
    make_block=None,
    num_classes=1000,
    input_shape=(224, 224, 3),
    dropout=0.0,
    topology=None,
    groups=1,
    group_width=64,
    squeeze_excite_ratio=None,
    frozen_batch_norm=False,
    include_top=True,
    weights=None,
    pooling=None,
    classifier_activation=None,
    classifier_initializer=None,
    name=None,
):
    """Build the residual network of `VideoResNet` for images, its layers and weights named as there.

    Shapes:
        [B, H, W, C], already normalised -> logits [B, num_classes] in float32, or, without the
        top, [B, H', W', D], pooled [B, D]. B, H, W may be unknown.

    Args:
        input_shape: (H, W, channels) of an image; None where unknown, except the channels.
        topology: "torchvision" (default) or "keras"; no other, as images have no frames to join.
        All others: as in `VideoResNet`.

    Call:
        As any functional keras.Model; its layers take the global dtype policy, the head float32.

    Cost:
        Depth 50, 224x224, 1000 classes: 25,557,032 parameters that train, 4.09 G multiply-adds.

    Raises:
        ValueError: as `VideoResNet`.

    Example:
        >>> model = ImageResNet(18, input_shape=(64, 64, 3), include_top=False, pooling="avg")
        >>> model.output_shape
        (None, 512)
    """
    _check_input_shape(input_shape, ("H", "W"), (224, 224, 3), "ImageResNet")
    return _resnet(
        IMAGES,
        kind="ImageResNet",
        inputs=keras.Input(input_shape, name="images"),
        name=name or f"image_resnet{depth}",
        depth=depth,
        blocks=blocks,
        make_block=make_block,
        num_classes=num_classes,
        dropout=dropout,
        topology=topology,
        groups=groups,
        group_width=group_width,
        squeeze_excite_ratio=squeeze_excite_ratio,
        frozen_batch_norm=frozen_batch_norm,
        include_top=include_top,
        weights=weights,
        pooling=pooling,
        classifier_activation=classifier_activation,
        classifier_initializer=classifier_initializer,
    )


def feature_pyramid(model):
    """Return the model that gives the output of every stage, for detection and segmentation heads.

    Args:
        model: a network of `VideoResNet` or `ImageResNet`, with or without top.

    Returns:
        A keras.Model on the same layers, with a dictionary of outputs: "res2" to "res5", each
        the stage's last map, its blocks included and before any pooling: [B, T, H / 4, W / 4, D]
        to [B, T', H / 32, W / 32, 8 D] for D channels in res2.

    Raises:
        ValueError: a model of other layers.

    Example:
        >>> pyramid = feature_pyramid(VideoResNet(18, include_top=False, input_shape=(8, 64, 64, 3)))
        >>> pyramid.output["res3"].shape, pyramid.output["res5"].shape
        ((None, 8, 8, 8, 128), (None, 8, 2, 2, 512))
    """
    ends = {}
    for layer in model.layers:  # in the order of the data, so that a stage's last one stays
        if found := re.fullmatch(r"(res\d)_\d+_(relu|block)", layer.name):
            ends[found[1]] = layer.output
    if tuple(ends) != STAGE_NAMES:
        raise ValueError(
            f"feature_pyramid: Expected a network of VideoResNet or ImageResNet, stages {STAGE_NAMES}. "
            f"Received {model.name} with {tuple(ends)}. Try keras.Model(model.input, outputs of your choice)."
        )
    return keras.Model(model.input, ends, name=f"{model.name}_pyramid")


def _resnet(
    temporal,
    kind,
    inputs,
    name,
    depth,
    blocks,
    make_block,
    num_classes,
    dropout,
    topology,
    groups,
    group_width,
    squeeze_excite_ratio,
    frozen_batch_norm,
    include_top,
    weights,
    pooling,
    classifier_activation,
    classifier_initializer,
    shift_divisor=None,
):
    _check("depth", depth, DEPTHS, 50, kind)
    _check("pooling", pooling, (None, "avg", "max"), None, kind)
    _check_branches(DEPTHS[depth], temporal, groups, group_width, kind)
    topology = _topology(topology or temporal.topology, inputs, kind)
    makers = _makers(depth, blocks, make_block, kind)
    x = stem(inputs, temporal.stem_kernel_frames, topology, frozen_batch_norm)
    for stage, count in zip(STAGE_NAMES, DEPTHS[depth].block_counts, strict=True):
        for index in range(count):
            shifts = temporal.shifts and index % DEPTHS[depth].shift_every_blocks == 0
            x = residual_block(
                x,
                residual_branch(DEPTHS[depth], temporal, topology, stage, index, groups, group_width),
                shift_divisor if shifts else None,
                squeeze_excite_ratio,
                frozen_batch_norm,
                name=f"{stage}_{index}",
            )
            if index in makers.get(stage, ()):
                x = makers[stage][index](name=f"{stage}_{index}_block")(x)
        if stage == "res2" and topology.pool2_frames > 1:
            x = layers.MaxPooling3D((topology.pool2_frames, 1, 1), name="res2_pool")(x)
    if include_top:
        start = classifier_initializer or keras.initializers.RandomNormal(
            stddev=temporal.classifier_deviation
        )
        x = _head(_pool(x, "avg"), num_classes, dropout, classifier_activation, start)
    elif pooling is not None:
        x = _pool(x, pooling)
    model = keras.Model(inputs, x, name=name)
    if weights is not None:
        _load(model, weights, kind)
    return model


def _pool(x, kind):
    rank = len(x.shape) - 2
    pool = {
        ("avg", 2): layers.GlobalAveragePooling2D,
        ("avg", 3): layers.GlobalAveragePooling3D,
        ("max", 2): layers.GlobalMaxPooling2D,
        ("max", 3): layers.GlobalMaxPooling3D,
    }
    return pool[kind, rank](dtype="float32", name="pool")(x)  # [B, D]


def _head(x, num_classes, dropout, activation, initializer):
    x = layers.Dropout(dropout, dtype="float32", name="dropout")(x)
    return layers.Dense(
        num_classes, activation=activation, kernel_initializer=initializer, dtype="float32", name="fc"
    )(x)


def _load(model, path, kind):
    if not os.path.isfile(path):
        raise ValueError(
            f"{kind}: Expected `weights` to be None or the path of a .weights.h5 file. "
            f"Received {path!r}, which is no file. "
            "Try python -m savedmodels.convert for a checkpoint of another library."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # by which Keras says that it left a layer out
            model.load_weights(path)
    except (ValueError, OSError, UserWarning) as error:
        raise ValueError(
            f"{kind}: Expected `weights` that were saved from this very network. "
            f"Received {path!r}: {str(error).splitlines()[0]} "
            "Try the arguments that it was saved with, or python -m savedmodels.convert."
        ) from error


def _topology(topology, inputs, kind):
    if isinstance(topology, str):
        _check("topology", topology, TOPOLOGIES, "torchvision", kind)
        topology = TOPOLOGIES[topology]
    joined = topology.stem_stride_frames, topology.pool1_frames, topology.pool2_frames
    if len(inputs.shape) == 4 and max(joined) > 1:
        raise ValueError(
            f"{kind}: Expected a topology without strides in time. Received {topology}. "
            "Try topology='torchvision'."
        )
    least = joined[0] * (joined[1] * joined[2] - 1) + 1
    if len(inputs.shape) == 5 and (inputs.shape[1] or least) < least:
        raise ValueError(
            f"{kind}: Expected at least {least} frames for {topology}. "
            f"Received input_shape={tuple(inputs.shape[1:])}. Try topology='torchvision', which joins none."
        )
    return topology


def _makers(depth, blocks, make_block, kind):
    """Return the callables that make the blocks: {"res3": {0: make, ...}, ...}."""
    places = placement(blocks, depth) if isinstance(blocks, str) else blocks or {}
    maps = [isinstance(indices, dict) for indices in places.values()]
    if (bool(places) and not all(maps)) != (make_block is not None):
        raise ValueError(
            f"{kind}: Expected `blocks` and `make_block` together, or callables in `blocks`. "
            f"Received blocks={blocks or None!r} and make_block={make_block!r}. "
            'Try blocks={"res3": (0, 2), "res4": (0, 2, 4)}, make_block=RegionNonLocal.'
        )
    counts = dict(zip(STAGE_NAMES, DEPTHS[depth].block_counts, strict=True))
    for stage, indices in places.items():
        if stage not in counts:
            raise ValueError(
                f"{kind}: Expected stages of `blocks` among {STAGE_NAMES}. Received {stage!r}. Try 'res3'."
            )
        outside = [index for index in indices if index not in range(counts[stage])]
        if outside:
            raise ValueError(
                f"{kind}: Expected residual blocks of {stage} from 0 to {counts[stage] - 1}. "
                f"Received {outside}. Try counting from 0."
            )
    return {
        stage: dict(indices) if isinstance(indices, dict) else dict.fromkeys(indices, make_block)
        for stage, indices in places.items()
    }


def _check(argument, value, choices, remedy, kind):
    if value not in choices:
        raise ValueError(
            f"{kind}: Expected `{argument}` to be one of {tuple(choices)}. "
            f"Received {value!r}. Try {remedy!r}."
        )


def _check_input_shape(input_shape, sides, example, kind):
    if len(input_shape) != len(sides) + 1 or input_shape[-1] is None:
        raise ValueError(
            f"{kind}: Expected `input_shape` ({', '.join(sides)}, channels) with a known number of channels. "
            f"Received {input_shape!r}. Try {example}; the batch is not a part of it."
        )


def _check_branches(depth, temporal, groups, group_width, kind):
    if depth.bottleneck:
        return
    if (groups, group_width) != (1, 64):
        raise ValueError(
            f"{kind}: Expected groups=1 and group_width=64 without bottlenecks. "
            f"Received groups={groups} and group_width={group_width}. Try depth=50."
        )
    if temporal.inflated == 1:
        raise ValueError(
            f"{kind}: Expected a depth with bottlenecks, whose first 1x1 spans time. "
            "Received a depth without. Try temporal='i3d_3x3x3', or depth=50."
        )
