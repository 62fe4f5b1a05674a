"""RegionNonLocal: attention between regions instead of single positions."""

import math

import keras

from keras_nonlocal.affinity import softmax_aggregate
from keras_nonlocal.arguments import bottleneck_width, check_bottleneck, check_choice
from keras_nonlocal.depthwise_conv3d import DepthwiseConv3D
from keras_nonlocal.positions import (
    check_fits,
    check_kernel,
    check_map,
    check_window,
    flatten_positions,
    max_pool,
    restore_positions,
    window_of,
)
from keras_nonlocal.projection import closing_norm, projection

PAIRWISE = ("gaussian",)


@keras.saving.register_keras_serializable("keras_nonlocal")
class RegionNonLocal(keras.layers.Layer):
    """Non-local block whose affinity compares a neighbourhood of each position.

    Huang and Bors, "Region-based Non-local Operation for Video Classification", ICPR 2020,
    arXiv 2007.09033, section III:

        u = W_g x,  p = F_theta(u),  y_i = sum_j softmax_j(p_i . p_j) u_j,  z = x + BN(W_z y)

    F_theta is a depthwise convolution without bias; the logits are not scaled.

    Shapes:
        [B, L, C], [B, H, W, C] or [B, T, H, W, C] -> the same; all but C may be unknown.

    Args:
        kernel_size: the region (kt, kh, kw) in frames and pixels, or one int for all; odd.
            Images use the last two entries, sequences the last one.
        pairwise: "gaussian", the softmax above.
        channels: width d of u and p; None means C // 2.
        subsample: max-pool window (t, h, w) for keys and values, stride = window, applied
            after F_theta; None keeps every position.
        kernel_initializer: of W_g and W_z; their biases start at 0.
        region_initializer: of F_theta; None means the authors' code, see Differs.

    Call:
        training: True makes BN use the statistics of the batch.

    Cost:
        N = T*H*W positions: attention O(N^2 d) products and O(N^2) memory, F_theta
        O(N d kt kh kw), projections O(N C d).

    Differs:
        Paper and code: 3x7x7 everywhere against 3x7x7 in res3 and 3x3x3 in res4; the default
        follows the paper. F_theta's start follows the code, Xavier uniform with the fans of its
        grouped dense kernel, bound sqrt(6 / ((w + d) * kt * kh * kw)), w = d // max(d // 32, 1)
        channels in a group; the paper gives none. Sub-sampling exists in code only, off there too.
        The code's frozen mask is not needed for a true depthwise kernel.

    Raises:
        ValueError: an unknown `pairwise`; even kernel sides; `channels` below 1; a `subsample`
            window larger than the map; a rank other than 3, 4, 5; unknown channels; a
            channels_first data format.

    Example:
        >>> import math, keras
        >>> layer = RegionNonLocal(kernel_size=(3, 7, 7))
        >>> layer(keras.Input((8, 28, 28, 512))).shape
        (None, 8, 28, 28, 512)
        >>> sum(math.prod(w.shape) for w in layer.trainable_weights)
        301568
    """

    def __init__(
        self,
        kernel_size=(3, 7, 7),
        pairwise="gaussian",
        channels=None,
        subsample=None,
        kernel_initializer="he_normal",
        region_initializer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kernel_size = check_kernel(kernel_size, self.name)
        check_choice(self, "pairwise", pairwise, PAIRWISE)
        check_bottleneck(self, channels)
        self.pairwise = pairwise
        self.channels = channels
        self.subsample = None if subsample is None else check_window("subsample", subsample, self.name)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.region_initializer = keras.initializers.get(region_initializer)

    def build(self, input_shape):
        """Create the weights for inputs of this shape."""
        channels = check_map(self, input_shape)
        if self.subsample is not None:
            check_fits(self, self.subsample, input_shape)
        width = bottleneck_width(self, channels)
        inner_shape = (*input_shape[:-1], width)

        self.g = projection(self, width, "g")
        self.region = DepthwiseConv3D(
            self.kernel_size,
            kernel_initializer=self.region_initializer or self._released_initializer(width, input_shape),
            dtype=self.dtype_policy,
            name="region",
        )
        self.out = projection(self, channels, "out")
        self.norm = closing_norm(self)
        self.g.build(input_shape)
        self.region.build(inner_shape)
        self.out.build(inner_shape)
        self.norm.build(input_shape)

    def _released_initializer(self, width, input_shape):
        group_width = width // max(width // 32, 1)
        volume = math.prod(window_of(self.kernel_size, input_shape))
        bound = math.sqrt(6 / ((group_width + width) * volume))
        return keras.initializers.RandomUniform(-bound, bound)

    def call(self, x, training=None):
        """Add to each position what its region gathers from all regions."""
        u = self.g(x)  # [B, ..., d]
        p = self.region(u)  # [B, ..., d]
        keys, values = p, u
        if self.subsample is not None:
            keys, values = max_pool(keys, self.subsample), max_pool(values, self.subsample)
        y = softmax_aggregate(flatten_positions(p), flatten_positions(keys), flatten_positions(values))
        y = restore_positions(y, like=x)  # [B, ..., d]
        return x + self.norm(self.out(y), training=training)

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Return every argument of the constructor."""
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "pairwise": self.pairwise,
            "channels": self.channels,
            "subsample": self.subsample,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "region_initializer": keras.initializers.serialize(self.region_initializer),
        }
