"""Non-local attention blocks for video, images and sequences, as Keras 3 layers and models.

Imports only `keras` and `numpy`, so that the layers run on every Keras backend.
"""

from keras_nonlocal.attention_chain import AttentionChain
from keras_nonlocal.bilinear_transform import BilinearAttentionTransform
from keras_nonlocal.compact_generalized import CompactGeneralizedNonLocal
from keras_nonlocal.conv_block_attention import ConvBlockAttention
from keras_nonlocal.depthwise_conv3d import DepthwiseConv3D
from keras_nonlocal.global_context import GlobalContext
from keras_nonlocal.insertion import insert_blocks
from keras_nonlocal.non_local import NonLocal
from keras_nonlocal.plain_residual import PlainResidual
from keras_nonlocal.presets import save_to_preset
from keras_nonlocal.pyramid import feature_pyramid
from keras_nonlocal.region_non_local import RegionNonLocal
from keras_nonlocal.resnet import ImageResNet, VideoResNet
from keras_nonlocal.squeeze_excite import SqueezeExcite
from keras_nonlocal.temporal_shift import TemporalShift

__version__ = "0.1.0"

__all__ = [
    "AttentionChain",
    "BilinearAttentionTransform",
    "CompactGeneralizedNonLocal",
    "ConvBlockAttention",
    "DepthwiseConv3D",
    "GlobalContext",
    "ImageResNet",
    "NonLocal",
    "PlainResidual",
    "RegionNonLocal",
    "SqueezeExcite",
    "TemporalShift",
    "VideoResNet",
    "feature_pyramid",
    "insert_blocks",
    "save_to_preset",
]
