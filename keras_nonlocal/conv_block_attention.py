"""ConvBlockAttention: which channels matter, then which positions."""

import keras
from keras import ops

from keras_nonlocal.arguments import check_choice, check_count
from keras_nonlocal.positions import check_kernel, check_map, window_of
from keras_nonlocal.precision import at_least_float32
from keras_nonlocal.projection import FROZEN, batch_norm, projection

CONVOLUTIONS = {3: keras.layers.Conv1D, 4: keras.layers.Conv2D, 5: keras.layers.Conv3D}


@keras.saving.register_keras_serializable("keras_nonlocal")
class ConvBlockAttention(keras.layers.Layer):
    """CBAM: multiplies the map by a gate for each channel, then by a gate for each position.

    Woo, Park, Lee, Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018,
    arXiv 1807.06521, equations 1 to 3, with positions i and channels c:

        u_i = x_i * sigmoid(MLP(mean_j(x_j)) + MLP(max_j(x_j))),  MLP(a) = W_1 ReLU(W_0 a)
        z_i = u_i * sigmoid(BN(f([max_c(u), mean_c(u)])_i))

    f is a convolution from two channels to one, with "same" padding and without bias.

    Shapes:
        [B, L, C], [B, H, W, C] or [B, T, H, W, C] -> the same; all but C may be unknown.

    Args:
        ratio: W_0 maps C channels to C // ratio, at least one; int, at least 1.
        kernel_size: of f, (kt, kh, kw) in frames and pixels, or one int for all; odd. Images use
            the last two entries, sequences the last one.
        use_bias: False leaves the biases of W_0 and W_1 out, as the paper does.
        batch_norm: False leaves BN out, as the paper does.
        kernel_initializer: of W_0, W_1 and f; the biases of W_0 and W_1 start at 0.
        frozen_batch_norm: True keeps BN to its running statistics, and does not train it. None leaves that
            to `VideoResNet`.

    Call:
        training: True makes BN use the statistics of the batch.

    Cost:
        N = T*H*W positions: the map is read for two means and two maxima and multiplied twice;
        f takes 2 kt kh kw N products, the MLP 4 B C^2 / ratio.

    Differs:
        The paper writes no BN, no biases in the MLP, and [mean, max]. The equations above are those
        of the authors' code and released weights, and so are the defaults; use_bias=False,
        batch_norm=False makes the paper's. Huang and Bors (arXiv
        2007.09033) compare with this layer on video, with a kernel of 7x7x7, and do not say in which of
        these forms; the parameters that they print are those of none. The layer does not
        start as an identity: both gates begin near 1/2.

    Raises:
        ValueError: `ratio` below 1; even kernel sides; a rank other than 3, 4, 5; unknown
            channels; a channels_first data format.

    Example:
        >>> import math, keras
        >>> layer = ConvBlockAttention()
        >>> layer(keras.Input((8, 28, 28, 512))).shape
        (None, 8, 28, 28, 512)
        >>> sum(math.prod(w.shape) for w in layer.trainable_weights)
        34000
    """

    def __init__(
        self,
        ratio=16,
        kernel_size=7,
        kernel_initializer="he_normal",
        frozen_batch_norm=None,
        use_bias=True,
        batch_norm=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_count(self, "ratio", ratio)
        check_choice(self, "frozen_batch_norm", frozen_batch_norm, FROZEN)
        self.ratio = ratio
        self.use_bias = use_bias
        self.batch_norm = batch_norm
        self.frozen_batch_norm = frozen_batch_norm
        self.kernel_size = check_kernel(kernel_size, self.name)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        """Creates the weights for inputs of this shape."""
        channels = check_map(self, input_shape)
        width = max(channels // self.ratio, 1)
        ones = [1] * (len(input_shape) - 2)

        self.reduce = projection(self, width, "reduce", self.use_bias)
        self.expand = projection(self, channels, "expand", self.use_bias)
        # On two channels, unlike a depthwise one, Conv3D is as fast as a sum of 2-D convolutions.
        self.conv = CONVOLUTIONS[len(input_shape)](
            1,
            window_of(self.kernel_size, input_shape),
            padding="same",
            data_format="channels_last",
            use_bias=False,
            kernel_initializer=keras.initializers.get(keras.initializers.serialize(self.kernel_initializer)),
            dtype=self.dtype_policy,
            name="conv",
        )
        self.norm = batch_norm(self, momentum=0.99) if self.batch_norm else None
        self.reduce.build((None, *ones, channels))
        self.expand.build((None, *ones, width))
        self.conv.build((*input_shape[:-1], 2))
        if self.batch_norm:
            self.norm.build((*input_shape[:-1], 1))

    def call(self, x, training=None):
        """Multiplies by the gate of the channels, then by that of the positions."""
        x = x * self.channel_gate(x)
        return x * self.position_gate(x, training)

    def position_gate(self, x, training=None):
        """Returns the gate of each position, of a map that has the channels' gate: -> [B, ..., 1]."""
        channels = ops.max(x, axis=-1, keepdims=True), self._mean(x, (-1,))
        logits = self.conv(ops.concatenate(channels, axis=-1))  # [B, ..., 1]
        return ops.sigmoid(self.norm(logits, training=training) if self.batch_norm else logits)

    def channel_gate(self, x):
        """Returns the gate of each channel: [B, ..., C] -> [B, 1, ..., C]."""
        position_axes = tuple(range(1, len(x.shape) - 1))
        mean = self._mean(x, position_axes)  # [B, 1, ..., C]
        largest = ops.max(x, axis=position_axes, keepdims=True)  # [B, 1, ..., C]
        both = self.expand(ops.relu(self.reduce(ops.concatenate([mean, largest], axis=1))))
        return ops.sigmoid(ops.sum(both, axis=1, keepdims=True))  # [B, 2, 1, ..., C] -> [B, 1, ..., C]

    def _mean(self, x, axes):
        return ops.cast(ops.mean(at_least_float32(x), axis=axes, keepdims=True), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Returns every argument of the constructor."""
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "use_bias": self.use_bias,
            "batch_norm": self.batch_norm,
            "kernel_size": self.kernel_size,
            "frozen_batch_norm": self.frozen_batch_norm,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
