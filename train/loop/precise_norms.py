"""Precise batch norm: for an evaluation, norms have the statistics of many training batches."""

import contextlib
import dataclasses
import types

import numpy as np
import tensorflow as tf

from train.data import training_batches
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
    """
    model, count = run.model, min(run.config.precise_batch_norm, run.schedule.steps)
    if not (count and model.norms):
        yield
        return
    variables = [v for norm in model.norms for v in (norm.moving_mean, norm.moving_variance)]
    precise = _statistics(run, step, count)
    before = [v.numpy() for v in variables]
    with model.distribute_strategy.scope():
        for variable, value in zip(variables, precise, strict=True):
            variable.assign(value)
        try:
            yield
        finally:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)


def _statistics(run, step, count):
    """Returns mean and variance of one norm after the other, over the batches before a step."""
    model, batches = run.model, iter(_batches(run, step, count))
    states, total = [tf.constant(seed.numpy()) for seed in model.seeds], 0.0
    for _ in range(count):
        found, states = model.statistics(next(batches), states)
        total = total + found.numpy()
        run.batches += 1
        run.listen()
        if run.is_stopping:
            raise run.stopped()
    means, squares = total / count
    ends = np.cumsum([norm.moving_mean.shape[0] for norm in model.norms])[:-1]
    pairs = (np.split(values, ends) for values in (means, np.maximum(squares - means**2, 0.0)))
    return [value for pair in zip(*pairs, strict=True) for value in pair]


def _batches(run, step, count):
    """Returns the batches of training before a step, for this worker's devices."""
    # A service gives them in any order. Steps that were left out later may not count when it is done again.
    config, source = dataclasses.replace(run.config, data_service=""), run.data.train
    skipped, part = tuple(s for s in run.skipped if s < step), run.workers.part
    nothing = dict.fromkeys(("use", "replace", "add", "check"), lambda *_: None)
    account = types.SimpleNamespace(path=lambda row: source.manifest.videos[row].path, **nothing)
    plan = account, run.schedule, max(0, step - count), skipped, part
    return shared_out(training_batches(config, source, *plan).take(count), run.model, part)
