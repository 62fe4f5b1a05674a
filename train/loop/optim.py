"""SGD as in the papers' code, and parts of a network that do not train."""

import keras
from keras import ops

from train.config.parts import kind_of, part_of
from train.origin import NetworkError


@keras.saving.register_keras_serializable("keras_nonlocal")
class SGD(keras.optimizers.SGD):
    """SGD with momentum as in PyTorch and, by another way, Caffe2: the rate acts on the velocity.

        g <- gradient + l2 * w;  v <- momentum * v + g
        w <- w - m * learning_rate * v,  with Nesterov  w - m * learning_rate * (g + momentum * v)

    Keras's own SGD keeps the rate in the velocity, so that a rate that drops acts some tens of steps later,
    and its `weight_decay` shrinks the weights beside the momentum, which with 0.9 is a tenth as strong.

    Args:
        l2: Weight decay, at least 0.
        decayed: On what it acts, some of `train.config.parts.KINDS`.
        rates: Multipliers m, {"stem": 0.1, "biases": 2.0}, of parts and of biases, see
            `train.config.parts`; that of a bias is the product of both, and it is 1 for all others.
        *args, **kwargs: The arguments of `keras.optimizers.SGD`.
    """

    def __init__(self, *args, l2=0.0, decayed=("kernels",), rates=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.l2, self.decayed, self.rates = l2, tuple(decayed), dict(rates or {})

    def build(self, variables):
        """Builds the optimizer, and stores which variables are decayed, and which have another rate."""
        super().build(variables)
        keys = {self._var_key(variable): variable.path for variable in variables}
        self._decayed = frozenset(key for key, path in keys.items() if kind_of(path) in self.decayed)
        self._multipliers = {key: self._multiplier(path) for key, path in keys.items()}

    def _multiplier(self, path):
        of_kind = self.rates.get("biases", 1.0) if kind_of(path) == "biases" else 1.0
        return self.rates.get(part_of(path), 1.0) * of_kind

    def update_step(self, gradient, variable, learning_rate):
        """Adds the decay to the gradient and updates one variable."""
        key = self._var_key(variable)
        rate = ops.cast(learning_rate, variable.dtype) * self._multipliers[key]
        direction = ops.cast(gradient, variable.dtype)
        if key in self._decayed:
            direction = ops.add(direction, ops.multiply(variable, self.l2))
        if self.momentum:
            velocity = self.momentums[self._get_variable_index(variable)]
            moved = ops.add(ops.multiply(velocity, self.momentum), direction)
            self.assign(velocity, moved)
            direction = ops.add(direction, ops.multiply(moved, self.momentum)) if self.nesterov else moved
        self.assign_sub(variable, ops.multiply(rate, direction))

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """Returns the gradients as they are: `trainer.Trainer` has summed them over all devices."""
        return grads_and_vars

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "l2": self.l2, "decayed": self.decayed, "rates": self.rates}


def freeze(network, parts):
    """Lets some of `train.config.parts.PARTS` keep their weights and the statistics of their norms.

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
