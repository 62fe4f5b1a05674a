"""What the Keras backends do each in their own way: differentiating."""

import contextlib

import keras
import numpy as np
from keras import ops


def gradients(function, *arrays):
    """Returns the gradient of `function`, from float32 tensors to a scalar, by each of `arrays`."""
    tensors = [ops.convert_to_tensor(np.asarray(array, "float32")) for array in arrays]
    found = _GRADIENTS[keras.backend.backend()](function, tensors)
    return [ops.convert_to_numpy(gradient) for gradient in found]


def recording():
    """Returns a context in which torch, which conftest.py keeps from it, records what it differentiates."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.enable_grad()


def differentiates_half_convolutions():
    """Returns False where torch, on a processor without float16, has no gradient for channels-last images."""
    if keras.backend.backend() != "torch":
        return True
    import torch

    with recording():
        kernel = torch.ones(3, 3, 2, 1, dtype=torch.float16, requires_grad=True)
        images = torch.ones(1, 5, 4, 2, dtype=torch.float16).permute(0, 3, 1, 2)
        try:
            torch.nn.functional.conv2d(images, kernel.permute(3, 2, 0, 1)).sum().backward()
        except RuntimeError:
            return False
    return True


def _with_tensorflow(function, tensors):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensors)
        total = function(*tensors)
    return tape.gradient(total, tensors)


def _with_jax(function, tensors):
    import jax

    return jax.jit(jax.grad(function, argnums=range(len(tensors))))(*tensors)


def _with_torch(function, tensors):
    import torch

    with recording():
        return torch.autograd.grad(function(*(tensor.requires_grad_() for tensor in tensors)), tensors)


_GRADIENTS = {"tensorflow": _with_tensorflow, "jax": _with_jax, "torch": _with_torch}
