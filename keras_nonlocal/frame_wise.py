"""FrameWise: a 2-D layer on every frame of a video, or on an image."""

import keras
from keras import ops

from keras_nonlocal.positions import check_map, fold_frames, unfold_frames


@keras.saving.register_keras_serializable("keras_nonlocal")
class FrameWise(keras.layers.Wrapper):
    """Applies a 2-D layer to each frame: frames are folded into the batch and unfolded afterwards.

    y[b, t] = layer(x[b, t]). The layer takes an image as it is; its weights have the same names. A
    normalisation layer inside sees the B*T frames as one batch, as in the TSM paper's code (Lin et al.,
    ICCV 2019, arXiv 1811.08383).

    Shapes:
        [B, T, H, W, C] -> [B, T, H', W', C'], or [B, H, W, C] -> [B, H', W', C'];
        B, T, H, W may be unknown.

    Args:
        layer: a layer from [N, H, W, C] to [N, H', W', C'] that carries its own dtype policy.

    Call:
        training: is passed to the layer inside.

    Cost:
        That of the layer on B*T images; the reshapes move no data.

    Raises:
        ValueError: rank other than 4 and 5, unknown channels, or a channels_first data format.

    Example:
        >>> import keras
        >>> conv = keras.layers.Conv2D(16, 3, strides=2, padding="same")
        >>> FrameWise(conv)(keras.Input((8, 56, 56, 4))).shape
        (None, 8, 28, 28, 16)
    """

    def build(self, input_shape):
        """Builds the layer for single frames."""
        check_map(self, input_shape, ranks=(4, 5))
        self.layer.build(_frames_shape(input_shape))

    def call(self, x):
        """Applies the layer to each frame."""
        if len(x.shape) == 4:
            return self.layer(x)
        y = self.layer(fold_frames(x))  # [B*T, H', W', C']; Keras passes `training` on
        return unfold_frames(y, ops.shape(x)[1])  # [B, T, H', W', C']

    def compute_output_shape(self, input_shape):
        """Returns the layer's output shape with the frames put back."""
        frame = self.layer.compute_output_shape(_frames_shape(input_shape))
        return (*input_shape[:-3], *frame[1:])

    def get_config(self):
        """Returns every argument of the constructor."""
        config = super().get_config()
        # `build` above builds the layer inside. If Keras built it first, the paths of its weights,
        # which are checkpoint keys, would lose this layer's name.
        config["layer"].pop("build_config", None)
        return config


def _frames_shape(input_shape):
    return (None, *input_shape[-3:])
