"""The state of a run: how far it is, what it has seen, and the checkpoints that hold all of it."""

import contextlib
import itertools
import json
import logging
import os
import time
import zipfile

import numpy as np

from pipelines.whole_files import whole_file
from train.loop.checkpoints import CheckpointError, Checkpoints
from train.loop.ending import ended_by, kept_step
from train.loop.stopping import Stopped
from train.loop.workers import WorkerError
from train.scoring.evaluation import Progress

_logger = logging.getLogger(__name__)


class RunState:
    """The state of a run, which `save` and `restore` write to its workdir and read from there.

    Args:
        config: A `Config`.
        data: The run's `Data`.
        model: The built and compiled model.
        average: The `MovingAverage` of its weights.
        stop: A `StopRequest`.
        workers: The `Workers` of the run; of these, the chief writes to the workdir.

    Attributes:
        schedule: The `pipelines.order.Schedule` of the training.
        step: How many steps are done, over all epochs.
        epoch: How many epochs are done, validation included.
        logs: The logs of the epoch that is under way, at its last checkpoint.
        metrics: The values of the metrics' variables then, [[of a device] of a variable], or None.
        skipped: The steps whose videos gave way to others, as their loss was NaN.
        overflows: How many steps left the weights as they were, as their gradients overflowed in float16.
        best: {"epoch", "top1" or "mAP", "loss"} of the epoch with the best validation, or None.
        variables: The Keras variables that a checkpoint holds.
        history: A row of `curves.csv` for each epoch that is done, as a dictionary.
        is_stopping: Whether a worker has heard a signal.
        is_out_of_time: Whether training has taken `config.max_minutes`, by the chief's clock.
        batches: How many batches this process has trained on or evaluated.
        seconds_per_view: What a view took this worker in the last validation, or None.
        validated: The `Scores` of the last validation, or None.
    """

    def __init__(self, config, data, model, average, stop, workers):
        self.config, self.data, self.model, self.average, self.stop = config, data, model, average, stop
        self.workers, self.is_stopping, self.batches, self.validated = workers, False, 0, None
        self.schedule = data.schedule
        self.step, self.epoch, self.overflows = 0, 0, 0
        self.logs, self.metrics, self.skipped, self.best, self.history = {}, None, [], None, []
        self.is_out_of_time, self.seconds_per_view = False, None
        self._seconds, self._since = 0.0, time.monotonic()
        self._saved_at, self._saved_step = time.monotonic(), 0
        of_metrics = {id(variable) for variable in model.metrics_variables}
        of_model = [variable for variable in model.variables if id(variable) not in of_metrics]
        self.variables = [*of_model, *model.optimizer.variables, *average.variables]
        directory = os.path.join(config.workdir, "checkpoints")
        self.checkpoints = Checkpoints(directory, self.variables, config.keep_checkpoints)
        number = f"{workers.part.number}" * (not workers.is_alone)
        self._scores_path = os.path.join(config.workdir, f"scores{number}.partial.npz")

    @property
    def is_trained(self):
        """Whether training has ended."""
        return ended_by(self) is not None

    @property
    def seconds(self):
        """Seconds of training until now, over all parts of the run."""
        return self._seconds + time.monotonic() - self._since

    def restore(self, is_rewind=False):
        """Takes the state of the newest whole checkpoint; without one, writes one of the beginning.

        For a rewind there has to be one.

        Raises:
            CheckpointError: Not one checkpoint is whole, they are of other videos, or one cannot be written.
            WorkerError: This happened to the chief, and this worker is not it.
        """
        with self.workers.together():
            state = self._read(is_rewind) if self.workers.is_chief else None
        state = self.workers.tell(state)[0]
        if state is None:
            self.save()
            return
        self.workers.give(self.variables)
        for name in ("step", "epoch", "logs", "metrics", "skipped", "overflows", "best", "history"):
            setattr(self, name, state[name])
        for name, account in self.data.accounts.items():
            # The others begin with nothing, as all accounts are put together in the end.
            account.restore(state["accounts"][name] if self.workers.is_chief else None)
        self._seconds, self._since = state["seconds"], time.monotonic()
        self.is_out_of_time = 0 < 60 * self.config.max_minutes <= self._seconds
        self._saved_at, self._saved_step = time.monotonic(), self.step

    def _read(self, is_rewind):
        """Reads the newest whole checkpoint; returns its state."""
        state = self.checkpoints.restore()
        if state is None and is_rewind:
            raise CheckpointError(
                f"Expected a checkpoint in {self.config.workdir} to go back to. Received none. Try: the same "
                "command again, which begins anew."
            )
        if state is not None and state["data"] != self.data_of_run():
            raise CheckpointError(
                f"Expected the videos with which the run in {self.config.workdir} began. Received others: "
                "manifest, records or classes have changed since. Try: what they were, or another --workdir."
            )
        return state

    def save(self, logs=None, is_best=False):
        """Writes a checkpoint of the state; `logs` are those of the epoch that is under way.

        Raises:
            CheckpointError: It cannot be written.
        """
        self.logs = logs or {}
        self.metrics = self._metrics() if self.logs else None
        state = {
            "step": self.step,
            "epoch": self.epoch,
            "logs": self.logs,
            "metrics": self.metrics,
            "skipped": self.skipped,
            "overflows": self.overflows,
            "best": self.best,
            "history": self.history,
            "seconds": self.seconds,
            "data": self.data_of_run(),
            "accounts": {name: account.state(self.step) for name, account in self.accounts().items()},
        }
        try:
            with self.workers.together():
                if self.workers.is_chief:
                    self.checkpoints.save(state, is_best)
        except WorkerError as error:
            raise CheckpointError(str(error)) from error
        finally:  # If it cannot be written, there is no second trial at once.
            self._saved_at, self._saved_step = time.monotonic(), self.step

    def _metrics(self):
        """Returns the values that the metrics' variables have on all devices of all workers."""
        local = self.model.distribute_strategy.experimental_local_results
        own = [[float(value) for value in local(v.value)] for v in self.model.metrics_variables]
        by_variable = zip(*self.workers.tell(own), strict=True)
        return [list(itertools.chain(*of_workers)) for of_workers in by_variable]

    def restore_metrics(self):
        """Gives the metrics what they had at the checkpoint, once."""
        saved, self.metrics = self.metrics or (), None
        strategy, devices = self.model.distribute_strategy, self.workers.devices
        for variable, values in zip(self.model.metrics_variables, saved, strict=False):
            if len(values) != strategy.num_replicas_in_sync:
                variable.assign(sum(values))  # Each device then has an equal part.
                continue
            own = values[self.workers.part.number * devices :]
            for of_device, value in zip(
                strategy.experimental_local_results(variable.value), own, strict=False
            ):
                of_device.assign(value)

    def accounts(self):
        """Returns {"train": `Account`, "val": `Account`} of all workers together."""
        own = self.data.accounts
        if self.workers.is_alone:
            return own
        states = self.workers.tell({name: account.state(self.step) for name, account in own.items()})
        return {name: account.joined([state[name] for state in states]) for name, account in own.items()}

    def listen(self):
        """Asks all workers for signals, and the chief for the time; returns whether a checkpoint is due."""
        is_chief, late = self.workers.is_chief, 0 < 60 * self.config.max_minutes <= self.seconds
        told = [bool(self.stop), is_chief and self.is_due(), is_chief and late]
        stopping, due, late = self.workers.sum(np.array(told, np.int32))
        self.is_stopping, self.is_out_of_time = bool(stopping), bool(late)
        return bool(due)

    def stopped(self):
        """Returns the `Stopped` that ends the run."""
        return Stopped(self.stop.name or "a signal to another worker")

    def data_of_run(self):
        """Returns what tells the videos of a run, and their order, from others."""
        fingerprints = {name: account.fingerprint for name, account in self.data.accounts.items()}
        return fingerprints | {"steps_per_epoch": self.schedule.steps_per_epoch}

    def is_due(self, batches=0):
        """Returns whether it is time for the next checkpoint; `batches` are those of an evaluation since."""
        minutes, steps = self.config.checkpoint_minutes, self.config.checkpoint_steps
        late = minutes and time.monotonic() - self._saved_at >= 60 * minutes
        return bool(late or (steps and self.step - self._saved_step + batches >= steps))

    def where(self):
        """Returns words that say from where a run goes on, or nothing for a new one."""
        of_all = f"step {self.step} of {self.schedule.steps}"
        return f"; it goes on from its checkpoint of {of_all}" if self.step else ""

    def evaluation(self):
        """Returns the `Progress` of the last evaluation, which goes on after an interruption, too."""
        scores, seconds = (), 0.0
        unreadable = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
        with contextlib.suppress(*unreadable), np.load(self._scores_path) as saved:
            state = json.loads(str(saved["state"]))
            if (state["step"], state["part"]) == (kept_step(self), str(self.workers.part)):
                scores, seconds = saved["scores"], state["seconds"]
                self.data.accounts["val"].restore(state["account"])
        return _Evaluation(self, scores, seconds)

    def save_scores(self, scores, seconds):
        """Writes the scores of the first views of the last evaluation, and what they took."""
        state = {"step": kept_step(self), "part": str(self.workers.part), "seconds": seconds}
        state["account"] = self.data.accounts["val"].state(0)
        try:
            os.makedirs(self.config.workdir, exist_ok=True)
            with whole_file(self._scores_path) as partial:
                np.savez(partial, scores=scores, state=json.dumps(state))
        except OSError as error:
            _logger.warning("The scores until now cannot be kept: %s. The evaluation goes on.", error)
        self._saved_at = time.monotonic()

    def write_accounts(self, accounts=None):
        """Writes `bad_videos_train.csv` and `bad_videos_val.csv`, by default of this worker's accounts."""
        for name, account in (accounts or self.data.accounts).items() if self.workers.is_chief else ():
            account.write(os.path.join(self.config.workdir, f"bad_videos_{name}.csv"))

    def finish(self):
        """Removes what only an interrupted run needs."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._scores_path)


class Validation(Progress):
    """The scores of an evaluation that ends between two batches if a signal asks for it.

    Several workers evaluate a part of the videos each, and put their scores together in the end.
    """

    def __init__(self, run, scores=(), seconds=0.0):
        super().__init__(scores, seconds)
        self._run, self.part = run, run.workers.part
        self._views, self._begin = 0, None

    def on_predict_batch_end(self, batch, logs=None):
        """Adds the scores of a batch, and ends the evaluation if a signal came."""
        super().on_predict_batch_end(batch, logs)
        self._run.batches += 1
        if self._begin is None:  # The first batch is compiled, and waits for the pipeline to fill.
            self._begin = time.monotonic()
        else:
            self._views += len(logs["outputs"])
            self._run.seconds_per_view = (time.monotonic() - self._begin) / self._views
        self.model.stop_predicting = bool(self._run.stop)

    def complete(self):
        """Raises `Stopped` if a worker heard a signal."""
        self._run.listen()
        if self._run.is_stopping:
            raise self._run.stopped()

    def joined(self, values):
        """Returns the values of all workers, one after the other."""
        return self._run.workers.gather(values)


class _Evaluation(Validation):
    """The last evaluation, whose scores are saved as often as checkpoints are, and before it ends early."""

    def __init__(self, run, scores, seconds):
        super().__init__(run, scores, seconds)
        self._batches = 0

    def complete(self):
        """Raises `Stopped` if a worker heard a signal; what is there is saved, if not all workers are."""
        if len(self.scores) and (self._run.stop or not self._run.workers.is_alone):
            self._run.save_scores(self.scores, self.seconds)
        super().complete()

    def on_predict_batch_end(self, batch, logs=None):
        """Adds the scores of a batch, and saves them now and then."""
        super().on_predict_batch_end(batch, logs)
        self._batches += 1
        if self._run.stop or self._run.is_due(self._batches):
            self._run.save_scores(self.scores, self.seconds)
            self._batches = 0
