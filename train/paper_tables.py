"""The papers' tables of parameters and multiply-adds, as data for `python -m train.profile --papers`."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras

from keras_nonlocal import (
    AttentionChain,
    BilinearAttentionTransform,
    CompactGeneralizedNonLocal,
    ConvBlockAttention,
    GlobalContext,
    ImageResNet,
    NonLocal,
    RegionNonLocal,
    SqueezeExcite,
    VideoResNet,
)


class Figure(NamedTuple):
    """One number of a row.

    convention: key of `CONVENTIONS`.
    expected: exactly: parameters as an int with commas, all else in G; with an "x" at its end, as the
        ratio to the table's first row.
    paper: as the paper prints it, parameters in millions; "" where nothing is known of it.
    note: why the paper's number is another one.
    """

    convention: str
    expected: str
    paper: str = ""
    note: str = ""


class Row(NamedTuple):
    """A line of a table: a function that builds the model, and its figures."""

    name: str
    make: Callable
    figures: tuple


class Table(NamedTuple):
    """A table: what its title says, how its paper counts, and its rows."""

    title: str
    note: str
    rows: tuple


CONVENTIONS = {
    "parameters": lambda cost: cost.parameters,
    "parameters, released": lambda cost: cost.released_parameters,
    "MAC": lambda cost: cost.macs,
    "products": lambda cost: cost.products,
    "MAC + products": lambda cost: cost.macs + cost.products,
    "thop A": lambda cost: cost.thop_a,
    "thop B": lambda cost: cost.thop_b,
    "thop C": lambda cost: cost.thop_c,
    "thop C + 2 products": lambda cost: cost.thop_c + 2 * cost.products,
}

RES3, RES4 = (8, 28, 28, 512), (8, 14, 14, 1024)  # for 8 frames of 224x224, without temporal pooling


def _alone(make_block, shape=RES3):
    """A model of one block."""
    x = keras.Input(shape)
    return keras.Model(x, make_block()(x))


def _tsm(blocks=None, make_block=None):
    """TSM with its code's head, which classifies each frame and averages the logits."""
    model = VideoResNet(50, "tsm", blocks, make_block, include_top=False)
    x = keras.layers.TimeDistributed(keras.layers.GlobalAveragePooling2D())(model.output)  # [B, T, C]
    logits = keras.layers.TimeDistributed(keras.layers.Dense(400))(x)  # [B, T, 400]
    return keras.Model(model.input, keras.ops.mean(logits, axis=1))


def _frames_32(depth, temporal="c2d", blocks=None, make_block=None, topology="fair_32"):
    shape = (32, 224, 224, 3)
    return VideoResNet(depth, temporal, blocks, make_block, input_shape=shape, topology=topology)


def _frames_8(classes, temporal="c2d", make_block=None):
    return VideoResNet(50, temporal, make_block and "nl5", make_block, num_classes=classes)


def _image(**arguments):
    block = functools.partial(BilinearAttentionTransform, **arguments)
    return ImageResNet(50, "nl5", block) if arguments else ImageResNet(50)


def _released_rnl(name):
    return RegionNonLocal((3, 7, 7) if name.startswith("res3") else (3, 3, 3), name=name)


def _released_chain(name):
    return AttentionChain(region=_released_rnl(name), name=name)


_fair_nl = functools.partial(NonLocal, pool_order="before", scaled=True)
_video_bat = functools.partial(
    BilinearAttentionTransform, normalization="softmax", matrix_size="fitted", temporal_groups=4
)
_whole_nl = functools.partial(NonLocal, subsample=None)


def _kernel_row(kernel_size, parameters):
    block = functools.partial(RegionNonLocal, kernel_size)
    name = "x".join(map(str, kernel_size))
    return Row(name, functools.partial(_alone, block), (Figure("parameters", parameters),))


def _block_rows(name, block, *figures):
    """Rows of one block on the maps of res3 and of res4, of (parameters, MAC, products) each."""
    conventions = ("parameters", "MAC", "products")
    for stage, shape, numbers in zip(("res3", "res4"), (RES3, RES4), figures, strict=True):
        expected = tuple(map(Figure, conventions, numbers))
        yield Row(f"{name}, {stage}", functools.partial(_alone, block, shape), expected)


RNL = Table(
    "RNL: Huang and Bors 2020. TSM ResNet-50, 8x224x224, 400 classes",
    "The paper's FLOPs are thop B, which sees neither F_theta nor the products of attention; its parameters "
    "of RNL are those of a dense kernel and a mask. MAC and products have it all.",
    (
        Row(
            "baseline",
            _tsm,
            (Figure("thop B", "32.8888", "32.89"), Figure("parameters", "24,327,632", "24.33")),
        ),
        Row(
            "+ 5 SE, r=16",
            lambda: _tsm("tsm_nl5", SqueezeExcite),
            (Figure("thop B", "32.8898", "32.89"), Figure("parameters", "24,791,248", "24.79")),
        ),
        Row(
            "+ 5 NL",
            lambda: _tsm("tsm_nl5", NonLocal),
            (
                Figure("thop B", "49.3811", "49.38"),
                Figure("parameters", "31,686,096", "31.69"),
                Figure("MAC", "49.1453"),
                Figure("products", "11.9587"),
                Figure("MAC + products", "61.1"),
            ),
        ),
        Row(
            "+ 5 GC, r=16",
            lambda: _tsm("tsm_nl5", GlobalContext),
            (
                Figure("thop B", "32.9006", "32.90"),
                Figure("parameters", "24,795,349", "24.79", "24,794,837 without LN's own parameters"),
            ),
        ),
        Row(
            "+ 5 CBAM, r=16, 7x7x7",
            lambda: _tsm("tsm_nl5", ConvBlockAttention),
            (Figure("parameters", "24,794,176", "24.80", "cause not found"),),
        ),
        Row(
            "+ 5 RNL, 3x7x7 in res3, 3x3x3 in res4",
            lambda: _tsm("tsm_nl5", _released_rnl),
            (
                Figure("thop B", "41.1490", "41.15"),
                Figure("parameters, released", "35,483,088", "35.48"),
                Figure("parameters", "28,128,720"),
                Figure("MAC", "41.4616"),
            ),
        ),
        Row(
            "+ 5 [SE + RNL], as released",
            lambda: _tsm("tsm_nl5", _released_chain),
            (
                Figure("thop B", "41.1499", "41.16", "cause not found"),
                Figure("parameters, released", "35,946,704", "35.95"),
            ),
        ),
        Row(
            "+ 5 RNL, 3x7x7",
            lambda: _tsm("tsm_nl5", RegionNonLocal),
            (
                Figure("parameters", "28,313,040"),
                Figure("MAC", "41.7506"),
                Figure("products", "47.8350"),
                Figure("MAC + products", "89.6"),
            ),
        ),
        Row(
            "+ 5 RNL, 3x7x7, sub-sampled",
            lambda: _tsm("tsm_nl5", functools.partial(RegionNonLocal, subsample=(1, 2, 2))),
            (Figure("products", "11.9587"),),
        ),
        Row(
            "1 RNL in res3, convolution",
            lambda: _alone(RegionNonLocal),
            (
                Figure("thop B", "1.6554", "1.65", "34.54 - 32.89, both rounded"),
                Figure("parameters, released", "2,672,384", "2.67"),
            ),
        ),
        Row(
            "1 RNL in res3, pooling",
            lambda: _alone(functools.partial(RegionNonLocal, region="average")),
            (
                Figure("thop B", "1.6554", "1.65", "34.54 - 32.89, both rounded"),
                Figure("parameters", "263,936", "0.26"),
            ),
        ),
    ),
)

RNL_KERNELS = Table(
    "RNL: one block in res3, by the kernel of F_theta",
    "Depthwise; 1x1x1 stands for no F_theta.",
    (
        Row(
            "1x1x1",
            lambda: _alone(functools.partial(RegionNonLocal, 1, region="average")),
            (Figure("parameters", "263,936"),),
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

NL = Table(
    "NL: Wang et al. 2018. ResNet-50, 32x224x224, 400 classes",
    "1 MAC is 1 FLOP.",
    (
        Row(
            "C2D",
            lambda: _frames_32(50),
            (Figure("parameters", "24,327,632"), Figure("MAC", "20.2336")),
        ),
        Row(
            "C2D + 5 NL",
            lambda: _frames_32(50, "c2d", "nl5", _fair_nl),
            (Figure("parameters", "31,686,096"), Figure("MAC", "25.3716"), Figure("products", "2.9897")),
        ),
        Row(
            "C2D + 10 NL",
            lambda: _frames_32(50, "c2d", "nl10", _fair_nl),
            (Figure("parameters", "39,044,560"), Figure("MAC", "30.5097"), Figure("products", "5.9794")),
        ),
        Row(
            "I3D 3x1x1",
            lambda: _frames_32(50, "i3d_3x1x1"),
            (Figure("parameters", "28,043,472"), Figure("MAC", "32.8300")),
        ),
        Row(
            "I3D 3x3x3",
            lambda: _frames_32(50, "i3d_3x3x3"),
            (Figure("parameters", "33,433,808"), Figure("MAC", "38.6882")),
        ),
    ),
)

NL_101 = Table(
    "NL: Wang et al. 2018. ResNet-101, 32x224x224, 400 classes",
    "1 MAC is 1 FLOP; x is the ratio to C2D.",
    (
        Row(
            "C2D",
            lambda: _frames_32(101),
            (
                Figure("parameters", "43,319,760"),
                Figure("MAC", "35.0825", "34.2", "strides on the 3x3 as the code does; see the next row"),
            ),
        ),
        Row(
            "C2D, stride on the first 1x1",
            lambda: _frames_32(101, topology="paper_32"),
            (Figure("MAC", "34.1722", "34.2"),),
        ),
        Row(
            "I3D 3x3x3",
            lambda: _frames_32(101, "i3d_3x3x3"),
            (Figure("parameters", "1.455x", "1.5"), Figure("MAC", "1.763x", "1.8")),
        ),
        Row(
            "I3D 3x1x1",
            lambda: _frames_32(101, "i3d_3x1x1"),
            (Figure("parameters", "1.195x", "1.2"), Figure("MAC", "1.464x", "1.5")),
        ),
        Row(
            "C2D + 5 NL",
            lambda: _frames_32(101, "c2d", "nl5", _fair_nl),
            (Figure("parameters", "1.170x", "1.2"), Figure("MAC + products", "1.232x", "1.2")),
        ),
    ),
)

BAT_IMAGES = Table(
    "BAT: Chi et al. 2020. Images, ResNet-50, 224x224, 1000 classes",
    "The paper's FLOPs are thop A, which does not see the products of the transforms.",
    (
        Row("baseline", _image, (Figure("thop A", "4.1358"), Figure("parameters", "25,557,032"))),
        Row(
            "k=1",
            lambda: _image(spatial_groups=1),
            (Figure("thop A", "5.4351"), Figure("parameters", "30,175,111")),
        ),
        Row(
            "k=4",
            lambda: _image(spatial_groups=4),
            (Figure("thop A", "5.4373"), Figure("parameters", "30,234,220")),
        ),
        Row(
            "k=4, full resolution, s=(28, 14)",
            lambda: _image(transform="full_resolution"),
            (Figure("parameters", "31,862,980"),),
        ),
        Row(
            "k=4, downsampling",
            lambda: _image(transform="downsampling"),
            (Figure("thop A", "5.2223"), Figure("parameters", "30,234,220")),
        ),
    ),
)

BAT_VIDEOS = Table(
    "BAT: Chi et al. 2020. Videos, ResNet-50, 8x224x224",
    "The paper's FLOPs are thop C; it adds the products of NL at 2 for each MAC, its own at 0.",
    (
        Row(
            "C2D, 200 classes",
            lambda: _frames_8(200),
            (Figure("thop C", "19.5452"), Figure("parameters", "23,917,832")),
        ),
        Row(
            "C2D + NL, 200 classes",
            lambda: _frames_8(200, make_block=_fair_nl),
            (
                Figure("thop C", "24.7155"),
                Figure("products", "2.9897"),
                Figure("thop C + 2 products", "30.6949"),
                Figure("parameters", "31,276,296"),
            ),
        ),
        Row(
            "C2D + BAT(4, 4), 200 classes",
            lambda: _frames_8(200, make_block=functools.partial(_video_bat, spatial_groups=4)),
            (
                Figure("thop C", "24.7510", "24.77", "cause not found"),
                Figure("parameters", "28,600,460"),
            ),
        ),
        Row(
            "I3D 3x1x1, 400 classes",
            lambda: _frames_8(400, "i3d_3x1x1"),
            (
                Figure("thop C", "28.3655"),
                Figure("parameters", "28,043,472", "28.4", "cause not found"),
            ),
        ),
        Row(
            "C2D + BAT(8, 4), 400 classes",
            lambda: _frames_8(400, make_block=functools.partial(_video_bat, spatial_groups=8)),
            (Figure("thop C", "24.7635"), Figure("parameters", "29,190,232")),
        ),
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
            _fair_nl,
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
            functools.partial(_video_bat, spatial_groups=4),
            ("344,244", "2.06172", "0.10276"),
            ("1,331,380", "2.05851", "0.02890"),
        ),
    ),
)

TABLES = (RNL, RNL_KERNELS, NL, NL_101, BAT_IMAGES, BAT_VIDEOS, BLOCKS)
