"""CompactGeneralizedNonLocal: every channel of every position attends to every other, without a matrix."""

import math

import keras
from keras import ops

from keras_nonlocal.arguments import (
    bottleneck_width,
    check_bottleneck,
    check_choice,
    check_count,
    check_divides,
    check_gamma,
)
from keras_nonlocal.positions import check_map
from keras_nonlocal.precision import at_least_float32
from keras_nonlocal.projection import FROZEN, closing_norm, projection

PAIRWISE = ("dot_product", "gaussian_rbf", "embedded_gaussian")
NORMS = ("batch", "group", None)


@keras.saving.register_keras_serializable("keras_nonlocal")
class CompactGeneralizedNonLocal(keras.layers.Layer):
    """Non-local block between all pairs of channels and positions, at linear cost.

    Yue, Sun, Yuan, Zhou, Ding, Xu, "Compact Generalized Non-local Network", NeurIPS 2018,
    arXiv 1810.13125, section 3. The channels of theta, phi and g are cut into groups; within a
    group, channels and positions form one axis i:

        y_i = sum_j f(theta_i, phi_j) g_j,  z = x + BN(W_z y)

    f is a polynomial, sum over p of alpha_p^2 theta_i^p phi_j^p, so that

        y_i = sum_p c_p theta_i^p  with  c_p = alpha_p^2 sum_j phi_j^p g_j

    needs P + 1 sums for each group and no matrix.

    Shapes:
        [B, L, C], [B, H, W, C] or [B, T, H, W, C] -> the same; all but C may be unknown.

    Args:
        groups: G, how many groups of neighbouring channels theta, phi and g are cut into; divides
            `channels` and, where W_z or the norm has groups, C.
        pairwise: "dot_product", theta_i phi_j; "gaussian_rbf", the Taylor series of
            exp(-2 gamma (1 - theta_i phi_j)); "embedded_gaussian", that of exp(theta_i phi_j).
        order: P, the last power of the two series; the dot product has no use for it.
        gamma: width of "gaussian_rbf", above 0; the others have no use for it.
        channels: width d of theta, phi and g; None means C // 2.
        normalize: True gives theta and phi of each group, all its channels and positions together, length
            1 before f, as the series of "gaussian_rbf" assumes.
        scaled: True divides the sums over j by the square root of their count of terms.
        grouped_out: True makes W_z a convolution in G groups; False lets it mix all channels.
        norm: "batch" or "group" after W_z, its gamma starting at 0; None for no norm and a W_z
            that starts at 0. Only `scaled` then keeps the sums small.
        use_bias: True gives theta, phi, g and W_z a bias, starting at 0.
        kernel_initializer: of theta, phi, g and W_z; None means a normal distribution of
            deviation 0.01.
        frozen_batch_norm: True keeps BN to its running statistics, and does not train it: gamma then starts
            at 1, and W_z at 0. None leaves that to `VideoResNet`.

    Call:
        training: True makes BN use the statistics of the batch.

    Cost:
        N = T*H*W positions: the projections take O(N C d) products; all else is O(N C (P + 1)) in
        time and, for gradients, in memory. Sums, powers, W_z and norm are float32 under half
        precision, because a sum has N d / G terms and leaves float16's range.

    Differs:
        The paper has a BN in each group. BN treats each channel by itself, so that is one BN over C,
        the default. The authors' code has a group norm: norm="group" alone makes their dot product
        block, and pairwise="gaussian_rbf" with it their other one; the embedded Gaussian is in the
        paper only. The RBF's series holds "if" theta and phi have length 1, says the paper; its code
        does not give them that, nor does this layer without normalize=True. In the code the scale is
        an option, off by default; its author found no scale to be better.

    Raises:
        ValueError: an unknown `pairwise` or `norm`; `groups`, `order` or `channels` below 1;
            `groups` that do not divide; `gamma` not above 0; a rank other than 3, 4, 5;
            unknown channels; a channels_first data format.

    Example:
        >>> import math, keras
        >>> layer = CompactGeneralizedNonLocal(groups=8)
        >>> layer(keras.Input((8, 28, 28, 512))).shape
        (None, 8, 28, 28, 512)
        >>> sum(math.prod(w.shape) for w in layer.trainable_weights)
        410624
    """

    def __init__(
        self,
        groups=8,
        pairwise="dot_product",
        order=3,
        gamma=1e-4,
        channels=None,
        scaled=False,
        grouped_out=True,
        norm="batch",
        use_bias=False,
        kernel_initializer=None,
        frozen_batch_norm=None,
        normalize=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_count(self, "groups", groups)
        check_choice(self, "pairwise", pairwise, PAIRWISE)
        check_count(self, "order", order)
        check_gamma(self, gamma)
        check_bottleneck(self, channels)
        check_choice(self, "norm", norm, NORMS)
        check_choice(self, "frozen_batch_norm", frozen_batch_norm, FROZEN)
        self.groups = groups
        self.pairwise = pairwise
        self.order = order
        self.gamma = gamma
        self.channels = channels
        self.normalize = normalize
        self.scaled = scaled
        self.grouped_out = grouped_out
        self.norm_kind = norm
        self.use_bias = use_bias
        self.frozen_batch_norm = frozen_batch_norm
        self.kernel_initializer = keras.initializers.get(
            kernel_initializer or keras.initializers.RandomNormal(stddev=0.01)
        )

    def build(self, input_shape):
        """Creates the weights for inputs of this shape."""
        channels = check_map(self, input_shape)
        width = bottleneck_width(self, channels)
        check_divides(self, "groups", self.groups, width)
        if self.grouped_out or self.norm_kind == "group":
            check_divides(self, "groups", self.groups, channels)

        self.theta = projection(self, width, "theta", self.use_bias)
        self.phi = projection(self, width, "phi", self.use_bias)
        self.g = projection(self, width, "g", self.use_bias)
        frozen = self.norm_kind == "batch" and self.frozen_batch_norm
        self.out = _GroupedProjection(
            channels,
            self.groups if self.grouped_out else 1,
            self.use_bias,
            "zeros" if frozen or not self.norm_kind else self.kernel_initializer,
            dtype=self.dtype_policy,
            name="out",
        )
        self.norm = self._closing_norm()
        for child in (self.theta, self.phi, self.g):
            child.build(input_shape)
        self.out.build((*input_shape[:-1], width))
        if self.norm is not None:
            self.norm.build(input_shape)

    def _closing_norm(self):
        # autocast would cast W_z y, which leaves float16's range, before it is normalised.
        if self.norm_kind == "group":
            options = {"epsilon": 1e-5, "gamma_initializer": "zeros", "dtype": self.dtype_policy}
            return _GroupNorm(self.groups, autocast=False, name="norm", **options)
        return closing_norm(self, autocast=False) if self.norm_kind else None

    def call(self, x, training=None):
        """Adds to each entry what its group gathers from all channels and positions."""
        y = self.out(self._aggregate(*self.embed(x)))  # [B, ..., C]
        if self.norm is not None:
            y = self.norm(y, training=training)
        return x + ops.cast(y, x.dtype)

    def embed(self, x):
        """Returns theta, phi and g, each [B, ..., d] in float32."""
        theta, phi, g = (at_least_float32(child(x)) for child in (self.theta, self.phi, self.g))
        return (self._unit(theta), self._unit(phi), g) if self.normalize else (theta, phi, g)

    def weigh(self, theta, phi, scale):
        """Returns the weights f of elements of theta and of phi, whose shapes broadcast; see `scale_of`."""
        if self.pairwise == "dot_product":
            return scale * theta * phi
        return scale * sum(self._taylor(power) * (theta * phi) ** power for power in range(self.order + 1))

    def _unit(self, values):
        """Returns values whose groups have length 1, or 0 if they are 0."""
        return values * ops.rsqrt(ops.maximum(self._totals(ops.square(values)), 1e-24))

    def scale_of(self, theta):
        """Returns 1, or 1 / sqrt(the count of terms of a sum) where the block is `scaled`."""
        return ops.rsqrt(ops.cast(_group_size(theta, self.groups), theta.dtype)) if self.scaled else 1.0

    def _aggregate(self, theta, phi, g):
        """Returns sum_p c_p theta^p by one product for each power of phi and Horner's rule for theta."""
        scale = self.scale_of(theta)
        if self.pairwise == "dot_product":
            return theta * (scale * self._totals(phi * g))  # [B, ..., d]
        coefficients = []  # c_0 ... c_P, each [B, 1, ..., d]
        for power in range(self.order + 1):
            g = g * phi if power else g
            coefficients.append(self._taylor(power) * scale * self._totals(g))
        y = coefficients.pop()
        while coefficients:
            y = coefficients.pop() + theta * y
        return y

    def _taylor(self, power):
        """Returns alpha_p^2."""
        if self.pairwise == "embedded_gaussian":
            return 1 / math.factorial(power)
        return math.exp(-2 * self.gamma) * (2 * self.gamma) ** power / math.factorial(power)

    def _totals(self, values):
        """Sums each group over its channels and all positions: [B, ..., d] -> [B, 1, ..., d]."""
        return _group_sums(_sum_positions(values), self.groups)

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Returns every argument of the constructor."""
        return {
            **super().get_config(),
            "groups": self.groups,
            "pairwise": self.pairwise,
            "order": self.order,
            "gamma": self.gamma,
            "channels": self.channels,
            "normalize": self.normalize,
            "scaled": self.scaled,
            "grouped_out": self.grouped_out,
            "norm": self.norm_kind,
            "use_bias": self.use_bias,
            "frozen_batch_norm": self.frozen_batch_norm,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


class _GroupedProjection(keras.layers.Layer):
    """A 1x1x1 convolution in groups, in the dtype of its input; its kernel is [d / groups, C].

    The last axis of the kernel runs over the outputs of group 0, then of group 1 and so on, as in
    Keras's grouped convolutions. Those export to ONNX wrongly, and an einsum that says the same
    has a gradient many times slower on a CPU than the product of transposed maps here.
    """

    def __init__(self, width, groups, use_bias, kernel_initializer, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.width, self.groups, self.use_bias = width, groups, use_bias
        self.kernel_initializer = kernel_initializer

    def build(self, input_shape):
        shape = (input_shape[-1] // self.groups, self.width)
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.width,), initializer="zeros", name="bias")

    def call(self, x):
        depth = self.kernel.shape[0]
        kernel = ops.reshape(self.kernel, (depth, self.groups, -1))  # [d/G, G, C/G]
        kernel = ops.transpose(kernel, (1, 0, 2))  # [G, d/G, C/G]
        y = ops.transpose(ops.reshape(x, (-1, self.groups, depth)), (1, 0, 2))  # [G, B*N, d/G]
        y = ops.transpose(ops.matmul(y, kernel), (1, 0, 2))  # [B*N, G, C/G]
        y = ops.reshape(y, (*ops.shape(x)[:-1], self.width))  # [B, ..., C]
        return y + self.bias if self.use_bias else y


class _GroupNorm(keras.layers.GroupNormalization):
    """Keras's group norm, which takes its sums over positions first and then over channels.

    TensorFlow's one sum over both axes is several times slower on a CPU, and loses three digits
    on a large map.
    """

    def call(self, x):
        count = ops.cast(_group_size(x, self.groups), x.dtype)
        centred = x - _group_sums(_sum_positions(x), self.groups) / count
        variance = _group_sums(_sum_positions(ops.square(centred)), self.groups) / count
        y = centred * (ops.rsqrt(variance + self.epsilon) * self.gamma) + self.beta
        return ops.cast(y, self.compute_dtype)


def _group_size(x, groups):
    """Returns how many entries a group of channels has: N C / G, an int where all sides are known."""
    size = x.shape[-1] // groups
    for side in ops.shape(x)[1:-1]:
        size = size * side
    return size


def _sum_positions(x):
    return ops.sum(x, axis=tuple(range(1, len(x.shape) - 1)), keepdims=True)  # [B, 1, ..., C]


def _group_sums(values, groups):
    """Replaces each channel by the sum of its group: [B, 1, ..., C] -> the same."""
    grouped = ops.reshape(values, (-1, groups, values.shape[-1] // groups))  # [B, G, C/G]
    sums = ops.sum(grouped, axis=-1, keepdims=True) + ops.zeros_like(grouped)  # [B, G, C/G]
    return ops.reshape(sums, (-1, *values.shape[1:]))  # [B, 1, ..., C]
