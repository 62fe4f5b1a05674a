"""The state of a run: how far it is, what it has seen, and the checkpoints that hold all of it."""

import contextlib
import json
import logging
import os
import time
import zipfile

import keras
import numpy as np

from pipelines.whole_files import whole_file
from train.evaluate import Progress
from train.loop.checkpoints import CheckpointError, Checkpoints
from train.loop.stopping import Stopped

_logger = logging.getLogger(__name__)


class RunState:
    """The state of a run, which `save` and `restore` write to its workdir and read from there.

    Args:
        config: A `Config`.
        data: The run's `Data`.
        model: The built and compiled model.
        average: The `MovingAverage` of its weights.
        stop: A `StopRequest`.

    Attributes:
        step: How many steps are done, over all epochs.
        epoch: How many epochs are done, validation included.
        logs: The logs of the epoch that is under way, at its last checkpoint.
        metrics: The values of the metrics' variables then, or None.
        skipped: The steps whose videos gave way to others, as their loss was NaN.
        overflows: How many steps left the weights as they were, as their gradients overflowed in float16.
        best: {"epoch", "top1"} of the epoch with the best validation, or None.
    """

    def __init__(self, config, data, model, average, stop):
        self.config, self.data, self.model, self.average, self.stop = config, data, model, average, stop
        self.step, self.epoch, self.overflows = 0, 0, 0
        self.logs, self.metrics, self.skipped, self.best = {}, None, [], None
        self._seconds, self._since = 0.0, time.monotonic()
        self._saved_at, self._saved_step = time.monotonic(), 0
        of_metrics = {id(variable) for variable in model.metrics_variables}
        of_model = [variable for variable in model.variables if id(variable) not in of_metrics]
        variables = [*of_model, *model.optimizer.variables, *average.variables]
        directory = os.path.join(config.workdir, "checkpoints")
        self._checkpoints = Checkpoints(directory, variables, config.keep_checkpoints)
        self._scores_path = os.path.join(config.workdir, "scores.partial.npz")

    @property
    def steps_per_epoch(self):
        """The count of steps in an epoch."""
        return self.data.schedule.steps_per_epoch

    @property
    def is_trained(self):
        """Whether all epochs are done."""
        return self.epoch >= self.config.epochs

    @property
    def seconds(self):
        """Seconds of training until now, over all parts of the run."""
        return self._seconds + time.monotonic() - self._since

    def restore(self, is_rewind=False):
        """Takes the state of the newest whole checkpoint; without one, writes one of the beginning.

        For a rewind there has to be one.

        Raises:
            CheckpointError: Not one checkpoint is whole, they are of other videos, or one cannot be written.
        """
        state = self._checkpoints.restore()
        if state is None and is_rewind:
            raise CheckpointError(
                f"Expected a checkpoint in {self.config.workdir} to go back to. Received none. Try: the same "
                "command again, which begins anew."
            )
        if state is None:
            self.save()
            return
        if state["data"] != self._data_of_run():
            raise CheckpointError(
                f"Expected the videos with which the run in {self.config.workdir} began. Received others: "
                "manifest, records or classes have changed since. Try: what they were, or another --workdir."
            )
        for name in ("step", "epoch", "logs", "metrics", "skipped", "overflows", "best"):
            setattr(self, name, state[name])
        for name, account in self.data.accounts.items():
            account.restore(state["accounts"][name])
        self._seconds, self._since = state["seconds"], time.monotonic()
        self._saved_at, self._saved_step = time.monotonic(), self.step

    def save(self, logs=None, is_best=False):
        """Writes a checkpoint of the state; `logs` are those of the epoch that is under way.

        Raises:
            CheckpointError: It cannot be written.
        """
        self.logs = logs or {}
        within = self.model.metrics_variables if self.logs else []
        self.metrics = [float(keras.ops.convert_to_numpy(variable)) for variable in within] or None
        state = {
            "step": self.step,
            "epoch": self.epoch,
            "logs": self.logs,
            "metrics": self.metrics,
            "skipped": self.skipped,
            "overflows": self.overflows,
            "best": self.best,
            "seconds": self.seconds,
            "data": self._data_of_run(),
            "accounts": {name: account.state(self.step) for name, account in self.data.accounts.items()},
        }
        try:
            self._checkpoints.save(state, is_best)
        finally:  # If it cannot be written, there is no second trial at once.
            self._saved_at, self._saved_step = time.monotonic(), self.step

    def _data_of_run(self):
        """Returns what tells the videos of a run, and their order, from others."""
        fingerprints = {name: account.fingerprint for name, account in self.data.accounts.items()}
        return fingerprints | {"steps_per_epoch": self.steps_per_epoch}

    def is_due(self, batches=0):
        """Returns whether it is time for the next checkpoint; `batches` are those of an evaluation since."""
        minutes, steps = self.config.checkpoint_minutes, self.config.checkpoint_steps
        late = minutes and time.monotonic() - self._saved_at >= 60 * minutes
        return bool(late or (steps and self.step - self._saved_step + batches >= steps))

    def where(self):
        """Returns words that say from where a run goes on, or nothing for a new one."""
        of_all = f"step {self.step} of {self.data.schedule.steps}"
        return f"; it goes on from its checkpoint of {of_all}" if self.step else ""

    def evaluation(self):
        """Returns the `Progress` of the last evaluation, which goes on after an interruption, too."""
        scores, seconds = (), 0.0
        unreadable = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
        with contextlib.suppress(*unreadable), np.load(self._scores_path) as saved:
            state = json.loads(str(saved["state"]))
            if state["step"] == self.step:
                scores, seconds = saved["scores"], state["seconds"]
                self.data.accounts["val"].restore(state["account"])
        return _Evaluation(self, scores, seconds)

    def save_scores(self, scores, seconds):
        """Writes the scores of the first views of the last evaluation, and what they took."""
        state = {"step": self.step, "seconds": seconds, "account": self.data.accounts["val"].state(0)}
        try:
            with whole_file(self._scores_path) as partial:
                np.savez(partial, scores=scores, state=json.dumps(state))
        except OSError as error:
            _logger.warning("The scores until now cannot be kept: %s. The evaluation goes on.", error)
        self._saved_at = time.monotonic()

    def write_accounts(self):
        """Writes `bad_videos_train.csv` and `bad_videos_val.csv`."""
        for name, account in self.data.accounts.items():
            account.write(os.path.join(self.config.workdir, f"bad_videos_{name}.csv"))

    def finish(self):
        """Removes what only an interrupted run needs."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._scores_path)


class Validation(Progress):
    """The scores of an evaluation that ends between two batches if a signal asks for it."""

    def __init__(self, stop, scores=(), seconds=0.0):
        super().__init__(scores, seconds)
        self._stop = stop

    def on_predict_batch_end(self, batch, logs=None):
        """Adds the scores of a batch; raises `Stopped`."""
        super().on_predict_batch_end(batch, logs)
        if self._stop:
            raise Stopped(self._stop.name)


class _Evaluation(Validation):
    """The last evaluation, whose scores are saved as often as checkpoints are."""

    def __init__(self, run, scores, seconds):
        super().__init__(run.stop, scores, seconds)
        self._run, self._batches = run, 0

    def on_predict_batch_end(self, batch, logs=None):
        """Adds the scores of a batch, and saves them now and then; raises `Stopped`."""
        self._batches += 1
        try:
            super().on_predict_batch_end(batch, logs)
        except Stopped:
            self._run.save_scores(self.scores, self.seconds)
            raise
        if self._run.is_due(self._batches):
            self._run.save_scores(self.scores, self.seconds)
            self._batches = 0
