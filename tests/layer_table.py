"""The layers of the conformance suite: a new layer joins with one row for each rank that it takes."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import oracles

from keras_nonlocal import DepthwiseConv3D, NonLocal, RegionNonLocal, TemporalShift
from keras_nonlocal.frame_wise import FrameWise


class Row(NamedTuple):
    layer: Callable
    arguments: dict  # none of them at its default
    shape: tuple
    oracle: Callable
    identity_at_start: bool = False


def frame_wise(dtype=None, **kwargs):
    conv = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, dtype=dtype, name="layer")
    return FrameWise(conv, dtype=dtype, **kwargs)


NON_LOCAL = {"channels": 3, "scaled": True, "kernel_initializer": "glorot_uniform"}
REGION = {"kernel_size": (3, 1, 3), "channels": 3, "kernel_initializer": "glorot_uniform"}
REGION |= {"region_initializer": "he_uniform", "subsample": (2, 2, 1)}
DEPTHWISE = {"kernel_size": (3, 1, 3), "use_bias": True, "kernel_initializer": "he_uniform"}
DEPTHWISE |= {"bias_initializer": "ones"}
BEFORE = NON_LOCAL | {"subsample": (2, 1, 2), "pool_order": "before"}
WHOLE = NON_LOCAL | {"subsample": None}

ROWS = {
    "non_local_video": Row(NonLocal, BEFORE, (2, 4, 3, 4, 4), oracles.non_local, True),
    "non_local_image": Row(NonLocal, BEFORE, (2, 4, 5, 4), oracles.non_local, True),
    "non_local_sequence": Row(NonLocal, WHOLE, (2, 6, 4), oracles.non_local, True),
    "region_video": Row(RegionNonLocal, REGION, (2, 4, 4, 3, 4), oracles.region_non_local, True),
    "region_image": Row(RegionNonLocal, REGION, (2, 4, 5, 4), oracles.region_non_local, True),
    "region_sequence": Row(RegionNonLocal, REGION, (2, 6, 4), oracles.region_non_local, True),
    "depthwise_video": Row(DepthwiseConv3D, DEPTHWISE, (2, 3, 4, 3, 2), oracles.depthwise_conv3d),
    "depthwise_image": Row(DepthwiseConv3D, DEPTHWISE, (2, 4, 5, 2), oracles.depthwise_conv3d),
    "depthwise_sequence": Row(DepthwiseConv3D, DEPTHWISE, (2, 6, 2), oracles.depthwise_conv3d),
    "shift_video": Row(TemporalShift, {"divisor": 3}, (2, 4, 3, 2, 7), oracles.temporal_shift),
    "shift_sequence": Row(TemporalShift, {"divisor": 3}, (2, 4, 7), oracles.temporal_shift),
    "frame_wise": Row(frame_wise, {}, (2, 3, 4, 5, 2), oracles.frame_wise_conv),
}
