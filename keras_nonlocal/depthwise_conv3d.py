"""DepthwiseConv3D: one small space-time filter for each channel."""

import keras
from keras import ops

from keras_nonlocal.positions import check_kernel, check_map, fold_frames, unfold_frames, window_of


@keras.saving.register_keras_serializable("keras_nonlocal")
class DepthwiseConv3D(keras.layers.Layer):
    """Convolves each channel with its own kernel over time and space, "same" size, stride 1.

    y[t, h, w, c] = sum over (i, j, k) of kernel[i, j, k, c] * x[t + i - kt//2, h + j - kh//2,
    w + k - kw//2, c], zeros outside the map: F_theta of Huang and Bors, "Region-based Non-local
    Operation for Video Classification", ICPR 2020, arXiv 2007.09033, section III.

    Computed as a sum over the kt temporal taps of 2-D depthwise convolutions of all frames.

    Shapes:
        [B, T, H, W, C] -> the same, kernel [kt, kh, kw, C, 1];
        [B, H, W, C] -> the same, kernel [kh, kw, C, 1];
        [B, L, C] -> the same, kernel [kw, C, 1]. Every axis but C may be unknown.

    Args:
        kernel_size: (kt, kh, kw) in frames and pixels, or one int for all; odd. Images use the
            last two entries, sequences the last one.
        use_bias: add one learned number to each channel.
        kernel_initializer: as Keras's DepthwiseConv2D; its fans count C inputs per output.
        bias_initializer: used with `use_bias`.

    Call:
        No options.

    Cost:
        kt * kh * kw products per value; memory for kt maps at most.

    Differs:
        The authors' code writes this as a grouped convolution times a frozen mask. The result
        is the same, with 32 times fewer weights.

    Raises:
        ValueError: an even or non-positive kernel side; a rank other than 3, 4, 5; unknown
            channels; a channels_first data format.

    Example:
        >>> import keras
        >>> layer = DepthwiseConv3D((3, 7, 7))
        >>> layer(keras.Input((8, 28, 28, 256))).shape, tuple(layer.kernel.shape)
        ((None, 8, 28, 28, 256), (3, 7, 7, 256, 1))
    """

    def __init__(
        self,
        kernel_size,
        use_bias=False,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kernel_size = check_kernel(kernel_size, self.name)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape):
        """Create the weights for inputs of this shape."""
        channels = check_map(self, input_shape)
        shape = (*window_of(self.kernel_size, input_shape), channels, 1)
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(shape=(channels,), initializer=self.bias_initializer, name="bias")

    def call(self, x):
        """Convolve each channel."""
        if len(x.shape) == 3:
            y = _convolve_images(x[:, None], self.kernel[None])[:, 0]  # [B, L, C]
        elif len(x.shape) == 4:
            y = _convolve_images(x, self.kernel)
        else:
            y = self._convolve_video(x)
        return y if self.bias is None else y + self.bias

    def _convolve_video(self, x):
        frames_of_clips, taps = fold_frames(x), self.kernel_size[0]  # [B*T, H, W, C]
        y = None
        for tap in range(taps):
            # The frames are convolved where they lie and their results moved, not the reverse:
            # the taps then share one input and no product is spent on padded frames.
            term = unfold_frames(_convolve_images(frames_of_clips, self.kernel[tap]), ops.shape(x)[1])
            term = _shift_frames(term, tap - taps // 2)  # [B, T, H, W, C]
            y = term if y is None else y + term
        return y

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Return every argument of the constructor."""
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }


def _convolve_images(x, kernel):
    return ops.depthwise_conv(x, kernel, padding="same", data_format="channels_last")


def _shift_frames(x, offset_frames):
    """Frame t of the result is frame t + offset of x, zero outside; right for any T."""
    if offset_frames == 0:
        return x
    before, after = max(-offset_frames, 0), max(offset_frames, 0)
    x = ops.pad(x, [(0, 0), (before, after), (0, 0), (0, 0), (0, 0)])
    return x[:, after:] if offset_frames > 0 else x[:, :-before]
