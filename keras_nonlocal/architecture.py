"""Residual networks as data: depths, temporal kinds, topologies, and where the papers put their blocks."""

from typing import NamedTuple

from keras_nonlocal.arguments import closest


class Convolution(NamedTuple):
    """One convolution of a residual branch; it spans time where kernel_frames is above 1."""

    filters: int
    kernel_size: int
    stride: int = 1
    kernel_frames: int = 1
    groups: int = 1


class Topology(NamedTuple):
    """Where a network strides and pools.

    Attributes:
        stem_stride_frames: Temporal stride of the first convolution.
        pool1_frames: Frames that the max-pooling after it joins.
        pool1_padded: Whether that pooling pads its 3x3 window by 1.
        pool2_frames: Frames that the max-pooling after res2 joins; 1 means that there is none.
        strided_conv: The convolution of a bottleneck that has the stride: 1 for the 1x1, 2 for the 3x3.
        pools_overlap: Whether poolings that join frames see three of them, the last one of the join before
            too; otherwise their windows in time are as long as their strides.
    """

    stem_stride_frames: int = 1
    pool1_frames: int = 1
    pool1_padded: bool = True
    pool2_frames: int = 1
    strided_conv: int = 2
    pools_overlap: bool = False


class Depth(NamedTuple):
    """A depth: its residual blocks per stage, their kind, and which of them shift."""

    block_counts: tuple
    bottleneck: bool
    shift_every_blocks: int


# In FAIR's code: all residual blocks of res2, and every second one of the others.
RELEASED_INFLATION = {"res2": (0, 1), "res3": (0, 2), "res4": (0, 2), "res5": (1, 2)}
# "One kernel for every 2 residual blocks", Wang et al. 2018, section 4.1: so the middle one of res2 has none.
ALTERNATE_INFLATION = RELEASED_INFLATION | {"res2": (0, 2)}


class TemporalKind(NamedTuple):
    """How a network spans time.

    Attributes:
        stem_kernel_frames: Frames that the first convolution spans.
        inflated: Kernel size of the convolution in a residual branch that gets a kernel of 3 frames, or None.
        shifts: Whether residual branches shift.
        topology: Name of the topology that it has unless another one is asked for.
        classifier_deviation: Standard deviation of the classifier's initial weights.
        images: Whether its inputs are images, which have no frames.
        inflated_blocks: The residual blocks with such a kernel, stage -> (first, step).
    """

    stem_kernel_frames: int
    inflated: int | None
    shifts: bool
    topology: str
    classifier_deviation: float
    images: bool = False
    inflated_blocks: dict = RELEASED_INFLATION

    def inflates(self, stage, index):
        """Returns whether a residual block has a kernel that spans time."""
        first, step = self.inflated_blocks[stage]
        return self.inflated is not None and index >= first and (index - first) % step == 0


DEPTHS = {
    18: Depth((2, 2, 2, 2), bottleneck=False, shift_every_blocks=1),
    34: Depth((3, 4, 6, 3), bottleneck=False, shift_every_blocks=1),
    50: Depth((3, 4, 6, 3), bottleneck=True, shift_every_blocks=1),
    101: Depth((3, 4, 23, 3), bottleneck=True, shift_every_blocks=2),
    152: Depth((3, 8, 36, 3), bottleneck=True, shift_every_blocks=2),
}
TEMPORAL_KINDS = {
    "tsm": TemporalKind(1, None, True, "torchvision", 0.001),
    "c2d": TemporalKind(1, None, False, "fair_8", 0.01),
    "i3d_3x1x1": TemporalKind(5, 1, False, "fair_8", 0.01),
    "i3d_3x3x3": TemporalKind(5, 3, False, "fair_8", 0.01),
    "i3d_3x1x1_alternate": TemporalKind(5, 1, False, "fair_8", 0.01, inflated_blocks=ALTERNATE_INFLATION),
    "i3d_3x3x3_alternate": TemporalKind(5, 3, False, "fair_8", 0.01, inflated_blocks=ALTERNATE_INFLATION),
}
IMAGES = TemporalKind(1, None, False, "torchvision", 0.01, images=True)
TOPOLOGIES = {
    "torchvision": Topology(),
    "keras": Topology(strided_conv=1),
    "slowfast": Topology(pool2_frames=2),
    "fair_8": Topology(pool1_padded=False, pool2_frames=2),
    "fair_32": Topology(stem_stride_frames=2, pool1_frames=2, pool1_padded=False, pool2_frames=2),
    "fair_32_1x1": Topology(
        stem_stride_frames=2, pool1_frames=2, pool1_padded=False, pool2_frames=2, strided_conv=1
    ),
    "nl_table_1": Topology(
        stem_stride_frames=2, pool1_frames=2, pool2_frames=2, strided_conv=1, pools_overlap=True
    ),
}
STAGE_NAMES = ("res2", "res3", "res4", "res5")
STAGE_WIDTHS = (64, 128, 256, 512)
BOTTLENECK_EXPANSION = 4
# Where the papers put their blocks: name -> depth -> stage -> 0-based residual blocks after which one stands.
# What no paper and no code states is chosen here, and marked so; docs/decisions/0040-the-papers-networks.md.
PLACEMENTS = {
    # Every other residual block of res3 and res4: Wang et al. 2018, section 4.1. Depths 50 and 101 as in
    # its code and in that of BAT (Chi et al. 2020), which has 152 too. CGNL (Yue et al. 2018) has two blocks
    # in res3 and three in res4 of depths 50 and 101, "to every other residual block"; chosen: these.
    "nl5": {
        50: {"res3": (1, 3), "res4": (1, 3, 5)},
        101: {"res3": (1, 3), "res4": (6, 13, 20)},
        152: {"res3": (3, 7), "res4": (11, 23, 35)},
    },
    # TSM's code for its NL-5 (Lin et al. 2019), and RNL-5 and [SE+RNL]-5 after it (Huang and Bors 2020). Its
    # file for depth 101 is not released. Chosen: the first block of each run that "nl5" ends.
    "tsm_nl5": {
        50: {"res3": (0, 2), "res4": (0, 2, 4)},
        101: {"res3": (0, 2), "res4": (0, 7, 14)},
    },
    # PySlowFast's configurations, which do not spread the blocks over the longer res4 of depth 101.
    "slowfast_nl5": {
        50: {"res3": (1, 3), "res4": (1, 3, 5)},
        101: {"res3": (1, 3), "res4": (1, 3, 5)},
    },
    # Every residual block of res3 and res4: Wang et al. 2018, section 4.1, and "the corresponding" ones of
    # depth 101. Chosen there: those of "nl5", and one in the middle before each.
    "nl10": {
        50: {"res3": (0, 1, 2, 3), "res4": (0, 1, 2, 3, 4, 5)},
        101: {"res3": (0, 1, 2, 3), "res4": (2, 6, 9, 13, 16, 20)},
    },
    # Before the last residual block of res4: Wang et al. 2018, table 2a; CGNL's code (Yue et al. 2018).
    "nl1": {50: {"res4": (4,)}, 101: {"res4": (21,)}, 152: {"res4": (34,)}},
    # Before the last residual block of each stage: Wang et al. 2018, table 2b.
    "nl1_res2": {50: {"res2": (1,)}},
    "nl1_res3": {50: {"res3": (2,)}},
    "nl1_res4": {50: {"res4": (4,)}},
    "nl1_res5": {50: {"res5": (1,)}},
    # One block in res3: Huang and Bors 2020, table II. Chosen: the one that "tsm_nl5" and "nl1_res3" share.
    "rnl1": {50: {"res3": (2,)}},
    # How many blocks are in res3, res4 and res5: Chi et al. 2020, table 3; its 230 is "nl5". Chosen: before
    # the last residual block, as in Wang et al. 2018.
    "bat_100": {50: {"res3": (2,)}},
    "bat_010": {50: {"res4": (4,)}},
    "bat_001": {50: {"res5": (1,)}},
    "bat_110": {50: {"res3": (2,), "res4": (4,)}},
    # layer2.1 and layer3.1 of BAT's image code.
    "bat_resnet18": {18: {"res3": (1,), "res4": (1,)}},
}


def residual_branch(depth, temporal, topology, stage, index, groups, group_width):
    """Returns the convolutions of residual block `index` of a stage, in the order of the data."""
    position = STAGE_NAMES.index(stage)
    width = STAGE_WIDTHS[position]
    stride = 2 if index == 0 and stage != "res2" else 1
    if depth.bottleneck:
        inner = width * group_width // STAGE_WIDTHS[0] * groups
        strides = (stride, 1) if topology.strided_conv == 1 else (1, stride)
        convolutions = [
            Convolution(inner, 1, strides[0]),
            Convolution(inner, 3, strides[1], groups=groups),
            Convolution(width * BOTTLENECK_EXPANSION, 1),
        ]
    else:
        convolutions = [Convolution(width, 3, stride), Convolution(width, 3)]
    if temporal.inflates(stage, index):
        for order, convolution in enumerate(convolutions):
            if convolution.kernel_size == temporal.inflated:
                convolutions[order] = convolution._replace(kernel_frames=3)
                break
    return convolutions


def stage_maps(depth, topology, frames, height, width):
    """Returns the shape of every stage's last map, {"res2": (T, H, W, C), ...}, for clips of a size."""
    sides = [_halved(side) for side in (height, width)]
    sides = [_halved(side) if topology.pool1_padded else (side - 1) // 2 for side in sides]
    maps = {}
    frames = joined(-(-frames // topology.stem_stride_frames), topology.pool1_frames, topology)
    for stage, channels in zip(STAGE_NAMES, STAGE_WIDTHS, strict=True):
        if stage != "res2":
            sides = [_halved(side) for side in sides]
        maps[stage] = (frames, *sides, channels * (BOTTLENECK_EXPANSION if depth.bottleneck else 1))
        if stage == "res2":
            frames = joined(frames, topology.pool2_frames, topology)
    return maps


def joined(frames, stride, topology):
    """Returns how many frames a pooling with a stride in time leaves; overlapping ones cut none off."""
    return -(-frames // stride) if topology.pools_overlap else frames // stride


def placement(name, depth):
    """Returns where a paper puts its blocks.

    Args:
        name: A key of `PLACEMENTS`.
        depth: The depth of the ResNet.

    Returns:
        {"res3": (1, 3), ...}: stage -> 0-based residual blocks after which a block stands.

    Raises:
        ValueError: The name is unknown, or no paper and no code says where blocks go at this depth.

    Example:
        >>> placement("nl5", 101)
        {'res3': (1, 3), 'res4': (6, 13, 20)}
    """
    if name not in PLACEMENTS:
        raise ValueError(
            f"Expected a placement among {', '.join(PLACEMENTS)}. Received {name!r}. "
            f"Try: {closest(name, PLACEMENTS) or repr('nl5')}, or the places themselves."
        )
    if depth not in PLACEMENTS[name]:
        depths = tuple(PLACEMENTS[name])
        raise ValueError(
            f"Expected a depth for which placement {name!r} is published, {' or '.join(map(str, depths))}. "
            f"Received {depth!r}. Try: depth={depths[0]}, or the places themselves."
        )
    return dict(PLACEMENTS[name][depth])


def _halved(side):
    return -(-side // 2)  # A padded window of 1, 3 or 7 pixels leaves this much at stride 2.
