"""DepthwiseConv3D: one small space-time filter for each channel."""

import keras
from keras import ops

from keras_nonlocal.positions import check_kernel, check_map, fold_frames, unfold_frames, window_of
from keras_nonlocal.precision import at_least_float32


@keras.saving.register_keras_serializable("keras_nonlocal")
class DepthwiseConv3D(keras.layers.Layer):
    """Convolves each channel with its own kernel over time and space, with "same" padding and stride 1.

    y[t, h, w, c] = sum over (i, j, k) of kernel[i, j, k, c] * x[t + i - kt//2, h + j - kh//2,
    w + k - kw//2, c], zeros outside the map: F_theta of Huang and Bors, "Region-based Non-local
    Operation for Video Classification", ICPR 2020, arXiv 2007.09033, section III.

    It is computed as a sum over the kt temporal taps of 2-D depthwise convolutions of all frames. On a
    CPU with TensorFlow, the gradient of the kernel is computed by such convolutions too.

    Shapes:
        [B, T, H, W, C] -> the same, kernel [kt, kh, kw, C, 1];
        [B, H, W, C] -> the same, kernel [kh, kw, C, 1];
        [B, L, C] -> the same, kernel [kw, C, 1]. Every axis but C may be unknown.

    Args:
        kernel_size: (kt, kh, kw) in frames and pixels, or one int for all; odd. Images use the
            last two entries, sequences the last one.
        use_bias: True adds a learned bias to each channel.
        kernel_initializer: as Keras's DepthwiseConv2D; its fans count C inputs per output.
        bias_initializer: used with `use_bias`.

    Call:
        No options.

    Cost:
        kt * kh * kw products per value; memory for at most kt maps, or kt + 3 with a gradient.

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
        """Creates the weights for inputs of this shape."""
        channels = check_map(self, input_shape)
        shape = (*window_of(self.kernel_size, input_shape), channels, 1)
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(shape=(channels,), initializer=self.bias_initializer, name="bias")

    def call(self, x):
        """Convolves each channel."""
        missing = 5 - len(x.shape)  # an image is a clip of one frame, a sequence an image of one row
        for _ in range(missing):
            x = x[:, None]
        kernel = ops.reshape(self.kernel, (*(1,) * missing, *self.kernel.shape))  # [kt, kh, kw, C, 1]
        y = _convolve(x, kernel)  # [B, T, H, W, C]
        for _ in range(missing):
            y = y[:, 0]
        return y if self.bias is None else y + self.bias

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Returns every argument of the constructor."""
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }


def _convolve(clip, kernel):
    if keras.config.backend() != "tensorflow" or keras.distribution.list_devices("gpu"):
        return _convolve_taps(clip, kernel)

    # TensorFlow's own gradient of a depthwise kernel takes several times as long on a CPU.
    @ops.custom_gradient
    def convolve(clip, kernel):
        def gradient(upstream):
            flipped = ops.flip(kernel, axis=(0, 1, 2))
            return _convolve_taps(upstream, flipped), _kernel_gradient(clip, upstream, kernel)

        return _convolve_taps(clip, kernel), gradient

    return convolve(clip, kernel)


def _convolve_taps(clip, kernel):
    frames, taps = fold_frames(clip), kernel.shape[0]  # [B*T, H, W, C]
    y = None
    for tap in range(taps):
        # The results are shifted, not the frames, so that all taps share one input and no product
        # is spent on padded frames.
        term = unfold_frames(_convolve_images(frames, kernel[tap], "same"), ops.shape(clip)[1])
        term = _shift_frames(term, tap - taps // 2)  # [B, T, H, W, C]
        y = term if y is None else y + term
    return y


def _convolve_images(images, kernel, padding):
    return ops.depthwise_conv(images, kernel, padding=padding, data_format="channels_last")


def _kernel_gradient(clip, upstream, kernel):
    """Returns the gradient of the kernel: each channel of each frame convolved with its upstream gradient."""
    sizes, channels, (_, frames, height, width, _) = kernel.shape[:3], kernel.shape[3], ops.shape(clip)
    clip = ops.pad(clip, [(0, 0), *((size // 2, size // 2) for size in sizes), (0, 0)])
    images, written = (ops.transpose(at_least_float32(a), (2, 3, 1, 0, 4)) for a in (clip, upstream))
    written = ops.reshape(written, (height, width, -1, 1))  # [H, W, T*B*C, 1]
    gradients = []
    for tap in range(sizes[0]):
        read = images[:, :, tap : tap + frames]  # [H + kh - 1, W + kw - 1, T, B, C]
        read = ops.reshape(read, (1, height + sizes[1] - 1, width + sizes[2] - 1, -1))
        found = _convolve_images(read, written, "valid")  # [1, kh, kw, T*B*C]
        gradients.append(ops.sum(ops.reshape(found, (*sizes[1:], -1, channels)), axis=2))  # [kh, kw, C]
    return ops.cast(ops.stack(gradients)[..., None], kernel.dtype)  # [kt, kh, kw, C, 1]


def _shift_frames(x, offset_frames):
    """Returns x with frame t + offset in the place of frame t, zeros outside the clip; T may be any."""
    if offset_frames == 0:
        return x
    before, after = max(-offset_frames, 0), max(offset_frames, 0)
    x = ops.pad(x, [(0, 0), (before, after), (0, 0), (0, 0), (0, 0)])
    return x[:, after:] if offset_frames > 0 else x[:, :-before]
