"""What the NL paper prints: Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018."""

from functools import partial

from papers_networks import RES4, alone, fair_nl, frames_32, whole_nl
from papers_rows import Table, row

from keras_nonlocal import NonLocal

_C2D_101 = partial(frames_32, 101)

STRIDES = (
    "With the stride of a stage on its first 1x1, for which the released code has an unused switch, and not "
    "on the 3x3 it is 34.1722. But then I3D 3x1x1 would be 1.442x: no network has both figures."
)
BY_A_QUARTER = "The text says 'by 1/4'. Of the pairwise products 1/4 is left: one key in four stays."

NL = Table(
    "NL (Wang et al. 2018), table 2e with its caption, and text. 32x224x224, 400 classes",
    "Networks of the released code, as its own counter has them: 1 MAC is 1 FLOP, products of attention are "
    "counted, biases and BN are not. x and % refer to the C2D ResNet-101, in the last row to a block without "
    "sub-sampling.",
    (
        row(
            "C2D, R101",
            _C2D_101,
            ("kernels", "43.2", "43,214,016"),
            ("MAC + products", "34.2", "35.0825", STRIDES),
        ),
        row(
            "I3D 3x3x3, R101",
            partial(frames_32, 101, "i3d_3x3x3"),
            ("kernels", "1.5x", "1.456x"),
            ("MAC + products", "1.8x", "1.763x"),
            base=_C2D_101,
        ),
        row(
            "I3D 3x1x1, R101",
            partial(frames_32, 101, "i3d_3x1x1"),
            ("kernels", "1.2x", "1.195x"),
            ("MAC + products", "1.5x", "1.464x"),
            base=_C2D_101,
        ),
        row(
            "C2D + 5 NL, R101",
            partial(frames_32, 101, "c2d", "nl5", fair_nl),
            ("kernels", "1.2x", "1.170x"),
            ("MAC + products", "1.2x", "1.232x"),
            base=_C2D_101,
        ),
        row(
            "C2D + 5 NL, R50 (section 5.1)",
            partial(frames_32, 50, "c2d", "nl5", fair_nl),
            ("kernels", "~70%", "73.2%"),
            ("MAC + products", "~80%", "80.8%"),
            base=_C2D_101,
        ),
        row(
            "NL, sub-sampled (section 3.3)",
            partial(alone, NonLocal, RES4),
            ("products", "0.75x", "0.250x", BY_A_QUARTER),
            base=partial(alone, whole_nl, RES4),
        ),
    ),
)
