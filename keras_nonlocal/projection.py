"""The 1x1x1 convolutions of the blocks, and the normalisation that makes a block start as an identity.

A 1x1x1 convolution is a Dense layer on the last axis, at every rank.
"""

import keras

from keras_nonlocal.batch_norm import BatchNormalization

# What the argument `frozen_batch_norm` of a block may be.
FROZEN = (None, False, True)


def projection(layer, width, name, use_bias=True, zero=False):
    """Returns a child of `layer` that maps each position to `width` channels; `zero` starts them at 0.

    The initializer is copied, because Keras draws equal values from one instance each time, and
    theta and phi would start equal. A seed given by the user is copied too and makes them equal.
    """
    initializer = "zeros" if zero else keras.initializers.serialize(layer.kernel_initializer)
    return keras.layers.Dense(
        width,
        use_bias=use_bias,
        kernel_initializer=keras.initializers.get(initializer),
        dtype=layer.dtype_policy,
        name=name,
    )


def batch_norm(layer, name="norm", momentum=0.9, **options):
    """Returns a batch norm for `layer`; where that has `frozen_batch_norm`, it does not train."""
    return BatchNormalization(
        momentum=momentum,
        epsilon=1e-5,
        trainable=not layer.frozen_batch_norm,
        dtype=layer.dtype_policy,
        name=name,
        **options,
    )


def closing_norm(layer, **options):
    """Returns the batch norm at the end of the residual branch of `layer`: gamma and beta start at 0.

    A frozen gamma starts at 1, as the branch could not be trained behind a 0; then W_z has to start at 0.
    """
    return batch_norm(layer, gamma_initializer="ones" if layer.frozen_batch_norm else "zeros", **options)
