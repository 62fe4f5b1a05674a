"""NonLocal: every position looks at every other one."""

import keras

from keras_nonlocal.affinity import softmax_aggregate
from keras_nonlocal.arguments import bottleneck_width, check_bottleneck, check_choice
from keras_nonlocal.positions import (
    check_fits,
    check_map,
    check_window,
    flatten_positions,
    max_pool,
    restore_positions,
)
from keras_nonlocal.projection import closing_norm, projection

PAIRWISE = ("embedded_gaussian",)
POOL_ORDERS = ("after", "before")


@keras.saving.register_keras_serializable("keras_nonlocal")
class NonLocal(keras.layers.Layer):
    """Non-local block: a weighted sum over all positions, added to the input.

    Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, arXiv 1711.07971,
    equations 1, 4 and 6, with the embedded Gaussian as pairwise function:

        y_i = sum_j softmax_j(theta(x_i) . phi(x_j)) g(x_j),  z = x + BN(W_z y)

    Shapes:
        [B, L, C], [B, H, W, C] or [B, T, H, W, C] -> the same; all but C may be unknown.

    Args:
        pairwise: "embedded_gaussian", the softmax above.
        channels: width d of theta, phi and g; None means C // 2.
        subsample: max-pool window (t, h, w) for keys and values, stride = window; images use
            its last two entries, sequences the last one. None keeps every position.
        pool_order: "after" pools phi(x) and g(x), as the paper's section 3.3; "before" pools x
            once and then applies phi and g.
        scaled: True multiplies the logits by d^-1/2.
        kernel_initializer: of theta, phi, g and W_z; their biases start at 0.

    Call:
        training: True makes BN use the statistics of the batch.

    Cost:
        N = T*H*W positions, M = N / (t*h*w) keys: attention O(N M d) products and O(N M)
        memory, projections O(N C d).

    Differs:
        The paper and TSM's code pool after phi and g and do not scale: the defaults. The
        authors' code pools x first and scales: pool_order="before", scaled=True; max-pooling
        and a 1x1x1 convolution do not commute, so weights of one kind need their own order.
        Start: He normal as in the paper; the authors' code has
        keras.initializers.RandomNormal(stddev=0.01), TSM's torch's default, which is
        VarianceScaling(1 / 3, "fan_in", "uniform").

    Raises:
        ValueError: an unknown `pairwise` or `pool_order`; `channels` below 1; a `subsample`
            window larger than the map; a rank other than 3, 4, 5; unknown channels; a
            channels_first data format.

    Example:
        >>> import math, keras
        >>> layer = NonLocal()
        >>> layer(keras.Input((8, 28, 28, 512))).shape
        (None, 8, 28, 28, 512)
        >>> sum(math.prod(w.shape) for w in layer.trainable_weights)
        526592
    """

    def __init__(
        self,
        *,
        pairwise="embedded_gaussian",
        channels=None,
        subsample=(1, 2, 2),
        pool_order="after",
        scaled=False,
        kernel_initializer="he_normal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_choice(self, "pairwise", pairwise, PAIRWISE)
        check_choice(self, "pool_order", pool_order, POOL_ORDERS)
        check_bottleneck(self, channels)
        self.pairwise = pairwise
        self.channels = channels
        self.subsample = None if subsample is None else check_window("subsample", subsample, self.name)
        self.pool_order = pool_order
        self.scaled = scaled
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        """Create the weights for inputs of this shape."""
        channels = check_map(self, input_shape)
        if self.subsample is not None:
            check_fits(self, self.subsample, input_shape)
        width = bottleneck_width(self, channels)

        self.theta = projection(self, width, "theta")
        self.phi = projection(self, width, "phi")
        self.g = projection(self, width, "g")
        self.out = projection(self, channels, "out")
        self.norm = closing_norm(self)
        for child in (self.theta, self.phi, self.g):
            child.build(input_shape)
        self.out.build((*input_shape[:-1], width))
        self.norm.build(input_shape)

    def call(self, x, training=None):
        """Add to each position what it gathers from all keys."""
        theta = self.theta(x)  # [B, ..., d]
        phi, g = self._keys_and_values(x)  # [B, ..., d], fewer positions where sub-sampled
        scale = theta.shape[-1] ** -0.5 if self.scaled else 1.0
        y = softmax_aggregate(flatten_positions(theta), flatten_positions(phi), flatten_positions(g), scale)
        y = restore_positions(y, like=x)  # [B, ..., d]
        return x + self.norm(self.out(y), training=training)

    def _keys_and_values(self, x):
        if self.subsample is None:
            return self.phi(x), self.g(x)
        if self.pool_order == "before":
            x = max_pool(x, self.subsample)
            return self.phi(x), self.g(x)
        return max_pool(self.phi(x), self.subsample), max_pool(self.g(x), self.subsample)

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Return every argument of the constructor."""
        return {
            **super().get_config(),
            "pairwise": self.pairwise,
            "channels": self.channels,
            "subsample": self.subsample,
            "pool_order": self.pool_order,
            "scaled": self.scaled,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
