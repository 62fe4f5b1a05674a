"""Tables of whole networks: what their papers print of them, and what is expected here."""

import functools

import keras
from papers_rows import Table, alone, fair_nl, row, video_bat

from keras_nonlocal import (
    AttentionChain,
    BilinearAttentionTransform,
    ConvBlockAttention,
    GlobalContext,
    ImageResNet,
    NonLocal,
    RegionNonLocal,
    SqueezeExcite,
    VideoResNet,
)


def _tsm(blocks=None, make_block=None):
    """Returns TSM with its code's head, which classifies each frame and averages the logits."""
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


RNL = Table(
    "RNL: Huang and Bors 2020. TSM ResNet-50, 8x224x224, 400 classes",
    "The paper's FLOPs are thop B, which sees neither F_theta nor the products of attention; its parameters "
    "of RNL are those of a dense kernel and a mask. MAC and products have it all.",
    (
        row("baseline", _tsm, ("thop B", "32.8888", "32.89"), ("parameters", "24,327,632", "24.33")),
        row(
            "+ 5 SE, r=16",
            lambda: _tsm("tsm_nl5", SqueezeExcite),
            ("thop B", "32.8898", "32.89"),
            ("parameters", "24,791,248", "24.79"),
        ),
        row(
            "+ 5 NL",
            lambda: _tsm("tsm_nl5", NonLocal),
            ("thop B", "49.3811", "49.38"),
            ("parameters", "31,686,096", "31.69"),
            ("MAC", "49.1453"),
            ("products", "11.9587"),
            ("MAC + products", "61.1"),
        ),
        row(
            "+ 5 GC, r=16",
            lambda: _tsm("tsm_nl5", GlobalContext),
            ("thop B", "32.9006", "32.90"),
            ("parameters", "24,795,349", "24.79", "24,794,837 without LN's own parameters"),
        ),
        row(
            "+ 5 CBAM, r=16, 7x7x7",
            lambda: _tsm("tsm_nl5", ConvBlockAttention),
            ("parameters", "24,794,176", "24.80", "cause not found"),
        ),
        row(
            "+ 5 RNL, 3x7x7 in res3, 3x3x3 in res4",
            lambda: _tsm("tsm_nl5", _released_rnl),
            ("thop B", "41.1490", "41.15"),
            ("parameters, released", "35,483,088", "35.48"),
            ("parameters", "28,128,720"),
            ("MAC", "41.4616"),
        ),
        row(
            "+ 5 [SE + RNL], as released",
            lambda: _tsm("tsm_nl5", _released_chain),
            ("thop B", "41.1499", "41.16", "cause not found"),
            ("parameters, released", "35,946,704", "35.95"),
        ),
        row(
            "+ 5 RNL, 3x7x7",
            lambda: _tsm("tsm_nl5", RegionNonLocal),
            ("parameters", "28,313,040"),
            ("MAC", "41.7506"),
            ("products", "47.8350"),
            ("MAC + products", "89.6"),
        ),
        row(
            "+ 5 RNL, 3x7x7, sub-sampled",
            lambda: _tsm("tsm_nl5", functools.partial(RegionNonLocal, subsample=(1, 2, 2))),
            ("products", "11.9587"),
        ),
        row(
            "1 RNL in res3, convolution",
            lambda: alone(RegionNonLocal),
            ("thop B", "1.6554", "1.65", "34.54 - 32.89, both rounded"),
            ("parameters, released", "2,672,384", "2.67"),
        ),
        row(
            "1 RNL in res3, pooling",
            lambda: alone(functools.partial(RegionNonLocal, region="average")),
            ("thop B", "1.6554", "1.65", "34.54 - 32.89, both rounded"),
            ("parameters", "263,936", "0.26"),
        ),
    ),
)

NL = Table(
    "NL: Wang et al. 2018. ResNet-50, 32x224x224, 400 classes",
    "1 MAC is 1 FLOP.",
    (
        row("C2D", lambda: _frames_32(50), ("parameters", "24,327,632"), ("MAC", "20.2336")),
        row(
            "C2D + 5 NL",
            lambda: _frames_32(50, "c2d", "nl5", fair_nl),
            ("parameters", "31,686,096"),
            ("MAC", "25.3716"),
            ("products", "2.9897"),
        ),
        row(
            "C2D + 10 NL",
            lambda: _frames_32(50, "c2d", "nl10", fair_nl),
            ("parameters", "39,044,560"),
            ("MAC", "30.5097"),
            ("products", "5.9794"),
        ),
        row(
            "I3D 3x1x1", lambda: _frames_32(50, "i3d_3x1x1"), ("parameters", "28,043,472"), ("MAC", "32.8300")
        ),
        row(
            "I3D 3x3x3", lambda: _frames_32(50, "i3d_3x3x3"), ("parameters", "33,433,808"), ("MAC", "38.6882")
        ),
    ),
)

NL_101 = Table(
    "NL: Wang et al. 2018. ResNet-101, 32x224x224, 400 classes",
    "1 MAC is 1 FLOP; x is the ratio to C2D.",
    (
        row(
            "C2D",
            lambda: _frames_32(101),
            ("parameters", "43,319,760"),
            ("MAC", "35.0825", "34.2", "strides on the 3x3 as the code does; see the next row"),
        ),
        row(
            "C2D, stride on the first 1x1",
            lambda: _frames_32(101, topology="paper_32"),
            ("MAC", "34.1722", "34.2"),
        ),
        row(
            "I3D 3x3x3",
            lambda: _frames_32(101, "i3d_3x3x3"),
            ("parameters", "1.455x", "1.5"),
            ("MAC", "1.763x", "1.8"),
        ),
        row(
            "I3D 3x1x1",
            lambda: _frames_32(101, "i3d_3x1x1"),
            ("parameters", "1.195x", "1.2"),
            ("MAC", "1.464x", "1.5"),
        ),
        row(
            "C2D + 5 NL",
            lambda: _frames_32(101, "c2d", "nl5", fair_nl),
            ("parameters", "1.170x", "1.2"),
            ("MAC + products", "1.232x", "1.2"),
        ),
    ),
)

BAT_IMAGES = Table(
    "BAT: Chi et al. 2020. Images, ResNet-50, 224x224, 1000 classes",
    "The paper's FLOPs are thop A, which does not see the products of the transforms.",
    (
        row("baseline", _image, ("thop A", "4.1358"), ("parameters", "25,557,032")),
        row("k=1", lambda: _image(spatial_groups=1), ("thop A", "5.4351"), ("parameters", "30,175,111")),
        row("k=4", lambda: _image(spatial_groups=4), ("thop A", "5.4373"), ("parameters", "30,234,220")),
        row(
            "k=4, full resolution, s=(28, 14)",
            lambda: _image(transform="full_resolution"),
            ("parameters", "31,862,980"),
        ),
        row(
            "k=4, downsampling",
            lambda: _image(transform="downsampling"),
            ("thop A", "5.2223"),
            ("parameters", "30,234,220"),
        ),
    ),
)

BAT_VIDEOS = Table(
    "BAT: Chi et al. 2020. Videos, ResNet-50, 8x224x224",
    "The paper's FLOPs are thop C; it adds the products of NL at 2 for each MAC, its own at 0.",
    (
        row("C2D, 200 classes", lambda: _frames_8(200), ("thop C", "19.5452"), ("parameters", "23,917,832")),
        row(
            "C2D + NL, 200 classes",
            lambda: _frames_8(200, make_block=fair_nl),
            ("thop C", "24.7155"),
            ("products", "2.9897"),
            ("thop C + 2 products", "30.6949"),
            ("parameters", "31,276,296"),
        ),
        row(
            "C2D + BAT(4, 4), 200 classes",
            lambda: _frames_8(200, make_block=functools.partial(video_bat, spatial_groups=4)),
            ("thop C", "24.7510", "24.77", "cause not found"),
            ("parameters", "28,600,460"),
        ),
        row(
            "I3D 3x1x1, 400 classes",
            lambda: _frames_8(400, "i3d_3x1x1"),
            ("thop C", "28.3655"),
            ("parameters", "28,043,472", "28.4", "cause not found"),
        ),
        row(
            "C2D + BAT(8, 4), 400 classes",
            lambda: _frames_8(400, make_block=functools.partial(video_bat, spatial_groups=8)),
            ("thop C", "24.7635"),
            ("parameters", "29,190,232"),
        ),
    ),
)
