"""TemporalShift: mixing neighbouring frames without a single product."""

import keras
from keras import ops

from keras_nonlocal.positions import check_map


@keras.saving.register_keras_serializable("keras_nonlocal")
class TemporalShift(keras.layers.Layer):
    """Moves one part of the channels a frame back and another a frame ahead.

    With f = C // divisor (Lin, Gan, Han, "TSM", ICCV 2019, arXiv 1811.08383, section 3.2):

        y_t[0:f] = x_{t+1}[0:f],  y_t[f:2f] = x_{t-1}[f:2f],  y_t[2f:] = x_t[2f:]

    and zeros where t+1 or t-1 lies outside the clip.

    Shapes:
        [B, T, H, W, C] or [B, T, C] -> the same; B, T, H, W may be unknown.

    Args:
        divisor: the share of channels that moves each way is 1 / divisor; int, at least 2.

    Call:
        No options.

    Cost:
        No parameters, no products: one copy of the map.

    Differs:
        The paper speaks of a bi-directional shift by 1/4 in all; its code, and this layer,
        move C // 8 each way.

    Raises:
        ValueError: `divisor` below 2 or above C; rank other than 3 and 5; unknown channels;
            a channels_first data format.

    Example:
        >>> import numpy as np
        >>> clip = np.arange(3, dtype="float32").reshape(1, 3, 1) + np.zeros((1, 3, 4), "float32")
        >>> [[float(v) for v in row] for row in TemporalShift(divisor=4)(clip)[0]]
        [[1.0, 0.0, 0.0, 0.0], [2.0, 0.0, 1.0, 1.0], [0.0, 1.0, 2.0, 2.0]]
    """

    def __init__(self, divisor=8, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(divisor, int) or divisor < 2:
            raise ValueError(
                f"{self.name}: Expected `divisor` to be an int of at least 2. "
                f"Received {divisor!r}. Try: 8, which moves an eighth of the channels each way."
            )
        self.divisor = divisor

    def build(self, input_shape):
        """Checks the shape; there are no weights."""
        if check_map(self, input_shape, ranks=(3, 5)) < self.divisor:
            raise ValueError(
                f"{self.name}: Expected at least `divisor` = {self.divisor} channels, or nothing moves. "
                f"Received shape {tuple(input_shape)}. Try: a smaller `divisor`."
            )

    def call(self, x):
        """Shifts the moving channels."""
        part = x.shape[-1] // self.divisor
        if keras.config.backend() != "tensorflow":
            return _shift(x, part, 1)

        # The gradient of the slices would be padded maps, and their sum.
        @ops.custom_gradient
        def shift(x):
            return _shift(x, part, 1), lambda upstream: _shift(upstream, part, -1)

        return shift(x)

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Returns every argument of the constructor."""
        return {**super().get_config(), "divisor": self.divisor}


def _shift(x, part, direction):
    """Returns x with its first `part` channels of the next frame and its second of the previous one.

    The other way round, with `direction` -1, it is its own gradient.
    """
    from_next, from_previous, still = ops.split(x, [part, 2 * part], axis=-1)
    if direction < 0:
        from_next, from_previous = from_previous, from_next
    other_axes = [(0, 0)] * (len(x.shape) - 2)
    from_next = ops.pad(from_next[:, 1:], [(0, 0), (0, 1), *other_axes])
    from_previous = ops.pad(from_previous[:, :-1], [(0, 0), (1, 0), *other_axes])
    first, second = (from_next, from_previous) if direction > 0 else (from_previous, from_next)
    return ops.concatenate([first, second, still], axis=-1)
