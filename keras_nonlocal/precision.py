"""Half precision is cast before it is summed: sums over positions are float32 at least."""

import keras
from keras import ops


def at_least_float32(x):
    """Casts half precision to float32; leaves what is wider as it is.

    >>> import numpy as np
    >>> keras.backend.standardize_dtype(at_least_float32(np.ones(1, "float16")).dtype)
    'float32'
    """
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
