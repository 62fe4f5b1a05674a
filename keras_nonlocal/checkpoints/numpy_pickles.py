"""Stand-ins for the names by which NumPy 1 and 2, under Python 2 and 3, pickle arrays, dtypes and scalars."""

import functools
import math
import re

import numpy as np

from keras_nonlocal.checkpoints.plain import CheckpointError, brief


def stand_ins():
    """Returns {dotted name: stand-in} for the arrays of one file."""
    # These are cached, as a file of a few bytes may ask a million times for the same array.
    encode = functools.cache(lambda text: text.encode("latin1"))
    numbers = functools.cache(_numbers)

    def to_bytes(data):
        if type(data) not in (str, bytes):
            raise TypeError(f"{brief(data)} in the place of an array's bytes")
        return encode(data) if type(data) is str else data

    def codecs_encode(text, encoding):
        if encoding != "latin1":
            raise ValueError(f"bytes in the encoding {brief(encoding)}")
        return to_bytes(text)

    def view(shape, dtype, fortran, data):
        return _view(shape, dtype.value(), fortran, to_bytes(data), numbers)

    def scalar(dtype, data):
        return view((), dtype, False, data).item()

    def from_buffer(data, dtype, shape, order):
        return _Array(view, (shape, dtype, order == "F", data))

    names = {
        "_codecs.encode": codecs_encode,
        "__builtin__.bytes": bytes_of_nothing,
        "numpy.dtype": _Dtype,
        "numpy.ndarray": None,
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray._reconstruct"] = lambda *subtype_shape_code: _Array(view)
        names[f"{core}.multiarray.scalar"] = scalar
        names[f"{core}.numeric._frombuffer"] = from_buffer
    return names


def bytes_of_nothing():
    """Returns b"", which Python 3 writes for Python 2 as `bytes()`."""
    return b""


class _Array:
    """An array whose state comes after its name."""

    def __init__(self, view, state=None):
        self._view, self._state = view, state

    def build(self, state):
        _, shape, dtype, fortran, data = state  # the first entry is the version
        self._state = shape, dtype, fortran, data

    def make(self):
        if self._state is None:
            raise ValueError("an array without its numbers")
        return self._view(*self._state)


class _Dtype:
    """A dtype whose byte order comes after its name."""

    def __init__(self, code, *align_copy):
        if type(code) is not str or not re.fullmatch("b1|f[248]|[iu][1248]", code):
            raise CheckpointError(
                f"Expected arrays of numbers. Received one of dtype {brief(code)}. Try: a file with the "
                "weights alone."
            )
        self._code, self._order = code, "|"

    def build(self, state):
        _, order, *structure = state[:5]
        if order not in ("<", ">", "|") or structure != [None] * 3:
            raise ValueError(f"the state {brief(state)} of a dtype")
        self._order = order

    def value(self):
        return np.dtype(self._order + self._code)


def _view(shape, dtype, fortran, data, numbers):
    if type(shape) is not tuple or any(type(side) is not int or side < 0 for side in shape):
        raise TypeError(f"the shape {brief(shape)}")
    if len(shape) > 32 or math.prod(shape) * dtype.itemsize != len(data):
        raise CheckpointError(
            f"Expected the bytes of an array of shape {brief(shape)} and dtype {dtype}. Received "
            f"{len(data)}. Try: downloading it again."
        )
    return numbers(data, dtype).reshape(shape, order="F" if fortran else "C")


def _numbers(data, dtype):
    """Returns bytes as a read-only array in this machine's byte order."""
    numbers = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)
    numbers.flags.writeable = False
    return numbers
