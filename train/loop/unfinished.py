"""The weights of a run that has not ended: those of its newest checkpoint."""

import contextlib
import dataclasses
import os
import shutil
import tempfile

from keras_nonlocal.described import without_memory
from train.command_line import read_config
from train.loop.checkpoints import CheckpointError, newest_values
from train.network import build_network


@contextlib.contextmanager
def run_of_checkpoint(source):
    """Gives the path of weights; of a run that has not ended, that of a directory as it leaves in its end.

    Args:
        source: The path of weights, which is given again, or of a run's directory without model.keras. The
            weights are then the moving averages, where the run has them.

    Raises:
        ValueError: No checkpoint of the run is whole, or its variables are not those of its flags.
        OSError: A file cannot be read or written.
    """
    ended = os.path.exists(os.path.join(source, "model.keras"))
    if ended or not os.path.isdir(os.path.join(source, "checkpoints")):
        yield source
        return
    config = read_config(source)
    try:
        values = newest_values(os.path.join(source, "checkpoints"))
    except CheckpointError as error:
        raise ValueError(str(error)) from error
    with tempfile.TemporaryDirectory() as folder:
        _network(config, values, source).save(os.path.join(folder, "model.keras"))
        shutil.copy(os.path.join(source, "run.flags"), folder)
        yield folder


def _network(config, values, source):
    """Returns the network of a run with the values of a checkpoint: variables, then others, then averages."""
    config = dataclasses.replace(config, weights="", adapt=())
    with without_memory():
        paths = [variable.path for variable in build_network(config, 1).variables]
    model = build_network(config, values[paths.index("fc/bias")].shape[0])
    variables, averaged = model.variables, model.trainable_weights if config.ema else []
    found = [*values[: len(variables)], *values[len(values) - len(averaged) :]]
    expected = [*variables, *averaged]
    if [value.shape for value in found] != [tuple(variable.shape) for variable in expected]:
        raise ValueError(
            f"Expected a checkpoint of the network that {source}/run.flags describes. Received other "
            "variables. Try: the same command again, which ends the run and writes model.keras"
        )
    for variable, value in zip(expected, found, strict=True):
        variable.assign(value)
    return model
