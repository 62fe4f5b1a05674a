"""GlobalContext: one attention map for the whole clip; what it gathers is added to every position."""

import keras
from keras import ops

from keras_nonlocal.arguments import check_choice, check_count
from keras_nonlocal.positions import check_map, flatten_positions
from keras_nonlocal.precision import at_least_float32
from keras_nonlocal.projection import FROZEN, batch_norm, projection

NORMS = ("layer", "batch")


@keras.saving.register_keras_serializable("keras_nonlocal")
class GlobalContext(keras.layers.Layer):
    """Global context block: one weighted mean of all positions, transformed and added to each.

    Cao, Xu, Lin, Wei, Hu, "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and
    Beyond", ICCV Workshops 2019, arXiv 1904.11492, equation 5:

        c = sum_j softmax_j(W_k x_j) x_j,  z_i = x_i + W_v2 ReLU(LN(W_v1 c))

    The softmax runs over all positions of a clip, T*H*W on video.

    Shapes:
        [B, L, C], [B, H, W, C] or [B, T, H, W, C] -> the same; all but C may be unknown.

    Args:
        ratio: W_v1 maps C channels to C // ratio, at least one; int, at least 1.
        norm: "layer" for LN, "batch" for batch normalisation in its place.
        kernel_initializer: of W_k and W_v1. W_v2 starts at 0, so the block starts as an identity; all
            biases start at 0. That of W_k moves all logits alike and is there for released weights.
        frozen_batch_norm: True keeps BN to its running statistics, and does not train it. None leaves that
            to `VideoResNet`.

    Call:
        training: True makes norm="batch" use the statistics of the batch. They are taken over the
            B contexts alone, so for a batch of one clip the norm returns only its beta.

    Cost:
        N = T*H*W positions: the map and the context take 2 N C products, the rest 2 B C^2 / ratio.

    Differs:
        The defaults follow the paper and the authors' code, whose option to multiply is left out. In
        the code of Huang and Bors (arXiv 2007.09033), the gate in front of the first RNL block is
        GlobalContext(ratio=2, norm="batch") instead of their paper's SqueezeExcite.

    Raises:
        ValueError: `ratio` below 1; an unknown `norm`; norm="layer" where C // ratio is below 2, as
            LN of a single channel is constant; a rank other than 3, 4, 5; unknown channels; a
            channels_first data format.

    Example:
        >>> import math, keras
        >>> layer = GlobalContext()
        >>> layer(keras.Input((8, 28, 28, 512))).shape
        (None, 8, 28, 28, 512)
        >>> sum(math.prod(w.shape) for w in layer.trainable_weights)
        33889
    """

    def __init__(
        self, ratio=16, norm="layer", kernel_initializer="he_normal", frozen_batch_norm=None, **kwargs
    ):
        super().__init__(**kwargs)
        check_count(self, "ratio", ratio)
        check_choice(self, "norm", norm, NORMS)
        check_choice(self, "frozen_batch_norm", frozen_batch_norm, FROZEN)
        self.ratio = ratio
        self.norm_kind = norm
        self.frozen_batch_norm = frozen_batch_norm
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        """Creates the weights for inputs of this shape."""
        channels = check_map(self, input_shape)
        width = max(channels // self.ratio, 1)
        if self.norm_kind == "layer" and width < 2:
            raise ValueError(
                f"{self.name}: Expected C // ratio of at least 2, as LN of a single channel is constant. "
                f"Received {channels} channels and ratio={self.ratio}. "
                f"Try: {f'ratio={channels // 2} or ' if channels > 1 else ''}norm='batch'."
            )

        self.mask = projection(self, 1, "mask")
        self.reduce = projection(self, width, "reduce")
        if self.norm_kind == "layer":
            self.norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy, name="norm")
        else:
            self.norm = batch_norm(self, momentum=0.99)
        self.expand = projection(self, channels, "expand", zero=True)
        for child in (self.mask, self.reduce):
            child.build((None, 1, channels))
        for child in (self.norm, self.expand):
            child.build((None, 1, width))

    def call(self, x, training=None):
        """Adds to each position what the attention map gathers from the whole clip."""
        return x + self.offsets(x, training)

    def offsets(self, x, training=None):
        """Returns what `call` adds to each channel: [B, ..., C] -> [B, 1, ..., C]."""
        s = self.reduce(ops.cast(self._context(x), self.compute_dtype))  # [B, 1, C/r]
        s = self.norm(s, training=training) if self.norm_kind == "batch" else self.norm(s)
        s = self.expand(ops.relu(s))  # [B, 1, C]
        return ops.reshape(s, (-1, *[1] * (len(x.shape) - 2), x.shape[-1]))  # [B, 1, ..., C]

    def _context(self, x):
        """Returns the mean of all positions, weighted by the mask: [B, ..., C] -> [B, 1, C], in float32."""
        return ops.matmul(self.weights_of(x), at_least_float32(flatten_positions(x)))  # [B, 1, C]

    def weights_of(self, x):
        """Returns the softmax over all positions of the mask: [B, ..., C] -> [B, 1, N], in float32."""
        x = at_least_float32(flatten_positions(x))  # [B, N, C]
        if self.mask.quantization_mode:  # A quantized kernel is no matrix of floats.
            logits = at_least_float32(self.mask(x))  # [B, N, 1]
        else:
            # The half-precision logits of self.mask(x) would be off by 0.5 where they are near 1000.
            kernel, bias = at_least_float32(self.mask.kernel), at_least_float32(self.mask.bias)
            logits = ops.matmul(x, kernel) + bias  # [B, N, 1]
        return ops.softmax(ops.transpose(logits, (0, 2, 1)), axis=-1)  # [B, 1, N]

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Returns every argument of the constructor."""
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "norm": self.norm_kind,
            "frozen_batch_norm": self.frozen_batch_norm,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
