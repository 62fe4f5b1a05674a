"""What a training step of a configuration takes on this machine, tried in a process of its own."""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import logging
import multiprocessing
import os
import statistics
import sys
import time

from train.planning.choices import Cost

_SIDES = (64, 112)  # Two sizes tell what grows with it.
_STEPS = 3


def cost_of(config, sides=_SIDES):
    """Trains some steps on the configuration's own videos, and returns the `Cost` of a clip.

    Nothing of them is left in this process, so that the run begins as if they had not been.

    Args:
        config: A `Config` with data.
        sides: The sides of clips that are tried, two different ones; or one, for its share of both parts.

    Raises:
        MemoryError: The process was ended, most likely for its memory.
        ValueError, OSError: The data or the weights do not do.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            found = pool.submit(_seconds, config, tuple(sides)).result()
        except concurrent.futures.process.BrokenProcessPool:
            raise MemoryError(
                f"Expected room for a batch of {config.batch_size} clips. Received a process that was ended, "
                f"most likely for its memory. Try: --batch_size={max(1, config.batch_size // 2)}"
            ) from None
    (small, of_small), (large, of_large) = found[0], found[-1]
    if small == large:
        return Cost(0.0, of_small / small**2)
    growing = max(0.0, (of_large - of_small) / (large**2 - small**2))
    return Cost(max(0.0, of_large - growing * large**2), growing)


def _seconds(config, sides):
    """Returns [(side, seconds of a clip), ...]."""
    import keras
    import tensorflow as tf

    from train.data import open_data
    from train.loop.run import build_model

    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - The run says all of it again.
    logging.disable()
    keras.config.set_dtype_policy(config.dtype_policy)
    strategy = tf.distribute.MirroredStrategy()
    with contextlib.closing(open_data(config)) as data, strategy.scope():
        model = build_model(config, data)
    found = []
    for side in sides:
        sized = dataclasses.replace(config, crop=side, short_side=round(side * 8 / 7))
        with contextlib.closing(open_data(sized)) as data:
            batches = iter(strategy.experimental_distribute_dataset(data.batches()))
            model.make_train_function(force=True)
            times = [time.perf_counter()]
            for _ in range(_STEPS + 1):
                logs = model.train_function(batches)
                float(logs["loss"])
                times.append(time.perf_counter())
            steps = [after - before for before, after in itertools.pairwise(times)]
            found.append((side, statistics.median(steps[1:]) / config.batch_size))
    return found
