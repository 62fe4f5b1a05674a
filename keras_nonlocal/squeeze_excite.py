"""SqueezeExcite: the means of all channels decide how much each channel is moved or scaled."""

import keras
from keras import ops

from keras_nonlocal.arguments import check_choice, check_count
from keras_nonlocal.positions import check_map
from keras_nonlocal.precision import at_least_float32
from keras_nonlocal.projection import FROZEN, batch_norm, projection

MODES = ("add", "multiply")


@keras.saving.register_keras_serializable("keras_nonlocal")
class SqueezeExcite(keras.layers.Layer):
    """Channel attention from the mean over all positions, added to the input or multiplied with it.

    mode="add", Huang and Bors, "Region-based Non-local Operation for Video Classification",
    ICPR 2020, arXiv 2007.09033, section III-D:

        s = W_2 ReLU(BN(W_1 mean_i(x_i))),  v_i = x_i + s

    mode="multiply", Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018,
    arXiv 1709.01507, equations 2 to 4:

        s = sigmoid(W_2 ReLU(W_1 mean_i(x_i))),  v_i = s * x_i

    Shapes:
        [B, L, C], [B, H, W, C] or [B, T, H, W, C] -> the same; all but C may be unknown.

    Args:
        ratio: W_1 maps C channels to C // ratio, at least one; int, at least 1.
        mode: "add" or "multiply", as above.
        kernel_initializer: of W_1, and of W_2 where mode="multiply"; where mode="add", W_2 starts
            at 0, so the layer starts as an identity. Both have biases, which start at 0.
        frozen_batch_norm: True keeps BN to its running statistics, and does not train it. None leaves that
            to `VideoResNet`.

    Call:
        training: True makes BN use the statistics of the batch. They are taken over the B means
            alone, so for a batch of one clip BN returns only its beta.

    Cost:
        One mean over the map, one sum or product with it, and 2 B C^2 / ratio products.

    Differs:
        The text of Huang and Bors says C // 2 for the width, but their parameter counts need
        ratio=16, the default. They give no initial weights; W_2 = 0 follows the last layer of the
        gate in their code, which is GlobalContext(ratio=2, norm="batch"). mode="multiply" has biases
        and no BN, as the released SE-ResNets have.

    Raises:
        ValueError: `ratio` below 1; an unknown `mode`; a rank other than 3, 4, 5; unknown
            channels; a channels_first data format.

    Example:
        >>> import math, keras
        >>> layer = SqueezeExcite()
        >>> layer(keras.Input((8, 28, 28, 512))).shape
        (None, 8, 28, 28, 512)
        >>> sum(math.prod(w.shape) for w in layer.trainable_weights)
        33376
    """

    def __init__(
        self, ratio=16, mode="add", kernel_initializer="he_normal", frozen_batch_norm=None, **kwargs
    ):
        super().__init__(**kwargs)
        check_count(self, "ratio", ratio)
        check_choice(self, "mode", mode, MODES)
        check_choice(self, "frozen_batch_norm", frozen_batch_norm, FROZEN)
        self.ratio = ratio
        self.mode = mode
        self.frozen_batch_norm = frozen_batch_norm
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        """Creates the weights for inputs of this shape."""
        channels = check_map(self, input_shape)
        width = max(channels // self.ratio, 1)
        ones = [1] * (len(input_shape) - 2)

        self.reduce = projection(self, width, "reduce")
        self.norm = None
        if self.mode == "add":
            self.norm = batch_norm(self)
            self.norm.build((None, *ones, width))
        self.expand = projection(self, channels, "expand", zero=self.mode == "add")
        self.reduce.build((None, *ones, channels))
        self.expand.build((None, *ones, width))

    def call(self, x, training=None):
        """Adds an offset to each channel of a clip, or multiplies it by a gate."""
        s = self.gate(x, training)
        return x + s if self.mode == "add" else x * s

    def gate(self, x, training=None):
        """Returns what `call` adds to each channel, or multiplies it by: [B, ..., C] -> [B, 1, ..., C]."""
        position_axes = tuple(range(1, len(x.shape) - 1))
        mean = ops.mean(at_least_float32(x), axis=position_axes, keepdims=True)  # [B, 1, ..., C]
        s = self.reduce(ops.cast(mean, self.compute_dtype))  # [B, 1, ..., C/r]
        if self.norm is not None:
            s = self.norm(s, training=training)
        s = self.expand(ops.relu(s))  # [B, 1, ..., C]
        return s if self.mode == "add" else ops.sigmoid(s)

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Returns every argument of the constructor."""
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "mode": self.mode,
            "frozen_batch_norm": self.frozen_batch_norm,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
