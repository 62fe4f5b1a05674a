"""The schedule of the learning rate, and SGD as in the papers' code."""

import keras
from keras import ops

from train.origin import NetworkError
from train.parts import part_of


@keras.saving.register_keras_serializable("keras_nonlocal")
class SGD(keras.optimizers.SGD):
    """SGD with momentum whose weight decay is a term of the gradient, as in Caffe2 and PyTorch.

        v <- momentum * v - m * learning_rate * (gradient + l2 * w);  w <- w + v

    m is the multiplier of the part of the network to which w belongs. The velocity v holds it, as it holds
    the learning rate, so a part with m goes the way of a run with m times the rate, decay included.

    Keras's own `weight_decay` shrinks the weights beside the momentum instead, which with a momentum of
    0.9 is a tenth as strong. Biases and the scales and offsets of norms are not decayed.

    Args:
        l2: Weight decay, at least 0.
        rates: Multipliers m of parts, {"stem": 0.1}, see `train.parts.part_of`; 1 for all others.
        *args, **kwargs: The arguments of `keras.optimizers.SGD`.
    """

    def __init__(self, *args, l2=0.0, rates=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.l2, self.rates = l2, dict(rates or {})

    def build(self, variables):
        """Builds the optimizer, and stores which variables are decayed, and which have another rate."""
        super().build(variables)
        self._decayed = frozenset(self._var_key(variable) for variable in variables if is_decayed(variable))
        parts = {self._var_key(variable): part_of(variable.path) for variable in variables}
        self._multipliers = {key: self.rates[part] for key, part in parts.items() if part in self.rates}

    def update_step(self, gradient, variable, learning_rate):
        """Adds the decay to the gradient and updates one variable."""
        key = self._var_key(variable)
        if key in self._decayed:
            gradient = ops.add(gradient, ops.multiply(variable, self.l2))
        if key in self._multipliers:
            learning_rate = ops.multiply(learning_rate, self._multipliers[key])
        super().update_step(gradient, variable, learning_rate)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """Returns the gradients as they are: `trainer.Trainer` has summed them over all devices."""
        return grads_and_vars

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "l2": self.l2, "rates": self.rates}


def is_decayed(variable):
    """Returns whether weight decay acts on a variable: it acts on kernels, not on biases and norms."""
    return variable.path.rsplit("/", 1)[-1] not in ("bias", "gamma", "beta")


def freeze(network, parts):
    """Lets parts of a network, see `train.parts.PARTS`, keep their weights and the statistics of their norms.

    Raises:
        NetworkError: A block that trains has a frozen batch norm with a gamma of 0, which lets no gradient
            through, so that it would stay an identity.
    """
    for layer in network.layers:
        if part_of(layer.name) in parts:
            layer.trainable = False
        elif part_of(layer.name) == "blocks":
            _check_trains(layer)


def _check_trains(block):
    for norm in block._flatten_layers():  # Keras has no public way to layers within a layer.
        is_frozen = isinstance(norm, keras.layers.BatchNormalization) and not norm.trainable
        if is_frozen and not ops.convert_to_numpy(norm.gamma).any():
            raise NetworkError(
                f"Expected the frozen batch norms of {block.name} to let gradients through. Received a gamma "
                "of 0, as a new block has whose norms train. Try: --block with frozen_batch_norm=False among "
                "its arguments, or weights that were made with --frozen_batch_norm"
            )


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
