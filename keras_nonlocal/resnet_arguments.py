"""Checks the arguments of `VideoResNet` and `ImageResNet`, and replaces names by what they stand for.

`builder` is the name of the called function; every error begins with it.
"""

from keras_nonlocal.architecture import (
    DEPTHS,
    STAGE_NAMES,
    TEMPORAL_KINDS,
    TOPOLOGIES,
    TemporalKind,
    placement,
)


def temporal_kind(temporal):
    """Returns the `TemporalKind` that is given or named. Raises ValueError for an unknown name."""
    if isinstance(temporal, TemporalKind):
        return temporal
    check_choice("VideoResNet", "temporal", temporal, TEMPORAL_KINDS, "tsm")
    return TEMPORAL_KINDS[temporal]


def input_name(input_shape, temporal):
    """Returns the name of a network's input, which tells in a file of weights what they were trained on.

    A clip of one frame is an image, unless the network has kernels or shifts for others.
    """
    if temporal.images:
        return "images"
    spans_time = temporal.shifts or temporal.inflated or temporal.stem_kernel_frames > 1
    return "frames" if input_shape[0] == 1 and not spans_time else "clips"


def is_of_images(names):
    """Returns whether layers with these names are those of a network for images."""
    return not {"images", "frames"}.isdisjoint(names)


def check_choice(builder, argument, value, choices, remedy):
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(
            f"{builder}: Expected `{argument}` to be one of {tuple(choices)}. "
            f"Received {value!r}. Try: {remedy!r}."
        )


def check_input_shape(builder, input_shape, images):
    """Raises ValueError unless the shape is (T, H, W, channels), or (H, W, channels) for images."""
    sides, example = (("H", "W"), (224, 224, 3)) if images else (("T", "H", "W"), (8, 224, 224, 3))
    if len(input_shape) != len(sides) + 1 or input_shape[-1] is None:
        raise ValueError(
            f"{builder}: Expected `input_shape` ({', '.join(sides)}, channels), with a known number of "
            f"channels. Received {input_shape!r}. Try: {example}; the batch is not a part of it."
        )


def check_branches(builder, depth, temporal, groups, group_width):
    """Raises ValueError if groups or an inflated 1x1 are asked for where blocks have no bottleneck."""
    if depth.bottleneck:
        return
    if (groups, group_width) != (1, 64):
        raise ValueError(
            f"{builder}: Expected groups=1 and group_width=64 without bottlenecks. "
            f"Received groups={groups} and group_width={group_width}. Try: depth=50."
        )
    if temporal.inflated == 1:
        raise ValueError(
            f"{builder}: Expected a depth with bottlenecks, whose first 1x1 spans time. "
            "Received a depth without. Try: temporal='i3d_3x3x3', or depth=50."
        )


def checked_topology(builder, topology, input_shape, images):
    """Returns the `Topology` that is given or named.

    Raises:
        ValueError: The name is unknown, there are too few frames, or the topology joins frames of images.
    """
    if isinstance(topology, str):
        check_choice(builder, "topology", topology, TOPOLOGIES, "torchvision")
        topology = TOPOLOGIES[topology]
    joined = topology.stem_stride_frames, topology.pool1_frames, topology.pool2_frames
    if images and max(joined) > 1:
        raise ValueError(
            f"{builder}: Expected a topology without strides in time. Received {topology}. "
            "Try: topology='torchvision'."
        )
    least = 1 if topology.pools_overlap else joined[0] * (joined[1] * joined[2] - 1) + 1
    if not images and (input_shape[0] or least) < least:
        raise ValueError(
            f"{builder}: Expected at least {least} frames for {topology}. "
            f"Received {input_shape[0]}. Try: topology='torchvision', which joins none."
        )
    return topology


def block_makers(builder, depth, blocks, make_block):
    """Returns the callables that make the blocks, {"res3": {0: make, ...}, ...}.

    Raises:
        ValueError: A placement, a stage or a residual block does not exist at this depth, or `blocks` comes
            without `make_block` or the reverse.
    """
    places = placement(blocks, depth) if isinstance(blocks, str) else blocks or {}
    maps = [isinstance(indices, dict) for indices in places.values()]
    if (bool(places) and not all(maps)) != (make_block is not None):
        raise ValueError(
            f"{builder}: Expected `blocks` and `make_block` together, or callables in `blocks`. "
            f"Received blocks={blocks or None!r} and make_block={make_block!r}. "
            'Try: blocks={"res3": (0, 2), "res4": (0, 2, 4)}, make_block=RegionNonLocal.'
        )
    counts = dict(zip(STAGE_NAMES, DEPTHS[depth].block_counts, strict=True))
    for stage, indices in places.items():
        if stage not in counts:
            raise ValueError(
                f"{builder}: Expected stages of `blocks` among {STAGE_NAMES}. "
                f"Received {stage!r}. Try: 'res3'."
            )
        outside = [index for index in indices if index not in range(counts[stage])]
        if outside:
            raise ValueError(
                f"{builder}: Expected residual blocks of {stage} from 0 to {counts[stage] - 1}. "
                f"Received {outside}. Try: counting from 0."
            )
    return {
        stage: dict(indices) if isinstance(indices, dict) else dict.fromkeys(indices, make_block)
        for stage, indices in places.items()
    }
