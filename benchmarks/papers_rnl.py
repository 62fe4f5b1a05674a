"""What the RNL paper prints: Huang, Bors, "Region-based Non-local Operation", 2020."""

from functools import partial

from papers_networks import alone, channel_wise, conventional, released_rnl, se_rnl, tsm
from papers_rows import Table, row

from keras_nonlocal import ConvBlockAttention, GlobalContext, NonLocal, RegionNonLocal, SqueezeExcite

LN_LEFT_OUT = "512 of ours are the scales and offsets of LN; without them it rounds to 24.79."
CBAM = (
    "Not found. The text does not describe its CBAM. A larger kernel is not it: one with 824 weights more, "
    "which 24.80 needs, would have 32.91 G."
)
GATE = (
    "The chain of the text has SE. With the channel gate of the released code (GC's mask, r=16) at all five "
    "places both figures of the row come out: 41.1612 and 35,950,805."
)
CLASSES = "The paper repeats the figures of 400 classes; this data set has 174, as ours."
DIFFERENCE = "It is 34.54 - 32.89, the difference of two rounded figures."

_NL = partial(tsm, NonLocal)
_RNL = partial(tsm, released_rnl)
_NOTE = (
    "FLOPs by thop B, which sees neither F_theta nor the products of attention. The parameters of RNL are "
    "those of the released code: a dense kernel and a mask in the place of a channel-wise kernel."
)

KINETICS = Table(
    "RNL (Huang and Bors 2020), table III, Kinetics-400. TSM ResNet-50, 8x224x224",
    _NOTE + " Its RNL is 3x7x7 in res3 and 3x3x3 in res4.",
    (
        row("baseline", tsm, ("thop B", "32.89", "32.8888"), ("parameters", "24.33", "24,327,632")),
        row(
            "+ 5 SE, r=16",
            partial(tsm, SqueezeExcite),
            ("thop B", "32.89", "32.8898"),
            ("parameters", "24.79", "24,791,248"),
        ),
        row(
            "+ 5 CBAM, r=16, 7x7x7",
            partial(tsm, ConvBlockAttention),
            ("thop B", "32.90", "32.9025"),
            ("parameters", "24.80", "24,794,176", CBAM),
        ),
        row(
            "+ 5 GC, r=16",
            partial(tsm, GlobalContext),
            ("thop B", "32.90", "32.9006"),
            ("parameters", "24.79", "24,795,349", LN_LEFT_OUT),
        ),
        row("+ 5 NL", _NL, ("thop B", "49.38", "49.3811"), ("parameters", "31.69", "31,686,096")),
        row(
            "+ 5 RNL",
            _RNL,
            ("thop B", "41.15", "41.1490"),
            ("parameters, released", "35.48", "35,483,088"),
        ),
        row(
            "+ 5 [SE + RNL], r=16",
            partial(tsm, se_rnl),
            ("thop B", "41.16", "41.1499", GATE),
            ("parameters, released", "35.95", "35,946,704"),
        ),
        row(
            "+ 5 RNL against + 5 NL (section IV-B)",
            _RNL,
            ("thop B", "-8.23", "-8.2321"),
            base=_NL,
        ),
    ),
)

SOMETHING = Table(
    "RNL, table III, Something-Something V1, which has 174 classes",
    "Counted as in the table above.",
    tuple(
        row(
            name,
            partial(tsm, make_block, 174),
            ("thop B", printed, flops, CLASSES),
            (parameters, printed_parameters, ours, CLASSES),
        )
        for name, make_block, parameters, printed, flops, printed_parameters, ours in (
            ("baseline", None, "parameters", "32.89", "32.8814", "24.33", "23,864,558"),
            ("+ 5 NL", NonLocal, "parameters", "49.38", "49.3737", "31.69", "31,223,022"),
            ("+ 5 RNL", released_rnl, "parameters, released", "41.15", "41.1416", "35.48", "35,020,014"),
            ("+ 5 [SE + RNL]", se_rnl, "parameters, released", "41.16", "41.1425", "35.95", "35,483,630"),
        )
    ),
)

BLOCK = Table(
    "RNL, table IIc and text. One block in res3, 8x28x28x512",
    "Counted as in the table above.",
    (
        row(
            "channel-wise convolution, 3x7x7",
            partial(alone, RegionNonLocal),
            ("thop B", "1.65", "1.6554", DIFFERENCE),
            ("parameters, released", "2.67", "2,672,384"),
        ),
        *(
            row(
                f"{kind} pooling",
                partial(alone, partial(RegionNonLocal, region=region)),
                ("thop B", "1.65", "1.6554", DIFFERENCE),
                ("parameters", "0.26", "263,936"),
            )
            for kind, region in (("average", "average"), ("max", "maximum"))
        ),
        row(
            "pooling against convolution (section IV-A)",
            partial(alone, partial(RegionNonLocal, region="average")),
            ("parameters, released", "-2.4", "-2,408,448"),
            base=partial(alone, RegionNonLocal),
        ),
        row(
            "F_theta if conventional: C=256 times as much (III-C)",
            partial(alone, conventional, (8, 28, 28, 256)),
            ("parameters", "256x", "256.00x"),
            ("MAC", "256x", "256.00x"),
            base=partial(alone, channel_wise, (8, 28, 28, 256)),
        ),
    ),
)
