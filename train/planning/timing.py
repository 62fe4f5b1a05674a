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


def cost_of(config):
    """Trains some steps on the configuration's own videos, and returns the `Cost` of a clip.

    Nothing of them is left in this process, so that the run begins as if they had not been.

    Args:
        config: A `Config` with data.

    Raises:
        MemoryError: The process was ended, most likely for its memory.
        ValueError, OSError: The data or the weights do not do.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            small, large = pool.submit(_seconds, config).result()
        except concurrent.futures.process.BrokenProcessPool:
            raise MemoryError(
                f"Expected room for a batch of {config.batch_size} clips. Received a process that was ended, "
                f"most likely for its memory. Try: --batch_size={max(1, config.batch_size // 2)}"
            ) from None
    growing = max(0.0, (large - small) / (_SIDES[1] ** 2 - _SIDES[0] ** 2))
    return Cost(max(0.0, large - growing * _SIDES[1] ** 2), growing)


def _seconds(config):
    """Returns the seconds of a clip for each of `_SIDES`."""
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
    for side in _SIDES:
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
            found.append(statistics.median(steps[1:]) / config.batch_size)
    return found
