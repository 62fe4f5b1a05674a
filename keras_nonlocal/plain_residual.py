"""PlainResidual: two convolutions in the place of a block, to tell what its attention is worth."""

import keras
from keras import ops

from keras_nonlocal.arguments import check_bottleneck, check_choice
from keras_nonlocal.positions import check_map
from keras_nonlocal.projection import FROZEN, batch_norm, closing_norm, projection


@keras.saving.register_keras_serializable("keras_nonlocal")
class PlainResidual(keras.layers.Layer):
    """Residual block that sees one position at a time: a control for the blocks that see others.

    Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, arXiv 1711.07971, section 5.1, adds
    "standard residual blocks, instead of non-local blocks"; Yue et al., "Compact Generalized Non-local
    Network", NeurIPS 2018, arXiv 1810.13125, table 3, "a simple residual block":

        z = x + BN(W_2 ReLU(BN(W_1 x)))

    Shapes:
        [B, L, C], [B, H, W, C] or [B, T, H, W, C] -> the same; all but C may be unknown.

    Args:
        channels: width d between W_1 and W_2; None means C, which gives them as many weights as the four
            convolutions of `NonLocal` have.
        kernel_initializer: of W_1 and W_2, which have no biases.
        frozen_batch_norm: True keeps BN to its running statistics, and does not train it: the last gamma then
            starts at 1, and W_2 at 0. None leaves that to `VideoResNet`.

    Call:
        training: True makes BN use the statistics of the batch.

    Cost:
        N = T*H*W positions: O(N C d) products. It has 2 C d + 2 d + 2 C parameters. For C = 512 that is
        526,336, where `NonLocal` has 526,592. In general, d = (3 + 1 / G) C / 4 is next to
        `CompactGeneralizedNonLocal` in G groups: for 8, channels=400 makes 411,424, where that has 410,624.

    Differs:
        Neither paper says what its block is made of: the first has one sentence, and the second a picture,
        without counts. Chosen: 1x1x1 convolutions, as the blocks have, so that nothing but the attention
        differs; a BN after each and a ReLU between them, as in He et al., CVPR 2016; and a last gamma that
        starts at 0, so that the block starts as an identity, as those for which it is a control.

    Raises:
        ValueError: `channels` below 1; a rank other than 3, 4, 5; unknown channels; a channels_first data
            format.

    Example:
        >>> import math, keras
        >>> layer = PlainResidual()
        >>> layer(keras.Input((8, 28, 28, 512))).shape
        (None, 8, 28, 28, 512)
        >>> sum(math.prod(w.shape) for w in layer.trainable_weights)
        526336
    """

    def __init__(self, channels=None, kernel_initializer="he_normal", frozen_batch_norm=None, **kwargs):
        super().__init__(**kwargs)
        check_bottleneck(self, channels)
        check_choice(self, "frozen_batch_norm", frozen_batch_norm, FROZEN)
        self.channels = channels
        self.frozen_batch_norm = frozen_batch_norm
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        """Creates the weights for inputs of this shape."""
        channels = check_map(self, input_shape)
        width = self.channels or channels
        inner_shape = (*input_shape[:-1], width)

        self.reduce = projection(self, width, "reduce", use_bias=False)
        self.reduce_norm = batch_norm(self, "reduce_norm")
        self.out = projection(self, channels, "out", use_bias=False, zero=self.frozen_batch_norm)
        self.norm = closing_norm(self)
        self.reduce.build(input_shape)
        self.reduce_norm.build(inner_shape)
        self.out.build(inner_shape)
        self.norm.build(input_shape)

    def call(self, x, training=None):
        """Adds to each position what is made of it alone."""
        y = ops.relu(self.reduce_norm(self.reduce(x), training=training))  # [B, ..., d]
        return x + self.norm(self.out(y), training=training)

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Returns every argument of the constructor."""
        return {
            **super().get_config(),
            "channels": self.channels,
            "frozen_batch_norm": self.frozen_batch_norm,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
