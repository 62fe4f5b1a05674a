"""TemporalShift: bit-exact against the released operation, and frame by frame on a ramp."""

import backends
import numpy as np
import pytest
import released
from keras import ops

from keras_nonlocal import TemporalShift


def test_released_numbers_to_the_bit():
    activations, _ = released.load_block("op_tsm_shift_s8_d8")
    clips = {k: v.reshape(2, 8, *v.shape[1:]).astype("float32") for k, v in activations.items()}
    layer = TemporalShift(divisor=8)
    (dx,) = backends.gradients(lambda x: ops.sum(ops.multiply(layer(x), clips["ct"])), clips["x"])
    np.testing.assert_array_equal(layer(clips["x"]), clips["y_eval"])
    np.testing.assert_array_equal(dx, clips["dx"])


def test_each_channel_comes_from_the_frame_it_should():
    ramp = np.broadcast_to(np.arange(1.0, 5.0).reshape(1, 4, 1, 1, 1), (1, 4, 2, 3, 9)).astype("float32")
    y = np.asarray(TemporalShift(divisor=4)(ramp))  # 9 // 4 = 2 channels each way, 5 stay
    for channels, frames in (
        (slice(0, 2), [2, 3, 4, 0]),
        (slice(2, 4), [0, 1, 2, 3]),
        (slice(4, 9), [1, 2, 3, 4]),
    ):
        assert (y[..., channels] == np.reshape(frames, (1, 4, 1, 1, 1))).all()


def test_a_single_frame_loses_its_moving_channels():
    y = TemporalShift(divisor=2)(np.ones((1, 1, 2, 2, 6), "float32"))
    assert (np.asarray(y) == 0).all()


@pytest.mark.parametrize("divisor", [1, 0, 2.0])
def test_wrong_divisors_are_refused(divisor):
    with pytest.raises(ValueError, match=r"odd_one: Expected `divisor`.*Received .*Try: 8"):
        TemporalShift(divisor, name="odd_one")


def test_a_shift_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"thin: Expected at least `divisor` = 8.*\(None, 8, 4, 4, 3\).*Try"):
        TemporalShift(8, name="thin").build((None, 8, 4, 4, 3))
