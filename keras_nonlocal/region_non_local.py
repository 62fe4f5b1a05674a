"""RegionNonLocal: attention between regions instead of single positions."""

import math
from functools import partial

import keras
from keras import ops

from keras_nonlocal.affinity import (
    dot_product_aggregate,
    dot_product_weights,
    relu_aggregate,
    relu_weights,
    softmax_aggregate,
    softmax_weights,
)
from keras_nonlocal.arguments import bottleneck_width, check_bottleneck, check_choice
from keras_nonlocal.depthwise_conv3d import DepthwiseConv3D
from keras_nonlocal.positions import (
    check_fits,
    check_kernel,
    check_map,
    check_window,
    flatten_positions,
    max_pool,
    pool,
    restore_positions,
    window_of,
)
from keras_nonlocal.precision import at_least_float32
from keras_nonlocal.projection import FROZEN, closing_norm, projection

PAIRWISE = ("gaussian", "dot_product", "cosine")
REGIONS = {  # F_theta has stride 1 and keeps the sides; an average counts only positions inside the map
    "convolution": None,
    "average": partial(ops.average_pool, strides=1, padding="same", data_format="channels_last"),
    "maximum": partial(ops.max_pool, strides=1, padding="same", data_format="channels_last"),
}


@keras.saving.register_keras_serializable("keras_nonlocal")
class RegionNonLocal(keras.layers.Layer):
    """Non-local block whose affinity compares the neighbourhoods of positions.

    Huang and Bors, "Region-based Non-local Operation for Video Classification", ICPR 2020,
    arXiv 2007.09033, section III:

        u = W_g x,  p = F_theta(u),  y_i = 1/C(x) sum_j f(p_i, p_j) u_j,  z = x + BN(W_z y)

    Shapes:
        [B, L, C], [B, H, W, C] or [B, T, H, W, C] -> the same; all but C may be unknown.

    Args:
        kernel_size: the region (kt, kh, kw) in frames and pixels, or one int for all; odd.
            Images use the last two entries, sequences the last one.
        pairwise: the function f, with M keys j:
            "gaussian": exp(p_i . p_j), C(x) the sum of them: a softmax of logits without scale;
            "dot_product": p_i . p_j, C(x) = M;
            "cosine": ReLU(p_i . p_j / (|p_i| |p_j|)), C(x) = M.
        relu: True takes the positive part of the dot product.
        normalize: True gives each p_i length 1 before sub-sampling and f, as "cosine" does; with
            "gaussian" it is the `use_norm` of the authors' code, a softmax of cosines.
        region: F_theta over that region: "convolution", depthwise without bias; "average", of the
            positions inside the map; "maximum".
        channels: width d of u and p; None means C // 2.
        subsample: max-pool window (t, h, w) for keys and values, stride = window, applied
            after F_theta; None keeps every position.
        batch_norm: False leaves BN out and starts W_z at 0, for training with frozen batch norms.
        frozen_batch_norm: True keeps BN to its running statistics, and does not train it: gamma then starts
            at 1, and W_z at 0. None leaves that to `VideoResNet`.
        kernel_initializer: of W_g and W_z; their biases start at 0.
        region_initializer: of F_theta; None means the authors' code, see Differs.

    Call:
        training: True makes BN use the statistics of the batch.

    Cost:
        With N = T*H*W positions and M keys, F_theta takes O(N d kt kh kw) products, the projections
        O(N C d). Gaussian, cosine and `relu`: O(N M d) products and memory for a tile of the [N, M]
        matrix. Dot product: O((N + M) d^2), as p (p^T u).

    Differs:
        The paper has 3x7x7 everywhere, the code 3x7x7 in res3 and 3x3x3 in res4; the default
        follows the paper. F_theta's start follows the code: Xavier uniform with the fans of its
        grouped dense kernel, bound sqrt(6 / ((w + d) * kt * kh * kw)), w = d // max(d // 32, 1)
        channels in a group; the paper gives none. Sub-sampling exists in the code only, where it is
        off too; it pools keys after they are normalised. The code's dot product has relu=True, the
        paper's formula has no ReLU. The released weights are RegionNonLocal((3, 7, 7)) in res3 and
        RegionNonLocal((3, 3, 3)) in res4.
        The code's frozen mask is not needed for a true depthwise kernel.

    Raises:
        ValueError: an unknown `pairwise` or `region`; `relu` without the dot product; `normalize` with
            "cosine"; even kernel sides; `channels` below 1; a `subsample` window larger than the map; a
            rank other than 3, 4, 5; unknown channels; a channels_first data format.

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
        relu=False,
        normalize=False,
        region="convolution",
        channels=None,
        subsample=None,
        batch_norm=True,
        kernel_initializer="he_normal",
        region_initializer=None,
        frozen_batch_norm=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kernel_size = check_kernel(kernel_size, self.name)
        check_choice(self, "pairwise", pairwise, PAIRWISE)
        check_choice(self, "region", region, tuple(REGIONS))
        check_choice(self, "frozen_batch_norm", frozen_batch_norm, FROZEN)
        if relu and pairwise != "dot_product":
            raise ValueError(
                f"{self.name}: Expected `relu` only with 'dot_product': the others have no negative weights. "
                f"Received relu=True with {pairwise!r}. Try: relu=False."
            )
        if normalize and pairwise == "cosine":
            raise ValueError(
                f"{self.name}: Expected no `normalize` with 'cosine', which implies it. "
                "Received normalize=True with 'cosine'. Try: normalize=False."
            )
        check_bottleneck(self, channels)
        self.pairwise = pairwise
        self.relu = relu
        self.normalize = normalize
        self.region = region
        self.channels = channels
        self.subsample = None if subsample is None else check_window("subsample", subsample, self.name)
        self.batch_norm = batch_norm
        self.frozen_batch_norm = frozen_batch_norm
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.region_initializer = keras.initializers.get(region_initializer)

    def _check_shape(self, input_shape):
        """Returns the number of channels, or raises ValueError where the known sides do not fit the block."""
        channels = check_map(self, input_shape)
        check_fits(self, self.subsample or (1, 1, 1), input_shape)
        return channels

    def build(self, input_shape):
        """Creates the weights for inputs of this shape."""
        channels = self._check_shape(input_shape)
        width = bottleneck_width(self, channels)
        inner_shape = (*input_shape[:-1], width)

        self.g = projection(self, width, "g")
        self.g.build(input_shape)
        self.f_theta = self._pool_region
        if self.region == "convolution":
            initializer = self.region_initializer or self._released_initializer(width, input_shape)
            self.f_theta = DepthwiseConv3D(
                self.kernel_size, kernel_initializer=initializer, dtype=self.dtype_policy, name="region"
            )
            self.f_theta.build(inner_shape)
        self.out = projection(self, channels, "out", zero=self.frozen_batch_norm or not self.batch_norm)
        self.out.build(inner_shape)
        self.norm = closing_norm(self) if self.batch_norm else None
        if self.batch_norm:
            self.norm.build(input_shape)

    def _pool_region(self, u):
        return pool(u, self.kernel_size, REGIONS[self.region])

    def _released_initializer(self, width, input_shape):
        group_width = width // max(width // 32, 1)
        volume = math.prod(window_of(self.kernel_size, input_shape))
        bound = math.sqrt(6 / ((group_width + width) * volume))
        return keras.initializers.RandomUniform(-bound, bound)

    def call(self, x, training=None):
        """Adds to each position what its region gathers from all regions."""
        self._check_shape(x.shape)
        y = self._aggregate(*self.embed(x))  # [B, N, d]
        y = self.out(restore_positions(y, like=x))  # [B, ..., C]
        return x + (self.norm(y, training=training) if self.batch_norm else y)

    def embed(self, x):
        """Returns queries [B, N, d], keys [B, M, d] and values [B, M, d]."""
        u = self.g(x)  # [B, ..., d]
        p = self.f_theta(u)  # [B, ..., d]
        if self.normalize or self.pairwise == "cosine":
            p = _normalised(p)
        keys, values = p, u
        if self.subsample is not None:
            keys, values = max_pool(keys, self.subsample), max_pool(values, self.subsample)
        return tuple(map(flatten_positions, (p, keys, values)))

    def _aggregate(self, queries, keys, values):
        if self.pairwise == "gaussian":
            return softmax_aggregate(queries, keys, values)
        if self.pairwise == "cosine":
            return relu_aggregate(queries, keys, values)
        return (relu_aggregate if self.relu else dot_product_aggregate)(queries, keys, values)

    def weigh(self, queries, keys):
        """Returns the weights f / C(x) of some of the queries of `embed`: [B, n, d] -> [B, n, M]."""
        if self.pairwise == "gaussian":
            return softmax_weights(queries, keys)
        positive = self.relu or self.pairwise == "cosine"
        return (relu_weights if positive else dot_product_weights)(queries, keys)

    def lay_out(self, x, pooled=False):
        """Lays a map, or one of the sub-sampled sides of the keys, out as queries and keys are."""
        return flatten_positions(x)

    def pool_window(self):
        """Returns `subsample`, and 1 on all axes for None."""
        return self.subsample or (1, 1, 1)

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Returns every argument of the constructor."""
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "pairwise": self.pairwise,
            "relu": self.relu,
            "normalize": self.normalize,
            "region": self.region,
            "channels": self.channels,
            "subsample": self.subsample,
            "batch_norm": self.batch_norm,
            "frozen_batch_norm": self.frozen_batch_norm,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "region_initializer": keras.initializers.serialize(self.region_initializer),
        }


def _normalised(p):
    """Returns each vector with length 1, or zero if it is zero; in float32 at least, which holds 1e-24."""
    flat = at_least_float32(flatten_positions(p))  # [B, N, d]: LiteRT normalises at most four axes
    squared_length = ops.sum(ops.square(flat), axis=-1, keepdims=True)  # [B, N, 1]
    return restore_positions(flat * ops.rsqrt(ops.maximum(squared_length, 1e-24)), like=p)
