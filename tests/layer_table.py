"""The layers of the conformance suite: a new layer joins with one row for each rank that it takes."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import oracles
import oracles_bilinear
import oracles_channels
import oracles_compact
import pytest

from keras_nonlocal import (
    AttentionChain,
    BilinearAttentionTransform,
    CompactGeneralizedNonLocal,
    ConvBlockAttention,
    DepthwiseConv3D,
    GlobalContext,
    NonLocal,
    PlainResidual,
    RegionNonLocal,
    SqueezeExcite,
    TemporalShift,
)
from keras_nonlocal.frame_wise import FrameWise


class Row(NamedTuple):
    layer: Callable
    arguments: dict  # none of them at its default
    shape: tuple
    oracle: Callable
    identity_at_start: bool = False
    smallest: tuple = ()  # the smallest legal sides, where they are not all 1


def make(row, **kwargs):
    """Returns the layer of a row with random weights, these weights by name in float64, and an input."""
    layer, weights = oracles.randomise(row.layer(**row.arguments, **kwargs), row.shape)
    return layer, weights, np.random.default_rng(7).standard_normal(row.shape)


def model_of(layer, shape):
    """Returns a model that knows nothing of its input but rank and channels."""
    inputs = keras.Input((*[None] * (len(shape) - 2), shape[-1]))
    return keras.Model(inputs, layer(inputs))


def frame_wise(dtype=None, **kwargs):
    conv = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, dtype=dtype, name="layer")
    return FrameWise(conv, dtype=dtype, **kwargs)


def attention_chain(channel=SqueezeExcite, dtype=None, **kwargs):
    arguments = {"norm": "batch"} if channel is GlobalContext else {}
    return AttentionChain(
        channel(ratio=2, **arguments, dtype=dtype, name="channel"),
        RegionNonLocal((3, 1, 3), channels=3, dtype=dtype, name="region"),
        dtype=dtype,
        **kwargs,
    )


def gated_chain(**kwargs):
    return attention_chain(GlobalContext, **kwargs)


PLAIN = {"channels": 3, "kernel_initializer": "glorot_uniform"}
NON_LOCAL = PLAIN | {"scaled": True}
REGION = PLAIN | {"kernel_size": (3, 1, 3), "subsample": (2, 2, 1), "region_initializer": "he_uniform"}
DEPTHWISE = {"kernel_size": (3, 1, 3), "use_bias": True, "kernel_initializer": "he_uniform"}
DEPTHWISE |= {"bias_initializer": "ones"}
BEFORE = NON_LOCAL | {"subsample": (2, 1, 2), "pool_order": "before"}
WHOLE = NON_LOCAL | {"subsample": None}
WINDOWS = PLAIN | {"pairwise": "dot_product", "window_frames": 2, "subsample": (2, 1, 2)}
SPACE = PLAIN | {"pairwise": "gaussian", "reach": "space", "subsample": (2, 1, 2), "batch_norm": False}
TIME = PLAIN | {"pairwise": "concatenation", "reach": "time", "window_frames": 2, "subsample": None}
PAIRS = PLAIN | {"pairwise": "concatenation", "subsample": (2, 2, 2)}
COSINE = REGION | {"pairwise": "cosine", "batch_norm": False}
UNIT = REGION | {"normalize": True}
RELU = PLAIN | {"kernel_size": (3, 3, 3), "pairwise": "dot_product", "relu": True, "region": "average"}
LARGEST = PLAIN | {"kernel_size": (3, 5, 3), "pairwise": "dot_product", "region": "maximum"}

SQUEEZE = {"ratio": 2, "kernel_initializer": "glorot_uniform"}
CONTEXT = {"ratio": 2, "kernel_initializer": "glorot_uniform"}
CONV_BLOCK = {"ratio": 2, "kernel_size": (3, 1, 3), "kernel_initializer": "glorot_uniform"}
PAPER_CONV_BLOCK = CONV_BLOCK | {"use_bias": False, "batch_norm": False}
MULTIPLY, BATCH = SQUEEZE | {"mode": "multiply"}, CONTEXT | {"norm": "batch"}

COMPACT = {"groups": 2, "channels": 6, "kernel_initializer": "glorot_uniform"}
DOT = COMPACT | {"use_bias": True, "scaled": True}
RBF = COMPACT | {"pairwise": "gaussian_rbf", "order": 2, "gamma": 0.2, "norm": "group"}
UNIT_SERIES = COMPACT | {"pairwise": "gaussian_rbf", "gamma": 0.4, "normalize": True}
SERIES = COMPACT | {"pairwise": "embedded_gaussian", "order": 2, "grouped_out": False, "norm": "group"}

BILINEAR = {"spatial_groups": 2, "channels": 6, "dropout": 0.5, "kernel_initializer": "glorot_uniform"}
PLACED = BILINEAR | {"size": 1, "matrix_size": 2}
SOFTMAX = BILINEAR | {"size": 2, "temporal_groups": 3, "temporal_size": 2, "normalization": "softmax"}
FITTED, SMALL = SOFTMAX | {"matrix_size": "fitted"}, SOFTMAX | {"transform": "downsampling"}
OBLONG = SOFTMAX | {"size": (2, 1), "context_channels": 5, "matrix_size": (2, 2)}
FRAMES = SOFTMAX | {"spatial_groups": 0}

ROWS = {
    "non_local_video": Row(NonLocal, BEFORE, (2, 4, 3, 4, 4), oracles.non_local, True),
    "non_local_image": Row(NonLocal, BEFORE, (2, 4, 5, 4), oracles.non_local, True),
    "non_local_sequence": Row(NonLocal, WHOLE, (2, 6, 4), oracles.non_local, True),
    "non_local_windows": Row(NonLocal, WINDOWS, (2, 4, 3, 4, 4), oracles.non_local, True, (2, 1, 2)),
    "non_local_space": Row(NonLocal, SPACE, (2, 2, 3, 4, 4), oracles.non_local, True, (1, 1, 2)),
    "non_local_time": Row(NonLocal, TIME, (2, 4, 3, 2, 4), oracles.non_local, True, (2, 1, 1)),
    "non_local_pairs": Row(NonLocal, PAIRS, (2, 4, 5, 4), oracles.non_local, True, (2, 2)),
    "region_cosine": Row(RegionNonLocal, COSINE, (2, 4, 4, 3, 4), oracles.region_non_local, True, (2, 2, 1)),
    "region_unit": Row(RegionNonLocal, UNIT, (2, 4, 4, 3, 4), oracles.region_non_local, True, (2, 2, 1)),
    "region_relu": Row(RegionNonLocal, RELU, (2, 3, 4, 5, 4), oracles.region_non_local, True),
    "region_largest": Row(RegionNonLocal, LARGEST, (2, 3, 4, 5, 4), oracles.region_non_local, True),
    "region_video": Row(RegionNonLocal, REGION, (2, 4, 4, 3, 4), oracles.region_non_local, True),
    "region_image": Row(RegionNonLocal, REGION, (2, 4, 5, 4), oracles.region_non_local, True),
    "region_sequence": Row(RegionNonLocal, REGION, (2, 6, 4), oracles.region_non_local, True),
    "depthwise_video": Row(DepthwiseConv3D, DEPTHWISE, (2, 3, 4, 3, 2), oracles.depthwise_conv3d),
    "depthwise_image": Row(DepthwiseConv3D, DEPTHWISE, (2, 4, 5, 2), oracles.depthwise_conv3d),
    "depthwise_sequence": Row(DepthwiseConv3D, DEPTHWISE, (2, 6, 2), oracles.depthwise_conv3d),
    "shift_video": Row(TemporalShift, {"divisor": 3}, (2, 4, 3, 2, 7), oracles.temporal_shift),
    "shift_sequence": Row(TemporalShift, {"divisor": 3}, (2, 4, 7), oracles.temporal_shift),
    "frame_wise": Row(frame_wise, {}, (2, 3, 4, 5, 2), oracles.frame_wise_conv),
    "squeeze_video": Row(SqueezeExcite, SQUEEZE, (2, 2, 4, 3, 9), oracles_channels.squeeze_excite, True),
    "squeeze_image": Row(SqueezeExcite, MULTIPLY, (2, 4, 5, 8), oracles_channels.squeeze_excite),
    "squeeze_sequence": Row(SqueezeExcite, MULTIPLY, (2, 6, 8), oracles_channels.squeeze_excite),
    "context_video": Row(GlobalContext, CONTEXT, (2, 2, 4, 3, 7), oracles_channels.global_context, True),
    "context_image": Row(GlobalContext, BATCH, (2, 4, 5, 4), oracles_channels.global_context, True),
    "context_sequence": Row(GlobalContext, BATCH, (2, 6, 4), oracles_channels.global_context, True),
    "conv_block_video": Row(
        ConvBlockAttention, CONV_BLOCK, (2, 3, 4, 3, 4), oracles_channels.conv_block_attention
    ),
    "conv_block_image": Row(
        ConvBlockAttention, CONV_BLOCK, (2, 4, 5, 4), oracles_channels.conv_block_attention
    ),
    "conv_block_sequence": Row(
        ConvBlockAttention, CONV_BLOCK, (2, 6, 4), oracles_channels.conv_block_attention
    ),
    "conv_block_paper": Row(
        ConvBlockAttention, PAPER_CONV_BLOCK, (2, 3, 4, 3, 4), oracles_channels.conv_block_attention
    ),
    "plain_video": Row(PlainResidual, PLAIN, (2, 3, 4, 3, 4), oracles.plain_residual, True),
    "plain_image": Row(PlainResidual, PLAIN, (2, 4, 5, 4), oracles.plain_residual, True),
    "plain_sequence": Row(PlainResidual, PLAIN, (2, 6, 4), oracles.plain_residual, True),
    "chain_video": Row(attention_chain, {}, (2, 3, 4, 3, 8), oracles_channels.attention_chain, True),
    "chain_image": Row(gated_chain, {}, (2, 4, 5, 4), oracles_channels.gated_chain, True),
    "chain_sequence": Row(attention_chain, {}, (2, 6, 8), oracles_channels.attention_chain, True),
    "compact_video": Row(
        CompactGeneralizedNonLocal, RBF, (2, 2, 4, 3, 4), oracles_compact.compact_generalized, True
    ),
    "compact_image": Row(
        CompactGeneralizedNonLocal, SERIES, (2, 4, 5, 4), oracles_compact.compact_generalized, True
    ),
    "compact_sequence": Row(
        CompactGeneralizedNonLocal, DOT, (2, 6, 4), oracles_compact.compact_generalized, True
    ),
    "compact_no_norm": Row(
        CompactGeneralizedNonLocal,
        DOT | {"pairwise": "gaussian_rbf", "norm": None},
        (2, 4, 3, 4),
        oracles_compact.compact_generalized,
        True,
    ),
    "compact_unit": Row(
        CompactGeneralizedNonLocal, UNIT_SERIES, (2, 2, 4, 3, 4), oracles_compact.compact_generalized, True
    ),
    "bilinear_video": Row(
        BilinearAttentionTransform,
        FITTED,
        (2, 2, 4, 2, 4),
        oracles_bilinear.bilinear_attention,
        smallest=(2, 2, 2),
    ),
    "bilinear_image": Row(
        BilinearAttentionTransform,
        PLACED,
        (2, 4, 6, 4),
        oracles_bilinear.bilinear_attention,
        smallest=(2, 2),
    ),
    "bilinear_oblong": Row(
        BilinearAttentionTransform,
        OBLONG,
        (2, 2, 4, 2, 4),
        oracles_bilinear.bilinear_attention,
        smallest=(2, 2, 2),
    ),
    "bilinear_frames": Row(
        BilinearAttentionTransform,
        FRAMES,
        (2, 4, 3, 2, 4),
        oracles_bilinear.bilinear_attention,
        smallest=(2, 1, 1),
    ),
    "bilinear_small_video": Row(
        BilinearAttentionTransform,
        SMALL,
        (2, 2, 4, 2, 4),
        oracles_bilinear.bilinear_attention,
        smallest=(2, 2, 2),
    ),
    "bilinear_small_image": Row(
        BilinearAttentionTransform,
        SMALL,
        (2, 4, 6, 4),
        oracles_bilinear.bilinear_attention,
        smallest=(2, 2),
    ),
}

_first_rows = {row.layer: name for name, row in reversed(ROWS.items())}
# For tests that take a second or more: the first row of each layer, and the others marked as long.
ROWS_OF_EACH_LAYER = [
    name if name in _first_rows.values() else pytest.param(name, marks=pytest.mark.long) for name in ROWS
]
