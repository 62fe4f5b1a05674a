"""Checkpoints: what a run is after some of its steps, from which the same command goes on."""

import glob
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


class CheckpointError(Exception):
    """A checkpoint is of another network, or cannot be written."""


class Checkpoints:
    """The checkpoints in a directory, of which the newest are kept, and the best one.

    They are those of `tf.train.Checkpoint`: a file of tensors with their checksums, and an index, which is
    written last. The best one lies in a directory of its own, `best`.

    Args:
        directory: It is made if it is missing.
        variables: The Keras variables of a run, in an order that does not change.
        keep: How many of the newest are kept, at least 1.
    """

    def __init__(self, directory, variables, keep):
        self._directory = directory
        # Keras counts the layers of a process, so that names differ if a network is built again in it.
        self._shapes = [list(variable.shape) for variable in variables]
        self._rest = tf.Variable("", dtype=tf.string)
        self._checkpoint = tf.train.Checkpoint(
            variables=[variable.value for variable in variables], rest=self._rest
        )
        self._newest, self._best = (
            tf.train.CheckpointManager(self._checkpoint, where, most, checkpoint_name="step")
            for where, most in ((directory, keep), (os.path.join(directory, "best"), 1))
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
        text = json.dumps(rest | {"versions": versions, "shapes": self._shapes})
        try:
            self._rest.assign(text)
            (self._best if is_best else self._newest).save(checkpoint_number=rest["step"])
        except (tf.errors.OpError, OSError) as error:
            self._remove_parts()
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"Expected to write a checkpoint of step {rest['step']} to {self._directory}. Received: "
                f"{reason}. Try: room on the disk and the right to write; what was written before is whole."
            ) from error

    def restore(self):
        """Gives the variables the values of the newest checkpoint that is whole.

        Returns:
            What `save` took for `rest`, or None if there is no checkpoint.

        Raises:
            CheckpointError: There are checkpoints, but not one of them is whole, or they are of another
                network.
        """
        self._remove_parts()
        found = self.steps()
        for step in found:
            path = os.path.join(self._directory, f"step-{step}")
            try:
                self._check_shapes(path)
                self._checkpoint.restore(path).assert_consumed()
                return json.loads(self._rest.numpy())
            except _DAMAGED as error:
                reason = str(error).splitlines()[0]
                _logger.warning("%s is damaged, and the one before it is taken: %s", path, reason)
        if found:
            raise CheckpointError(
                f"Expected a whole checkpoint in {self._directory}. Received {len(found)} damaged ones. "
                "Try: another --workdir, or delete them, and the run begins anew."
            )
        return None

    def steps(self):
        """Returns the steps of which there are checkpoints, the newest first."""
        names = (os.path.basename(path) for path in glob.glob(os.path.join(self._directory, "step-*.index")))
        return sorted(int(name[5:-6]) for name in names if re.fullmatch(r"step-\d+\.index", name))[::-1]

    def _check_shapes(self, path):
        text = tf.train.load_checkpoint(path).get_tensor("rest/.ATTRIBUTES/VARIABLE_VALUE")
        rest = json.loads(text)
        if rest["shapes"] != self._shapes:
            versions = ", ".join(map(" ".join, rest["versions"].items()))
            raise CheckpointError(
                f"Expected a checkpoint of this network. Received {path} with other variables; it "
                f"was made by {versions}. Try: these versions, or another --workdir."
            )

    def _remove_parts(self):
        """Removes what a write left behind that did not come to its end."""
        for part in glob.glob(os.path.join(self._directory, "**", "*_temp"), recursive=True):
            shutil.rmtree(part, ignore_errors=True)
        for data in glob.glob(os.path.join(self._directory, "**", "step-*.data-*"), recursive=True):
            if not os.path.exists(f"{data.rpartition('.data-')[0]}.index"):
                os.remove(data)
