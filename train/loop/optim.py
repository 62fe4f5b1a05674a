"""SGD as in the papers' code, AdamW, and parts of a network that do not train."""

import math

import keras
from keras import ops

from train.config.parts import kind_of, part_of
from train.origin import NetworkError


class _InGroups:
    """What an optimiser of groups of variables has beside its rule: which decay, and at which rates.

    Args:
        decay: Weight decay, at least 0.
        decayed: On what it acts, some of `train.config.parts.KINDS`.
        rates: Multipliers of the rate, {"stem": 0.1, "biases": 2.0}, of parts and of kinds, see
            `train.config.parts`; a variable has the product of both, and 1 stands for all that are left out.
    """

    def __init__(self, *args, decay=0.0, decayed=("kernels", "regions"), rates=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.decay, self.decayed, self.rates = decay, tuple(decayed), dict(rates or {})

    def build(self, variables):
        """Builds the optimiser, and stores the decay and the multiplier of each variable."""
        super().build(variables)
        self._decays = [self.decay * (kind_of(v.path) in self.decayed) for v in variables]
        self._multipliers = [
            self.rates.get(part_of(v.path), 1.0) * self.rates.get(kind_of(v.path), 1.0) for v in variables
        ]

    def _group(self, variable, learning_rate):
        """Returns the number of a variable, its rate and its decay."""
        number = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype) * self._multipliers[number]
        return number, rate, self._decays[number]

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """Returns the gradients as they are: `trainer.Trainer` has summed them over all devices."""
        return grads_and_vars

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "decay": self.decay, "decayed": self.decayed, "rates": self.rates}


@keras.saving.register_keras_serializable("keras_nonlocal")
class SGD(_InGroups, keras.optimizers.SGD):
    """SGD with momentum as in PyTorch and, by another way, Caffe2: the rate acts on the velocity.

        g <- gradient + decay * w;  v <- momentum * v + g
        w <- w - m * learning_rate * v,  with Nesterov  w - m * learning_rate * (g + momentum * v)

    m is the variable's multiplier. Keras's own SGD keeps the rate in the velocity, so that a rate that drops
    acts some tens of steps later, and its `weight_decay` shrinks the weights beside the momentum, which with
    0.9 is a tenth as strong.

    Args:
        decay, decayed, rates: As for both optimisers, {"stem": 0.1, "biases": 2.0}; see `_InGroups`.
        *args, **kwargs: The arguments of `keras.optimizers.SGD`.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Adds the decay to the gradient and updates one variable."""
        number, rate, decay = self._group(variable, learning_rate)
        direction = ops.cast(gradient, variable.dtype)
        if decay:
            direction = ops.add(direction, ops.multiply(variable, decay))
        if self.momentum:
            velocity = self.momentums[number]
            moved = ops.add(ops.multiply(velocity, self.momentum), direction)
            self.assign(velocity, moved)
            direction = ops.add(direction, ops.multiply(moved, self.momentum)) if self.nesterov else moved
        self.assign_sub(variable, ops.multiply(rate, direction))


@keras.saving.register_keras_serializable("keras_nonlocal")
class AdamW(_InGroups, keras.optimizers.Adam):
    """AdamW as in PyTorch (Loshchilov and Hutter 2019, algorithm 2): the decay acts beside the gradient.

        w <- w - m * learning_rate * decay * w
        a <- beta_1 * a + (1 - beta_1) * gradient;  b <- beta_2 * b + (1 - beta_2) * gradient^2
        w <- w - m * learning_rate * (a / (1 - beta_1^t)) / (sqrt(b / (1 - beta_2^t)) + epsilon)

    m is the variable's multiplier, and t counts steps from 1. Keras's own Adam adds epsilon before b is
    corrected, which at the first step with the default betas is 32 times as much.

    Args:
        decay, decayed, rates: As for both optimisers; see `_InGroups`.
        *args, **kwargs: The arguments of `keras.optimizers.Adam`; epsilon is 1e-8 unless it is given.
    """

    def __init__(self, *args, epsilon=1e-8, **kwargs):
        super().__init__(*args, epsilon=epsilon, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        """Shrinks one variable and updates it."""
        number, rate, decay = self._group(variable, learning_rate)
        gradient, step = ops.cast(gradient, variable.dtype), ops.cast(self.iterations + 1, variable.dtype)
        mean, square = self._momentums[number], self._velocities[number]
        if decay:
            self.assign_sub(variable, ops.multiply(variable, rate * decay))
        self.assign_add(mean, ops.multiply(ops.subtract(gradient, mean), 1 - self.beta_1))
        self.assign_add(square, ops.multiply(ops.subtract(ops.square(gradient), square), 1 - self.beta_2))
        corrected = ops.divide(square, _lacking(self.beta_2, step))
        rate = ops.divide(rate, _lacking(self.beta_1, step))
        self.assign_sub(variable, ops.divide(rate * mean, ops.sqrt(corrected) + self.epsilon))


def _lacking(beta, step):
    """Returns 1 - beta^step, of which a difference of float32 would keep four digits where beta is 0.999."""
    return -ops.expm1(step * math.log(beta)) if beta else 1.0


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


def freeze_norms(network):
    """Lets all batch norms but the first keep their weights and statistics; those within blocks train.

    This is the partial batch norm of TSN (Wang et al. 2016), for data sets that are small beside that of the
    weights. The released code of TSN and TSM counts the norms of 2-D convolutions alone, so that those of
    attention blocks, which are of 3-D ones, go on there, too.
    """
    layers = [layer for layer in network.layers if part_of(layer.name) != "blocks"]
    found = [norm for layer in layers for norm in layer._flatten_layers()]
    for norm in [norm for norm in found if isinstance(norm, keras.layers.BatchNormalization)][1:]:
        norm.trainable = False


def _check_trains(block):
    for norm in block._flatten_layers():  # Keras has no public way to layers within a layer.
        is_frozen = isinstance(norm, keras.layers.BatchNormalization) and not norm.trainable
        if is_frozen and not ops.convert_to_numpy(norm.gamma).any():
            raise NetworkError(
                f"Expected the frozen batch norms of {block.name} to let gradients through. Received a gamma "
                "of 0, as a new block has whose norms train. Try: --block with frozen_batch_norm=False among "
                "its arguments, or weights that were made with --frozen_batch_norm"
            )
