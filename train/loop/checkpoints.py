"""Checkpoints: what a run is after some of its steps, from which the same command goes on."""

import contextlib
import json
import logging
import os
import re
import shutil

import keras
import tensorflow as tf

import keras_nonlocal

_logger = logging.getLogger(__name__)

# What a file raises that was cut short, or damaged, or is none.
_DAMAGED = (tf.errors.OpError, ValueError, LookupError, TypeError, AssertionError)
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"  # What TensorFlow adds to the names of variables.
_REST = f"rest{_VALUE}"
_NAME = re.compile(r"step-(\d+)-(\d+)\.index")


class CheckpointError(Exception):
    """A checkpoint is of another network or of other videos, or cannot be written."""


class Checkpoints:
    """The checkpoints in a directory, of which the newest are kept, and the best one.

    They are those of `tf.train.Checkpoint`: a file of tensors with their checksums, and an index, which is
    written last. Each has a name of its own, `step-12-0`, so none is written over. The best one lies in a
    directory of its own, `best`.

    Args:
        directory: It is made if it is missing.
        variables: The Keras variables of a run, in an order that does not change.
        keep: How many of the newest are kept, at least 1.

    Raises:
        CheckpointError: TensorFlow takes the directory's name for a pattern, and would not find it again.
    """

    def __init__(self, directory, variables, keep):
        if wrong := set(os.fspath(directory)) & set("*?[]\\"):
            raise CheckpointError(
                "Expected a --workdir whose path TensorFlow does not take for a pattern. Received "
                f"{directory!r} with {' '.join(sorted(wrong))}. Try: another --workdir."
            )
        self._directory, self._best, self._keep = directory, os.path.join(directory, "best"), keep
        # Keras counts the layers of a process, so that names differ if a network is built again in it.
        self._shapes = [list(variable.shape) for variable in variables]
        self._rest = tf.Variable("", dtype=tf.string)
        self._checkpoint = tf.train.Checkpoint(
            variables=[variable.value for variable in variables], rest=self._rest
        )

    def save(self, rest, is_best=False):
        """Writes a checkpoint.

        Args:
            rest: Dictionary for JSON of what is no variable. Its `step` is the count of steps that are done.
            is_best: Whether to write it to the place of the best one instead.

        Raises:
            CheckpointError: It cannot be written. The others are as they were.
        """
        versions = {"keras_nonlocal": keras_nonlocal.__version__, "keras": keras.__version__}
        versions["tensorflow"] = tf.__version__
        directory, keep = (self._best, 1) if is_best else (self._directory, self._keep)
        try:
            os.makedirs(directory, exist_ok=True)
            again = sum(step == rest["step"] for step, _ in _numbers(directory))
            while os.path.exists(path := os.path.join(directory, f"step-{rest['step']}-{again}.index")):
                again += 1
            self._rest.assign(json.dumps(rest | {"versions": versions, "shapes": self._shapes}))
            self._checkpoint.write(path.removesuffix(".index"))
        except (tf.errors.OpError, OSError) as error:
            _remove_parts(directory)
            raise CheckpointError(
                f"Expected to write a checkpoint of step {rest['step']} to {directory}. Received: "
                f"{_first_line(error)}. Try: room on the disk and the right to write; what was written "
                "before is whole."
            ) from error
        for path in _paths(directory)[keep:]:
            _remove(path)

    def restore(self):
        """Gives the variables the values of the newest checkpoint that is whole, or of the best one.

        Damaged ones that are newer are removed.

        Returns:
            What `save` took for `rest`, or None if there is no checkpoint.

        Raises:
            CheckpointError: There are checkpoints, but not one of them is whole, or they are of another
                network.
        """
        return self._restore(self._directory, self._best)

    def restore_best(self, step):
        """Gives the variables the values of the best checkpoint.

        Raises:
            CheckpointError: It is damaged, or gone, or not that of this step.
        """
        try:
            rest = self._restore(self._best)
        except CheckpointError as error:
            rest = {"step": f"a damaged one: {error}"}
        if rest is None or rest["step"] != step:
            raise CheckpointError(
                f"Expected the checkpoint of the best epoch, which ended at step {step}, in {self._best}. "
                f"Received {'none' if rest is None else rest['step']}. Try: --keep_epoch=last"
            )

    def _restore(self, *directories):
        damaged = []
        for directory in directories:
            _remove_parts(directory)
            for path in _paths(directory):
                try:
                    self._check_shapes(path)
                    self._checkpoint.read(path).assert_consumed()
                    rest = json.loads(self._rest.numpy())
                except _DAMAGED as error:
                    damaged.append(path)
                    reason = _first_line(error)
                    _logger.warning("%s is damaged, and the one before it is taken: %s", path, reason)
                    continue
                for other in damaged:
                    _remove(other)
                return rest
        if damaged:
            raise CheckpointError(
                f"Expected a whole checkpoint in {self._directory}. Received {len(damaged)} damaged ones. "
                "Try: another --workdir, or delete them, and the run begins anew."
            )
        return None

    def steps(self):
        """Returns the steps of which there are checkpoints, the newest first."""
        return [step for step, _ in _numbers(self._directory)]

    def _check_shapes(self, path):
        text = tf.train.load_checkpoint(path).get_tensor(_REST)
        rest = json.loads(text)
        if rest["shapes"] != self._shapes:
            versions = ", ".join(map(" ".join, rest["versions"].items()))
            raise CheckpointError(
                f"Expected a checkpoint of this network. Received {path} with other variables; it "
                f"was made by {versions}. Try: these versions, or another --workdir."
            )


def newest_values(directory):
    """Returns the values of all variables of the newest whole checkpoint, in the order of `Checkpoints`.

    Raises:
        CheckpointError: Not one is whole.
    """
    for path in _paths(directory):
        with contextlib.suppress(*_DAMAGED):
            reader = tf.train.load_checkpoint(path)
            count = len(json.loads(reader.get_tensor(_REST))["shapes"])
            return [reader.get_tensor(f"variables/{index}{_VALUE}") for index in range(count)]
    raise CheckpointError(
        f"Expected a whole checkpoint in {directory}. Received none. Try: the same command again, which "
        "goes on with the run or begins it"
    )


def _numbers(directory):
    """Returns the (step, number among those of the step) of the checkpoints, the newest first."""
    names = os.listdir(directory) if os.path.isdir(directory) else ()
    found = filter(None, map(_NAME.fullmatch, names))
    return sorted((tuple(map(int, name.groups())) for name in found), reverse=True)


def _paths(directory):
    return [os.path.join(directory, "step-{}-{}".format(*numbers)) for numbers in _numbers(directory)]


def _remove(path):
    """Removes a checkpoint, its index first."""
    directory, begin = os.path.split(path)
    names = [name for name in os.listdir(directory) if name.startswith(f"{begin}.")]
    for name in sorted(names, key=lambda name: not name.endswith(".index")):
        with contextlib.suppress(OSError):
            os.remove(os.path.join(directory, name))


def _remove_parts(directory):
    """Removes what a write left behind that did not come to its end."""
    whole = {os.path.basename(path) for path in _paths(directory)}
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        path = os.path.join(directory, name)
        if name.endswith("_temp"):
            shutil.rmtree(path, ignore_errors=True)
        elif ".data-" in name and name.partition(".data-")[0] not in whole:
            with contextlib.suppress(OSError):
                os.remove(path)


def _first_line(error):
    return (str(error) or repr(error)).splitlines()[0]
