"""Tables of single blocks, which stand alone on a map of res3 or res4."""

import functools

from papers_rows import RES3, RES4, Table, alone, fair_nl, row, video_bat

from keras_nonlocal import CompactGeneralizedNonLocal, NonLocal, RegionNonLocal

_whole_nl = functools.partial(NonLocal, subsample=None)


def _kernel_row(kernel_size, parameters):
    block = functools.partial(RegionNonLocal, kernel_size)
    name = "x".join(map(str, kernel_size))
    return row(name, functools.partial(alone, block), ("parameters", parameters))


def _block_rows(name, block, *figures):
    """Yields the rows of one block on the maps of res3 and of res4, by (parameters, MAC, products) each."""
    for stage, shape, numbers in zip(("res3", "res4"), (RES3, RES4), figures, strict=True):
        expected = zip(("parameters", "MAC", "products"), numbers, strict=True)
        yield row(f"{name}, {stage}", functools.partial(alone, block, shape), *expected)


RNL_KERNELS = Table(
    "RNL: one block in res3, by the kernel of F_theta",
    "Depthwise; 1x1x1 stands for no F_theta.",
    (
        row(
            "1x1x1",
            lambda: alone(functools.partial(RegionNonLocal, 1, region="average")),
            ("parameters", "263,936"),
        ),
        _kernel_row((3, 1, 1), "264,704"),
        _kernel_row((7, 1, 1), "265,728"),
        _kernel_row((1, 3, 3), "266,240"),
        _kernel_row((1, 7, 7), "276,480"),
        _kernel_row((3, 3, 3), "270,848"),
        _kernel_row((3, 5, 5), "283,136"),
        _kernel_row((3, 7, 7), "301,568"),
        _kernel_row((7, 7, 7), "351,744"),
    ),
)

BLOCKS = Table(
    "One block, 8 frames of 224x224, without temporal pooling",
    "Products in the papers' order; executed are fewer for dot products and for BAT.",
    (
        *_block_rows(
            "NL embedded Gaussian, no sub-sampling",
            _whole_nl,
            ("526,592", "3.28833", "20.14105"),
            ("2,101,760", "3.28833", "2.51763"),
        ),
        *_block_rows(
            "NL dot product, no sub-sampling",
            functools.partial(_whole_nl, pairwise="dot_product"),
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
            functools.partial(_whole_nl, pairwise="gaussian"),
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
            functools.partial(CompactGeneralizedNonLocal, norm="group"),
            ("410,624", "2.56901", "0.00321"),
            ("1,640,448", "2.56901", "0.00161"),
        ),
        *_block_rows(
            "BAT k=4, k_t=4, s=7, ts=4",
            functools.partial(video_bat, spatial_groups=4),
            ("344,244", "2.06172", "0.10276"),
            ("1,331,380", "2.05851", "0.02890"),
        ),
    ),
)
