"""The schedule of the learning rate, and SGD as in the papers' code."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_nonlocal")
class SGD(keras.optimizers.SGD):
    """SGD with momentum whose weight decay is a term of the gradient, as in Caffe2 and PyTorch.

        v <- momentum * v - learning_rate * (gradient + l2 * w);  w <- w + v

    Keras's own `weight_decay` shrinks the weights beside the momentum instead, which with a momentum of
    0.9 is a tenth as strong. Biases and the scales and offsets of norms are not decayed.

    Args:
        l2: Weight decay, at least 0.
        *args, **kwargs: The arguments of `keras.optimizers.SGD`.
    """

    def __init__(self, *args, l2=0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.l2 = l2

    def build(self, variables):
        """Builds the optimizer, and stores which variables are decayed."""
        super().build(variables)
        self._decayed = frozenset(self._var_key(variable) for variable in variables if is_decayed(variable))

    def update_step(self, gradient, variable, learning_rate):
        """Adds the decay to the gradient and updates one variable."""
        if self._var_key(variable) in self._decayed:
            gradient = ops.add(gradient, ops.multiply(variable, self.l2))
        super().update_step(gradient, variable, learning_rate)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """Returns the gradients as they are: `trainer.Trainer` has summed them over all devices."""
        return grads_and_vars

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "l2": self.l2}


def is_decayed(variable):
    """Returns whether weight decay acts on a variable: it acts on kernels, not on biases and norms."""
    return variable.path.rsplit("/", 1)[-1] not in ("bias", "gamma", "beta")


def cosine_with_warmup(peak, steps_per_epoch, epochs, warmup_epochs):
    """Returns a schedule that rises linearly from peak / 10 to peak, and falls to 0 as half a cosine.

    Args:
        peak: Largest learning rate.
        steps_per_epoch: Steps in an epoch.
        epochs: Epochs of the whole schedule.
        warmup_epochs: Epochs of the linear part, fewer than `epochs`; may be 0 or a fraction. A step at least
            is left for the cosine.
    """
    warmup_steps = min(round(warmup_epochs * steps_per_epoch), epochs * steps_per_epoch - 1)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=peak / 10 if warmup_steps else peak,
        warmup_target=peak if warmup_steps else None,
        warmup_steps=warmup_steps,
        decay_steps=epochs * steps_per_epoch - warmup_steps,
    )
