"""VideoResNet and ImageResNet: one builder for the residual networks that the blocks are added to.

Depths, temporal kinds and topologies are data. Stages are called res2 to res5, residual blocks and their
parts as in "res3_0_conv1", "res3_0_norm1", "res3_0_shortcut_conv", and an added block as in "res3_0_block".
Weights have the same names in both networks: "res3_0_conv1/conv/kernel" ("res3_0_conv1/kernel" if it spans
time), "res3_0_norm1/gamma", "res3_0_block/g/kernel", "fc/kernel".
"""

import keras

from keras_nonlocal.architecture import DEPTHS, IMAGES, STAGE_NAMES, residual_branch
from keras_nonlocal.residual import head, join_frames, pool, residual_block, stem, with_norms
from keras_nonlocal.resnet_arguments import (
    block_makers,
    check_branches,
    check_choice,
    check_input_shape,
    checked_topology,
    input_name,
    temporal_kind,
)


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
    adapt=(),
):
    """Returns a residual network from clips to logits, with blocks added where asked.

    It is ResNet (He et al., CVPR 2016) without biases. Frames are folded into the batch wherever a kernel
    spans a single one. `temporal` says how the network spans time, and `topology` where it strides and pools.

    Shapes:
        [B, T, H, W, C], already normalised -> logits [B, num_classes] in float32, or, without the
        top, [B, T', H', W', D], pooled [B, D]. B, T, H, W may be unknown.

    Args:
        depth: 18, 34, 50, 101 or 152.
        temporal: "tsm" shifts the input of each residual branch in time (Lin et al., ICCV 2019);
            "c2d" has no kernel that spans time; "i3d_3x1x1" and "i3d_3x3x3" have a first kernel of 5
            frames and kernels of 3 frames at the first 1x1 or the 3x3 of residual branches: of all in
            res2, and of every second one in res3 to res5, as in FAIR's code; "i3d_3x1x1_alternate" and
            "i3d_3x3x3_alternate" of every second one in res2 too, as in the text (Wang et al., CVPR
            2018). A `TemporalKind` of your own may take the place of a name.
        blocks: Where blocks go, stage -> 0-based residual blocks after which one is added,
            {"res3": (0, 2), "res4": (4,)}; with blocks of several kinds {"res3": {0: make_a, 2:
            make_b}}; or the name of a placement such as "nl5", a key of `architecture.PLACEMENTS`.
        make_block: A layer class, or any callable that returns a layer that keeps its input's shape. It is
            called for each place, as make_block(name="res3_0_block"). None if `blocks` has the callables.
        num_classes: The width of the logits.
        input_shape: (T, H, W, channels) of a clip; None where unknown, except the channels.
        dropout: The fraction of the pooled features that training drops, in [0, 1).
        shift_divisor: "tsm" moves 1 / shift_divisor of the channels each way.
        topology: None for that of the temporal kind, a `Topology`, or its name: "torchvision" (no
            pooling in time, pool1 padded; "tsm" has it), "fair_8" (pool1 unpadded, pairs of frames
            joined after res2, as in FAIR's code for 8 frames; the other kinds have it), "fair_32" (also
            every second frame at the stem and pairs at pool1, as in FAIR's code for 32 frames),
            "slowfast" (fair_8 with pool1 padded), "keras" and "fair_32_1x1" (torchvision and fair_32
            with the stride on the first 1x1 of a stage in the place of its 3x3), or "nl_table_1" (the
            NL paper's table 1: fair_32_1x1 with padded poolings that see 3 frames each).
        groups, group_width: The groups of the 3x3 convolutions and their channels per group in res2:
            32 and 4 give ResNeXt 32x4d (Xie et al., CVPR 2017).
        squeeze_excite_ratio: None, or the reduction of a SqueezeExcite at the end of each residual
            branch, frame by frame: 16 gives SE-ResNet (Hu et al., CVPR 2018).
        frozen_batch_norm: Whether batch norms keep to their running statistics, and do not train, for small
            batches and 128-frame clips; those of blocks too, but for blocks with frozen_batch_norm=False.
        include_top: Whether dropout and classifier stand on the pooled features.
        weights: None, or a `.weights.h5` or `.keras` file, or the directory of a run or of a preset.
            Its layers and variables must be this network's by name and shape, with none left over. A
            `.keras` file is also held against the arguments of the layers; strides and pooling sizes
            leave no trace in `.weights.h5`.
        adapt: By what the network may differ from that of the weights, names of `moves.MOVES`: "classes"
            and "blocks" stay at their start; "images", of an `ImageResNet`, whose kernels are inflated;
            "bat", 3-D BAT from image BAT; "frames", other temporal matrices.
        pooling: Pooling over T, H, W without the top: None for no pooling, "avg" or "max".
        classifier_activation: None gives logits, "softmax" probabilities.
        classifier_initializer: Initializer of the classifier's kernel; None means N(0, 0.001) for "tsm",
            as in TSM's and RNL's code, and N(0, 0.01) for the other kinds, as in FAIR's.
        name: The model's name; None for "video_resnet50".

    Call:
        As any functional keras.Model; its layers take the global dtype policy, the head float32.

    Cost:
        Depth 50, "tsm", 8 frames of 224x224, 400 classes: 24,327,632 parameters that train, 32.7 G
        multiply-adds; `keras_nonlocal.counting` counts any other.

    Differs:
        The 3x3 has the stride; the NL paper's count of C2D has strides on the first 1x1, and pool1 unpadded
        (topology="fair_32_1x1"), which its table 1 has not ("nl_table_1").
        TSM's code averages the frames' logits; the features are averaged here, which gives the
        same logits. Its shift of every second block holds for depths 101 and 152.

    Raises:
        ValueError: The depth, temporal kind, topology, placement, a stage or a residual block is unknown;
            `blocks` comes without `make_block` or the reverse; the input shape has not four entries or too
            few frames; groups or an inflated 1x1 are asked for where residual blocks have no bottleneck;
            the weights file is not there, cannot be read or is another network's; nothing is set then.

    Example:
        >>> from keras_nonlocal import RegionNonLocal, VideoResNet
        >>> model = VideoResNet(18, blocks={"res3": (0,)}, make_block=RegionNonLocal, num_classes=10)
        >>> model.output_shape, model.get_layer("res3_0_block").output.shape
        ((None, 10), (None, 8, 28, 28, 128))
    """
    temporal = temporal_kind(temporal)
    builder = "ImageResNet" if temporal.images else "VideoResNet"
    check_input_shape(builder, input_shape, temporal.images)
    check_choice(builder, "depth", depth, DEPTHS, 50)
    check_choice(builder, "pooling", pooling, (None, "avg", "max"), None)
    check_branches(builder, DEPTHS[depth], temporal, groups, group_width)
    topology = checked_topology(builder, topology or temporal.topology, input_shape, temporal.images)
    makers = block_makers(builder, depth, blocks, make_block)
    inputs = keras.Input(input_shape, name=input_name(input_shape, temporal))
    x = stem(inputs, temporal.stem_kernel_frames, topology, frozen_batch_norm)
    for stage, count in zip(STAGE_NAMES, DEPTHS[depth].block_counts, strict=True):
        for index in range(count):
            branch = residual_branch(DEPTHS[depth], temporal, topology, stage, index, groups, group_width)
            shifts = temporal.shifts and index % DEPTHS[depth].shift_every_blocks == 0
            divisor, place = shift_divisor if shifts else None, f"{stage}_{index}"
            x = residual_block(x, branch, divisor, squeeze_excite_ratio, frozen_batch_norm, name=place)
            if index in makers.get(stage, ()):
                x = with_norms(makers[stage][index](name=f"{place}_block"), frozen_batch_norm)(x)
        if stage == "res2" and topology.pool2_frames > 1:
            x = join_frames(x, (topology.pool2_frames, 1, 1), (1, 1), 0, topology, "res2_pool")
    if include_top:
        initializer = classifier_initializer or temporal.classifier_deviation
        x = head(x, num_classes, dropout, classifier_activation, initializer)
    elif pooling is not None:
        x = pool(x, pooling)
    model = keras.Model(inputs, x, name=name or f"{builder[:5].lower()}_resnet{depth}")
    return model if weights is None else _loaded(model, weights, builder, adapt)


def ImageResNet(
    depth=50,
    blocks=None,
    make_block=None,
    num_classes=1000,
    input_shape=(224, 224, 3),
    dropout=0.0,
    **options,
):
    """Returns the residual network of `VideoResNet` for images; its layers and weights have the same names.

    Shapes:
        [B, H, W, C], already normalised -> logits [B, num_classes] in float32, or, without the
        top, [B, H', W', D], pooled [B, D]. B, H, W may be unknown.

    Args:
        depth, blocks, make_block, num_classes, dropout: As in `VideoResNet`.
        input_shape: (H, W, channels) of an image; None where unknown, except the channels.
        options: All other arguments of `VideoResNet` but `temporal`. `topology` may be "torchvision"
            (default) or "keras", as images have no frames to join.

    Call:
        As any functional keras.Model; its layers take the global dtype policy, the head float32.

    Cost:
        Depth 50, 224x224, 1000 classes: 25,557,032 parameters that train, 4.09 G multiply-adds.

    Raises:
        ValueError: As `VideoResNet`.

    Example:
        >>> model = ImageResNet(18, input_shape=(64, 64, 3), include_top=False, pooling="avg")
        >>> model.output_shape
        (None, 512)
    """
    return VideoResNet(depth, IMAGES, blocks, make_block, num_classes, input_shape, dropout, **options)


def _loaded(model, weights, builder, adapt):
    # It is imported here as it reads files by modules that a later Keras may move, and layers do without.
    from keras_nonlocal.weights import load_weights

    load_weights(model, weights, builder, adapt)
    return model
