"""Figures that no paper prints: of what explains prints that do not agree, and by other conventions."""

from functools import partial

from papers_networks import (
    RES3,
    RES4,
    alone,
    fair_nl,
    frames_8,
    frames_32,
    gate_rnl,
    image,
    image_bat,
    released_rnl,
    subsampled_rnl,
    tsm,
    video_bat,
    whole_nl,
)
from papers_rows import Table, row

from keras_nonlocal import CompactGeneralizedNonLocal, NonLocal, RegionNonLocal


def _row(name, make, *figures, base=None):
    return row(name, make, *((by, "", ours) for by, ours in figures), base=base)


_STRIDED_1X1 = partial(frames_32, 101, topology="fair_32_1x1")

EXPLANATIONS = Table(
    "Networks that explain prints that do not agree",
    "The notes of the tables above refer to them.",
    (
        _row(
            "TSM + 5 [channel gate + RNL], r=16",
            partial(tsm, gate_rnl),
            ("thop B", "41.1612"),
            ("parameters, released", "35,950,805"),
        ),
        _row("C2D, R101, stride on the first 1x1", _STRIDED_1X1, ("MAC", "34.1722")),
        _row(
            "I3D 3x1x1, R101, the same against it",
            partial(frames_32, 101, "i3d_3x1x1", topology="fair_32_1x1"),
            ("MAC", "1.442x"),
            base=_STRIDED_1X1,
        ),
        *(
            _row(
                f"ResNet-50 + BAT, {transform}, with its products",
                partial(image_bat, transform=transform),
                ("thop A + 2 products", flops),
            )
            for transform, flops in (
                ("full_resolution", "5.5007"),
                ("block_based", "5.4991"),
                ("downsampling", "5.2251"),
            )
        ),
        _row(
            "ResNet-50 + NL",
            partial(image, 50, whole_nl),
            ("thop A + 2 NL", "7.6950"),
        ),
        _row(
            "ResNeXt-101 32x8d",
            partial(image, 101, groups=32, group_width=8),
            ("thop A + 2 NL", "16.5410"),
            ("parameters", "88,791,336"),
        ),
        _row("TSM", tsm, ("thop B", "32.8888"), ("MAC", "32.7036")),
    ),
)

NETWORKS = Table(
    "The papers' networks by other conventions",
    "MAC and products have all multiply-adds, F_theta and attention too. TSM and 8 frames: 8x224x224; 32 "
    "frames: 32x224x224; both with 400 classes and depth 50.",
    (
        _row(
            "TSM + 5 NL",
            partial(tsm, NonLocal),
            ("MAC", "49.1453"),
            ("products", "11.9587"),
            ("MAC + products", "61.1041"),
        ),
        _row(
            "TSM + 5 RNL, 3x7x7 and 3x3x3",
            partial(tsm, released_rnl),
            ("parameters", "28,128,720"),
            ("MAC", "41.4616"),
        ),
        _row(
            "TSM + 5 RNL, 3x7x7",
            partial(tsm, RegionNonLocal),
            ("parameters", "28,313,040"),
            ("MAC", "41.7506"),
            ("products", "47.8350"),
            ("MAC + products", "89.5856"),
        ),
        _row("TSM + 5 RNL, 3x7x7, sub-sampled", partial(tsm, subsampled_rnl), ("products", "11.9587")),
        _row("C2D, 32 frames", partial(frames_32, 50), ("parameters", "24,327,632"), ("MAC", "20.2336")),
        _row(
            "C2D + 5 NL, 32 frames",
            partial(frames_32, 50, "c2d", "nl5", fair_nl),
            ("parameters", "31,686,096"),
            ("MAC", "25.3716"),
            ("products", "2.9897"),
        ),
        _row(
            "C2D + 10 NL, 32 frames",
            partial(frames_32, 50, "c2d", "nl10", fair_nl),
            ("parameters", "39,044,560"),
            ("MAC", "30.5097"),
            ("products", "5.9794"),
        ),
        _row(
            "I3D 3x1x1, 32 frames",
            partial(frames_32, 50, "i3d_3x1x1"),
            ("parameters", "28,043,472"),
            ("MAC", "32.8300"),
        ),
        _row(
            "I3D 3x3x3, 32 frames",
            partial(frames_32, 50, "i3d_3x3x3"),
            ("parameters", "33,433,808"),
            ("MAC", "38.6882"),
        ),
        _row("C2D + 5 NL, 8 frames", partial(frames_8, 400, "c2d", fair_nl), ("products", "2.9897")),
    ),
)

RNL_KERNELS = Table(
    "One RNL block in res3, by the kernel of its channel-wise F_theta",
    "1x1x1 stands for no F_theta.",
    (
        _row(
            "1x1x1", partial(alone, partial(RegionNonLocal, 1, region="average")), ("parameters", "263,936")
        ),
        *(
            _row(
                "x".join(map(str, kernel)),
                partial(alone, partial(RegionNonLocal, kernel)),
                ("parameters", parameters),
            )
            for kernel, parameters in (
                ((3, 1, 1), "264,704"),
                ((7, 1, 1), "265,728"),
                ((1, 3, 3), "266,240"),
                ((1, 7, 7), "276,480"),
                ((3, 3, 3), "270,848"),
                ((3, 5, 5), "283,136"),
                ((3, 7, 7), "301,568"),
                ((7, 7, 7), "351,744"),
            )
        ),
    ),
)


def _block_rows(name, block, *numbers):
    """Yields the rows of one block on the maps of res3 and of res4, by (parameters, MAC, products) each."""
    for stage, shape, ours in zip(("res3", "res4"), (RES3, RES4), numbers, strict=True):
        figures = zip(("parameters", "MAC", "products"), ours, strict=True)
        yield _row(f"{name}, {stage}", partial(alone, block, shape), *figures)


BLOCKS = Table(
    "One block, 8 frames of 224x224, without temporal pooling",
    "Products are in the papers' order.",
    (
        *_block_rows(
            "NL embedded Gaussian, no sub-sampling",
            whole_nl,
            ("526,592", "3.28833", "20.14105"),
            ("2,101,760", "3.28833", "2.51763"),
        ),
        *_block_rows(
            "NL dot product, no sub-sampling",
            partial(whole_nl, pairwise="dot_product"),
            ("526,592", "3.28833", "20.14105"),
            ("2,101,760", "3.28833", "2.51763"),
        ),
        *_block_rows(
            "NL, pool x first",
            fair_nl,
            ("526,592", "2.05521", "5.03526"),
            ("2,101,760", "2.05521", "0.62941"),
        ),
        *_block_rows(
            "NL Gaussian, no sub-sampling",
            partial(whole_nl, pairwise="gaussian"),
            ("263,936", "1.64417", "30.21157"),
            ("1,052,160", "1.64417", "3.77645"),
        ),
        *_block_rows(
            "RNL 3x7x7",
            RegionNonLocal,
            ("301,568", "1.88020", "20.14105"),
            ("1,127,424", "1.76218", "2.51763"),
        ),
        *_block_rows(
            "CGNL dot product, G=8",
            partial(CompactGeneralizedNonLocal, norm="group"),
            ("410,624", "2.56901", "0.00321"),
            ("1,640,448", "2.56901", "0.00161"),
        ),
        *_block_rows(
            "BAT k=4, k_t=4, s=7, ts=4",
            partial(video_bat, 4),
            ("344,244", "2.06172", "0.10276"),
            ("1,331,380", "2.05851", "0.02890"),
        ),
    ),
)
