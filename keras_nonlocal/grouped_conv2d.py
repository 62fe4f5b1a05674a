"""GroupedConv2D: the grouped convolution of ResNeXt, which runs without XLA on a CPU."""

import keras
import numpy as np
from keras import ops

# A convolution with fewer channels takes longer than one that zeros widen to this many.
CHANNELS_AT_ONCE = 32


@keras.saving.register_keras_serializable("keras_nonlocal")
class GroupedConv2D(keras.layers.Conv2D):
    """A Conv2D with `groups`, computed as several convolutions of a few groups each.

    Where TensorFlow runs on a CPU, Keras passes a grouped convolution to XLA. That is slow, and a
    SavedModel of it can be read by XLA alone. Here a few groups share one dense kernel whose
    blocks off the diagonal are zero. Weights and results are those of Conv2D.

    Shapes:
        [B, H, W, C] -> [B, H', W', filters].

    Args:
        As keras.layers.Conv2D; `groups` divides C and `filters`.

    Call:
        No options.

    Cost:
        The multiply-adds of the equation; on a CPU, with g < 32 channels in a group, 32 / g times
        as many.

    Raises:
        ValueError: as keras.layers.Conv2D.

    Example:
        >>> layer = GroupedConv2D(128, 3, groups=32, padding="same")
        >>> layer(keras.Input((56, 56, 128))).shape, tuple(layer.kernel.shape)
        ((None, 56, 56, 128), (3, 3, 4, 128))
    """

    def convolution_op(self, inputs, kernel):
        """Convolves a few groups at a time."""
        if keras.config.backend() != "tensorflow" or keras.distribution.list_devices("gpu"):
            return super().convolution_op(inputs, kernel)
        together = groups_together(self.groups, inputs.shape[-1] // self.groups)
        parts = self.groups // together
        # It is 1 where input and output channel are in the same group: [C / parts, filters / parts].
        diagonal = np.kron(np.eye(together), np.ones((kernel.shape[-2], self.filters // self.groups)))
        diagonal = ops.convert_to_tensor(diagonal, kernel.dtype)
        outputs = []
        for x, k in zip(ops.split(inputs, parts, -1), ops.split(kernel, parts, -1), strict=True):
            dense = ops.tile(k, (1, 1, together, 1)) * diagonal  # [kh, kw, C / parts, filters / parts]
            outputs.append(super().convolution_op(x, dense))
        return ops.concatenate(outputs, axis=-1)


def groups_together(groups, group_channels):
    """Returns how many groups share one dense kernel."""
    divisors = [d for d in range(1, groups + 1) if groups % d == 0]
    return next((d for d in divisors if d * group_channels >= CHANNELS_AT_ONCE), groups)
