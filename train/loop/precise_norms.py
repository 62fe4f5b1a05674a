"""Precise batch norm: for an evaluation, norms have the statistics of many training batches."""

import contextlib
import dataclasses

import keras
import numpy as np
import tensorflow as tf

from train.data import training_batches
from train.loop.trainer import all_reduce
from train.scoring.evaluation import shared_out


@contextlib.contextmanager
def precise_norms(run, step):
    """Within the block, the batch norms that train have the statistics of N training batches.

        mean = E[mean_b],  variance = E[variance_b + mean_b^2] - mean^2

    b goes over N batches, and in each over its devices and its parts, as a norm sees them in training. This
    is what FAIR's released code does, with N = 200. There the running statistics are written over. Here they
    go on after the block as if nothing had been, with all else that a step changes, so that training is the
    same with any N.

    The batches are those before a step, or, where there are fewer than N, the first N of the training, so
    that the same weights have the same statistics each time.

    Cost: N forward passes of training.

    Args:
        run: The `train.loop.state.RunState`; N is `config.precise_batch_norm`, at most all batches, and with
            0 the block has the running statistics.
        step: The count of steps after which the weights were as they are.

    Raises:
        Stopped: A signal asks for the end.
        TooManyBadVideos: Of the videos of the batches, more are bad than may be.
    """
    model, layers = run.model, run.model._flatten_layers()  # Keras has no public way to those within layers.
    norms = [x for x in layers if isinstance(x, keras.layers.BatchNormalization) and x.trainable]
    count = min(run.config.precise_batch_norm, run.schedule.steps)
    if not (norms and count):
        yield
        return
    variables = [v for norm in norms for v in (norm.moving_mean, norm.moving_variance)]
    precise = _statistics(run, norms, step, count)
    before = [v.numpy() for v in variables]
    with model.distribute_strategy.scope():
        for variable, value in zip(variables, precise, strict=True):
            variable.assign(value)
        try:
            yield
        finally:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)


def _statistics(run, norms, step, count):
    """Returns the mean and the variance of each norm, over the batches before a step."""
    model, seeds = run.model, _seeds(run.model)
    states, total = [seed.numpy() for seed in seeds], 0.0
    see = _seeing(model, norms, seeds)
    batches = iter(_batches(run, step, count))
    for _ in range(count):
        found, states = see(next(batches), states)
        total = total + found.numpy()
        run.batches += 1
        run.listen()
        if run.is_stopping:
            raise run.stopped()
    means, squares = total / count
    ends = np.cumsum([norm.moving_mean.shape[0] for norm in norms])[:-1]
    pairs = (np.split(values, ends) for values in (means, np.maximum(squares - means**2, 0.0)))
    return [value for pair in zip(*pairs, strict=True) for value in pair]


def _seeds(model):
    return [v for v in model.non_trainable_variables if v.path.endswith("seed_generator_state")]


def _batches(run, step, count):
    """Returns the batches of training before a step, for this worker's devices; no account is changed."""
    # A service gives them in any order. Steps that were left out later may not count when it is done again.
    config = dataclasses.replace(run.config, data_service="")
    source, account = run.data.train, run.data.accounts["train"]
    own, skipped = (
        account.joined([account.state(run.step)]),
        tuple(s for s in run.skipped if s < step),
    )
    part = run.workers.part
    batches = training_batches(config, source, own, run.schedule, max(0, step - count), skipped, part)
    return shared_out(batches.take(count), run.model, part)


def _seeing(model, norms, seeds):
    """Returns the function (batch, states of the seeds) -> (float64 [2, channels of all norms], states).

    Its rows are E[mean] and E[variance + mean^2] over devices and parts.
    """
    strategy, own = model.distribute_strategy, [v for n in norms for v in (n.moving_mean, n.moving_variance)]

    def see(clips, states):
        found = []
        for part in tf.split(clips, model.accumulation):
            # Beside zeros, a moving average gets the statistics of the batch times 1 - momentum.
            known = [(v, tf.zeros(v.shape)) for v in own] + list(zip(seeds, states, strict=True))
            with keras.StatelessScope(state_mapping=known) as scope:
                model.logits(part)
            states = [scope.get_current_value(seed) for seed in seeds]
            of_batch = [
                tf.concat(
                    [tf.cast(scope.get_current_value(v), tf.float64) / (1 - n.momentum) for n, v in of], 0
                )
                for of in ([(n, n.moving_mean) for n in norms], [(n, n.moving_variance) for n in norms])
            ]
            found.append(tf.stack([of_batch[0], of_batch[1] + of_batch[0] ** 2]))
        return all_reduce(tf.distribute.ReduceOp.MEAN, tf.reduce_mean(tf.stack(found), axis=0)), states

    @tf.function(autograph=False, reduce_retracing=True)
    def seeing(batch, states):
        found = strategy.run(see, args=(batch[0], states))
        return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], found)

    return seeing
