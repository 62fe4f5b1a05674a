"""Non-local attention blocks for video, images and sequences, as Keras 3 layers and models.

Imports only `keras` and `numpy`, so that the layers run on every Keras backend.
"""

from keras_nonlocal.depthwise_conv3d import DepthwiseConv3D
from keras_nonlocal.non_local import NonLocal
from keras_nonlocal.region_non_local import RegionNonLocal
from keras_nonlocal.resnet import VideoResNet
from keras_nonlocal.temporal_shift import TemporalShift

__all__ = ["DepthwiseConv3D", "NonLocal", "RegionNonLocal", "TemporalShift", "VideoResNet"]
