"""What kinds of residual networks there are: depths, temporal kinds, topologies, as data."""

from typing import NamedTuple


class Convolution(NamedTuple):
    """One convolution of a residual branch; it spans time where kernel_frames is above 1."""

    filters: int
    kernel_size: int
    stride: int = 1
    kernel_frames: int = 1
    groups: int = 1


class Topology(NamedTuple):
    """Where a network strides and pools; the windows in time are as long as their strides.

    stem_stride_frames: temporal stride of the first convolution.
    pool1_frames: frames that the max-pooling after it joins.
    pool1_padded: whether that pooling pads its 3x3 window by 1.
    pool2_frames: frames that the max-pooling after res2 joins; 1 means that there is none.
    strided_conv: which convolution of a bottleneck carries the stride: 1, the 1x1, or 2, the 3x3.
    """

    stem_stride_frames: int = 1
    pool1_frames: int = 1
    pool1_padded: bool = True
    pool2_frames: int = 1
    strided_conv: int = 2


class Depth(NamedTuple):
    """What a depth stands for: residual blocks per stage, their kind, and which of them shift."""

    block_counts: tuple
    bottleneck: bool
    shift_every_blocks: int


class TemporalKind(NamedTuple):
    """How a network spans time.

    stem_kernel_frames: of the first convolution.
    inflated: kernel size of the convolution in a residual branch that gets a kernel of 3 frames.
    shifts: whether residual branches shift.
    topology: the name of its own topology.
    classifier_deviation: standard deviation of the classifier's first weights.
    """

    stem_kernel_frames: int
    inflated: int | None
    shifts: bool
    topology: str
    classifier_deviation: float


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
}
IMAGES = TemporalKind(1, None, False, "torchvision", 0.01)
TOPOLOGIES = {
    "torchvision": Topology(),
    "keras": Topology(strided_conv=1),
    "slowfast": Topology(pool2_frames=2),
    "fair_8": Topology(pool1_padded=False, pool2_frames=2),
    "fair_32": Topology(stem_stride_frames=2, pool1_frames=2, pool1_padded=False, pool2_frames=2),
    "paper_32": Topology(
        stem_stride_frames=2, pool1_frames=2, pool1_padded=False, pool2_frames=2, strided_conv=1
    ),
}
STAGE_NAMES = ("res2", "res3", "res4", "res5")
STAGE_WIDTHS = (64, 128, 256, 512)
BOTTLENECK_EXPANSION = 4
# Which residual blocks of an I3D span time, as (first, step): FAIR's code.
INFLATED_BLOCKS = {"res2": (0, 1), "res3": (0, 2), "res4": (0, 2), "res5": (1, 2)}


def residual_branch(depth, temporal, topology, stage, index, groups, group_width):
    """Return the convolutions of residual block `index` of a stage, in the order of the data."""
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
    first, step = INFLATED_BLOCKS[stage]
    if index in range(first, depth.block_counts[position], step):
        for number, convolution in enumerate(convolutions):
            if convolution.kernel_size == temporal.inflated:
                convolutions[number] = convolution._replace(kernel_frames=3)
                break
    return convolutions


def stage_maps(depth, topology, frames, height, width):
    """Return the shape of every stage's last map, {"res2": (T, H, W, C), ...}, for clips of a size."""
    sides = [_halved(side) for side in (height, width)]
    sides = [_halved(side) if topology.pool1_padded else (side - 1) // 2 for side in sides]
    maps = {}
    frames = -(-frames // topology.stem_stride_frames) // topology.pool1_frames
    for stage, channels in zip(STAGE_NAMES, STAGE_WIDTHS, strict=True):
        if stage != "res2":
            sides = [_halved(side) for side in sides]
        maps[stage] = (frames, *sides, channels * (BOTTLENECK_EXPANSION if depth.bottleneck else 1))
        if stage == "res2":
            frames //= topology.pool2_frames
    return maps


def _halved(side):
    return -(-side // 2)  # what a padded window of 1, 3 or 7 leaves at stride 2
