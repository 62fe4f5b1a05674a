"""Fits a model step by step: from any step on, with checkpoints, and with an end where the loss is lost."""

import gc
import logging
import math

import keras
import numpy as np

from train.loop.checkpoints import CheckpointError
from train.loop.ending import OutOfTime
from train.loop.precise_norms import precise_norms
from train.loop.state import Validation
from train.loop.stopping import Stopped
from train.loop.watching import reports_of, row_of, write_curves
from train.scoring.evaluation import evaluate, shared_out
from train.scoring.views import centre_view

_logger = logging.getLogger(__name__)

_EXPLODED = 1000.0  # Nats; a network that knows nothing has the logarithm of the count of classes.
_MOST_OVERFLOWS = 30  # One after the other; each halves the scale of the loss, which begins at 2^15.
_MOST_REWINDS = 3  # To the same checkpoint.


class Diverged(Exception):
    """A loss or a weight became infinite or NaN, or the loss exploded. The text says what, and where."""


# Logs of a step that say nothing of an epoch.
_OF_STEPS = ("batch_loss", "gradient_norm", "waited")


def fit(run):
    """Trains for what is left of all epochs; after each one, classifies each validation video's centre clip.

    Training ends before if the configuration says so, see `train.loop.ending`.

    Args:
        run: The `train.loop.state.RunState`, which goes on from its step.

    Raises:
        FloatingPointError: A loss or a weight became infinite or NaN, or the loss exploded, and
            `config.nan_policy` is to stop, or too little was gained by going back.
        CheckpointError: The last checkpoint cannot be written.
        Stopped: A signal ended the training; it has been saved.
    """
    with reports_of(run) as reports:
        _fit(run, reports)
    gc.collect()  # The threads of the data that are not needed any more end.


def _fit(run, reports):
    config, rewinds = run.config, []
    while not run.is_trained:
        try:
            _fit_from(run, reports)
        except OutOfTime:
            return
        except Diverged as error:
            step, text = run.step, str(error)
            if config.nan_policy == "rewind":
                skipped = [*run.skipped, step - 1]
                run.restore(is_rewind=True)
                run.skipped = skipped
                rewinds.append(run.step)
            if config.nan_policy == "stop" or rewinds.count(run.step) > _MOST_REWINDS:
                raise FloatingPointError(_remedy(text, config)) from None
            _logger.warning("%s. The run goes back to step %d, and shows others then.", text, run.step)
            gc.collect()


def _remedy(text, config):
    other = "" if config.nan_policy == "rewind" else ", or --nan_policy=rewind to leave such batches out"
    return f"{text}. Try: --learning_rate={config.learning_rate / 10:g}, in a new --workdir{other}"


def _fit_from(run, reports):
    """Trains from the run's step to its epoch's end, or from an epoch's beginning through all whole ones."""
    data, model, schedule = run.data, run.model, run.schedule
    done, steps = schedule.within(run.epoch, run.step)
    left, whole = steps - done, schedule.steps // schedule.steps_per_epoch
    callbacks = keras.callbacks.CallbackList(
        [_Watch(run), *reports, _Saves(run, reports)],  # The reports say what the watch finds.
        add_history=True,
        model=model,
        epochs=schedule.num_epochs,
        steps=left,
    )
    if not left:  # What is left of the epoch is its validation.
        callbacks.on_train_begin()
        callbacks.on_epoch_end(run.epoch, dict(run.logs))
        callbacks.on_train_end()
        return
    part, skipped = run.workers.part, tuple(run.skipped)
    model.fit(
        shared_out(data.batches(run.step, skipped, part), model, part),
        initial_epoch=run.epoch,
        epochs=whole if left == schedule.steps_per_epoch else run.epoch + 1,
        steps_per_epoch=left,
        shuffle=False,  # The batches are in the right order already.
        callbacks=callbacks,
    )


class _Watch(keras.callbacks.Callback):
    """Counts the steps, looks at each loss, and validates."""

    def __init__(self, run):
        super().__init__()
        self._run = run
        self._centre = centre_view(run.config)
        self._overflows = 0  # One after the other.

    def on_epoch_begin(self, epoch, logs=None):
        """Gives the metrics what they had at the checkpoint; Keras has set them to 0 just now."""
        self._run.restore_metrics()

    def on_train_batch_end(self, batch, logs=None):
        """Counts a step; raises `Diverged`."""
        run, loss, norm = self._run, logs["batch_loss"], logs["gradient_norm"]
        run.average.update(keras.ops.cast(run.step, "float32"))
        run.step += 1
        run.batches += 1
        is_right = bool(np.isfinite(norm))
        if isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer):
            run.overflows += not is_right
            self._overflows = 0 if is_right else self._overflows + 1
            is_right = self._overflows <= _MOST_OVERFLOWS
        if not (is_right and loss <= _EXPLODED):  # A comparison with NaN is false.
            raise Diverged(
                f"Expected finite losses and weights. Received loss {loss:g} and a gradient of norm {norm:g} "
                f"in step {run.step} (epoch {run.epoch + 1}), which shows {_shown(run)}"
            )

    def on_epoch_end(self, epoch, logs=None):
        """Adds the scores of the validation to the logs; raises `Stopped`."""
        for name in _OF_STEPS:
            logs.pop(name, None)
        val, account, before = self._run.data.val, self._run.data.accounts["val"], dict(logs)
        prepare(self._run, logs)
        try:
            with self._run.average.shown(), precise_norms(self._run, self._run.step):
                progress = Validation(self._run)
                scores = evaluate(self.model, val, self._centre, account, False, progress)
        except Stopped:
            self._run.save(before)
            raise
        except FloatingPointError as error:
            raise Diverged(str(error).partition(" Try: ")[0].removesuffix(".")) from error
        self._run.validated = progress.evaluated
        shown = {name: scores[name] for name in ("loss", "top1", "top5", "mAP") if name in scores}
        # There is no mAP if no video that can be read has a label.
        logs.update({f"val_{name}": value or 0.0 for name, value in shown.items()})


def _shown(run):
    """Returns the paths of the videos of the last step, as text."""
    schedule, step = run.schedule, run.step - 1
    clips = range(step * schedule.videos_per_step, (step + 1) * schedule.videos_per_step)
    rows = [int(schedule.order.row(clip, run.skipped.count(step))) for clip in clips]
    account = run.data.accounts["train"]  # Others took the place of bad videos.
    return ", ".join(account.path(row) for row in rows if row not in account)


def prepare(run, logs=None):
    """Gives all devices the same statistics; raises `Diverged` if a weight or an average is not finite."""
    model = run.model
    model.share_statistics()
    weights = [*model.weights, *run.average.variables]
    wrong = [v.path for v in weights if not np.isfinite(keras.ops.convert_to_numpy(v)).all()]
    if wrong:
        raise Diverged(
            f"Expected finite losses and weights. Received infinity or NaN in {len(wrong)} of {len(weights)} "
            f"weights after step {run.step} (epoch {run.epoch + bool(logs)}), which shows {_shown(run)}"
        )


def _is_better(logs, best, measure="top1"):
    """Returns whether a validation has more of a measure than the best one, or the same at a lower loss.

    Few videos have the same top-1 in many epochs.
    """
    if best is None or logs[f"val_{measure}"] != best[measure]:
        return best is None or logs[f"val_{measure}"] > best[measure]
    return logs["val_loss"] < best.get("loss", -math.inf)  # Older checkpoints have no loss.


class _Saves(keras.callbacks.Callback):
    """Writes checkpoints, and ends the training where its time is over, or a signal asks for it."""

    def __init__(self, run, reports):
        super().__init__()
        self._run, self._reports = run, reports

    def on_train_batch_end(self, batch, logs=None):
        """Saves if it is time; raises `Stopped`, or `OutOfTime` if the epoch has steps that are left."""
        run = self._run
        is_due, (done, steps) = run.listen(), run.schedule.within(run.epoch, run.step)
        has_more = done < steps
        if is_due or run.is_stopping or (run.is_out_of_time and has_more):
            self._save(logs)
            self._stop()
            if run.is_out_of_time and has_more:
                raise OutOfTime

    def on_epoch_end(self, epoch, logs=None):
        """Ends the epoch, and saves; raises `Stopped`."""
        run = self._run
        run.epoch += 1
        run.listen()
        accounts = run.accounts()
        for account in accounts.values():
            account.check()
        if run.workers.is_chief:
            overflows = f"; {run.overflows} steps overflowed in float16" if run.overflows else ""
            counts = f"{accounts['train']} for training, {accounts['val']} for validation"
            print(f"bad videos skipped: {counts}{overflows}", flush=True)
            run.write_accounts(accounts)
        run.history.append(row_of(run, logs))
        measure = run.config.measure
        if _is_better(logs, run.best, measure):
            found = {"epoch": epoch, measure: logs[f"val_{measure}"], "loss": logs["val_loss"]}
            before, run.best = run.best, found
            if not self._save(is_best=True):
                run.best = before
        self._save()
        if run.workers.is_chief:
            write_curves(run)
        self._stop()
        self.model.stop_training = run.is_trained

    def _save(self, logs=None, is_best=False):
        """Writes a checkpoint; returns whether that went well."""
        run = self._run
        prepare(run, logs)
        for report in self._reports:
            report.flush()
        try:
            run.save(logs, is_best)
        except CheckpointError as error:
            if not is_best and (run.is_stopping or run.is_trained):
                raise
            _logger.warning("%s The run goes on without.", error)
            return False
        return True

    def _stop(self):
        if self._run.is_stopping:
            raise self._run.stopped()
