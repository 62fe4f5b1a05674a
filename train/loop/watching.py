"""What one sees of a run: a line in the terminal, the time that is left, TensorBoard, and `curves.csv`."""

import collections
import contextlib
import csv
import logging
import os
import shlex
import shutil
import sys
import time

import keras
import tensorflow as tf

from pipelines.whole_files import whole_file
from train.loop.pictures import Pictures

_logger = logging.getLogger(__name__)

COLUMNS = (
    *("epoch", "steps", "loss", "top1", "top5", "learning_rate"),
    *("val_loss", "val_top1", "val_top5", "seconds"),
)
COLUMNS_OF_SEVERAL_LABELS = ("epoch", "steps", "loss", "learning_rate", "val_loss", "val_mAP", "seconds")
_STEPS, _MOST_STEPS = 5, 100  # Timed steps that an estimate needs, and takes.
_EVERY_STEPS = 10  # A step in TensorBoard takes a millisecond, hardly more than a thousandth of ten steps.


def write_curves(run):
    """Writes `curves.csv`, whole or not at all: what `run.history` has of each epoch."""
    path = os.path.join(run.config.workdir, "curves.csv")
    try:
        with whole_file(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, _columns(run), lineterminator="\n")
            writer.writeheader()
            writer.writerows(run.history)
    except OSError as error:
        _logger.warning("The curves cannot be written: %s. The run goes on without.", error)


def tensorboard_command(workdir):
    """Returns the command that shows the curves of a run."""
    command = [os.path.relpath(sys.executable), "-m", "tensorboard.main"]
    return shlex.join([*command, f"--logdir={os.path.join(workdir, 'tensorboard')}"])


def row_of(run, logs):
    """Returns the row of an epoch for `run.history`: the count of epochs and of steps, and its logs."""
    counts = {"epoch": run.epoch, "steps": run.step, "seconds": round(run.seconds, 3)}
    return {name: counts.get(name, logs.get(name, "")) for name in _columns(run)}


def _columns(run):
    return COLUMNS_OF_SEVERAL_LABELS if run.config.multi_label else COLUMNS


@contextlib.contextmanager
def reports_of(run):
    """Gives the callbacks that report a training; they are the chief's, and other workers have none."""
    reports = [Line(run), Board(run), Pictures(run)] if run.workers.is_chief else []
    try:
        yield reports
    finally:
        for report in reports:
            report.close()


class Pace:
    """How long a run will take, by the steps and validations of this process.

    Until a view of a validation is timed, it is taken to need a third of what a clip needs in training, in
    proportion to the pixels. A view of the last evaluation takes as long.
    """

    def __init__(self, run):
        self._run, self._steps = run, collections.deque(maxlen=_MOST_STEPS)

    def add_step(self, seconds):
        """Takes the seconds of a step."""
        self._steps.append(seconds)

    @property
    def is_known(self):
        """Whether enough steps were timed."""
        return len(self._steps) >= _STEPS

    @property
    def step(self):
        """The mean seconds of a step."""
        return sum(self._steps) / len(self._steps)

    @property
    def validation(self):
        """The seconds of a validation."""
        run, view = self._run, self._run.seconds_per_view
        if view is None:
            clips = run.config.batch_size * run.config.consensus_clips
            view = self.step / clips / 3 * (run.config.test_size / run.config.crop) ** 2
        return view * len(run.data.val.manifest) / run.workers.part.count

    @property
    def statistics(self):
        """The seconds of the batches by which batch norms are made precise, which go forward only."""
        return min(self._run.config.precise_batch_norm, self._run.schedule.steps) * self.step / 3

    @property
    def evaluation(self):
        """The seconds of the last evaluation."""
        views = self._run.config.test_clips * self._run.config.test_crops
        return self.validation * views + self.statistics

    @property
    def training(self):
        """The seconds of the steps and validations that are left."""
        run, schedule = self._run, self._run.schedule
        validations = (schedule.num_epochs - run.epoch) * (self.validation + self.statistics)
        return (schedule.steps - run.step) * self.step + validations

    @property
    def left(self):
        """The seconds until the run ends, which --max_minutes may shorten."""
        most = 60 * self._run.config.max_minutes - self._run.seconds if self._run.config.max_minutes else 1e18
        return min(self.training, max(most, 0)) + self.evaluation

    def words(self):
        """Returns a sentence that says how long the run will take, and when --max_minutes will end it."""
        run, of_epoch = self._run, self._run.schedule.steps_per_epoch
        epoch = of_epoch * self.step + self.validation + self.statistics
        text = f"about {spelt(self.left)} to go: {spelt(epoch)} an epoch, evaluation {spelt(self.evaluation)}"
        if self.left < self.training + self.evaluation:
            done = run.step / of_epoch + max(60 * run.config.max_minutes - run.seconds, 0) / epoch
            text += f"\n--max_minutes={run.config.max_minutes:g} ends training in epoch {int(done) + 1} of "
            text += f"{run.schedule.num_epochs}, before the rate has fallen to 0"
        return text


def spelt(seconds):
    """Returns a duration in words.

    Example:
        >>> [spelt(seconds) for seconds in (9.6, 75, 3 * 3600, 200_000)]
        ['10 s', '1 min 15 s', '3 h', '2 d 7 h']
    """
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    seconds = max(round(seconds), 1)
    first = next(number for number, (_, size) in enumerate(units) if seconds >= size)
    parts = []
    for name, size in units[first : first + 2]:
        count, seconds = divmod(seconds, size)
        parts += [f"{count} {name}"] * bool(count)
    return " ".join(parts)


class Line(keras.callbacks.Callback):
    """Says how far a training is: in one line of a terminal, or in a line a minute and an epoch elsewhere."""

    def __init__(self, run):
        super().__init__()
        self._run, self._pace = run, Pace(run)
        self._is_terminal, self._is_open = sys.stdout.isatty(), False
        self._said, self._is_traced = 0, False
        self._began = self._shown = time.monotonic()

    def on_train_batch_begin(self, batch, logs=None):
        """Begins to time a step."""
        self._began = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        """Times a step, and shows it if the last one that was shown is long ago."""
        now, run = time.monotonic(), self._run
        if self._is_traced:  # The first step is compiled.
            self._pace.add_step(now - self._began)
        self._is_traced = True
        if self._pace.is_known and not self._said:
            self._say_time()
        done, steps = run.schedule.within(run.epoch, run.step)
        if now - self._shown < (0.1 if self._is_terminal else 60) and done < steps:
            return
        left = f"{spelt(self._pace.left)} left  " if self._pace.is_known else ""
        left = "validation ...  " if done == steps else left
        if self._is_terminal or done < steps:
            self._show(f"{done}/{steps}  {left}{_of(logs, '')}")

    def on_epoch_end(self, epoch, logs=None):
        """Says what the epoch came to."""
        self._show(f"{_of(logs, '')}  {_of(logs, 'val_')}")
        self.close()
        if self._said < 2 and self._pace.is_known and epoch + 1 < self._run.schedule.num_epochs:
            self._say_time(epochs=1)

    def _say_time(self, epochs=0):
        self.close()
        self._said = 1 + bool(epochs)
        print(self._pace.words(), flush=True)

    def _show(self, text):
        text = f"Epoch {self._run.epoch + 1}/{self._run.schedule.num_epochs}  {text}"
        self._shown = time.monotonic()
        if self._is_terminal:
            # What others print, as of a bad video, then begins at the beginning of the line.
            print(f"{text[: shutil.get_terminal_size().columns - 1]}\033[K", end="\r", flush=True)
            self._is_open = True
        else:
            print(text, flush=True)

    def flush(self):
        """Does nothing, as nothing waits."""

    def close(self):
        """Ends the line, so that others can print."""
        if self._is_open:
            print(flush=True)
        self._is_open = False


def _of(logs, split):
    shares = [f"  {split}{name} {logs[split + name]:.1%}" for name in ("top1", "mAP") if split + name in logs]
    return f"{split}loss {logs[f'{split}loss']:.4f}{''.join(shares)}"


class Board(keras.callbacks.Callback):
    """Writes the files of TensorBoard: `train` and `validation` of the workdir's directory `tensorboard`.

    Each epoch has its means, every few steps have theirs: how many depends on nothing but the data, so
    that a run that was interrupted has the same points. What is under `time/` differs from run to run.
    Pictures of an epoch belong into `on_epoch_end`, beside its numbers.
    """

    def __init__(self, run):
        super().__init__()
        self._run, self._every = run, max(1, min(_EVERY_STEPS, run.schedule.steps_per_epoch // 10))
        directory = os.path.join(run.config.workdir, "tensorboard")
        self._writers = {
            split: tf.summary.create_file_writer(os.path.join(directory, split))
            for split in ("train", "validation")
        }
        with self._writers["train"].as_default():
            flags = "".join(f"    {line}\n" for line in run.config.to_flags().splitlines())
            tf.summary.text("flags", flags, step=run.step)  # Markdown shows what is indented as it is.
        self._since, self._steps, self._waited = None, 0, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Begins to time steps."""
        self._since = None

    def on_train_batch_end(self, batch, logs=None):
        """Writes what a step came to, if it is one of those that are shown."""
        self._steps, self._waited = self._steps + 1, self._waited + logs["waited"]
        if self._run.step % self._every:
            return
        now = time.monotonic()
        with self._writers["train"].as_default(self._run.step):
            tf.summary.scalar("step/loss", logs["batch_loss"])
            tf.summary.scalar("step/learning_rate", logs["learning_rate"])
            tf.summary.scalar("step/gradient_norm", logs["gradient_norm"])
            if self._since is not None:
                seconds = now - self._since
                tf.summary.scalar(
                    "time/clips_per_second", self._steps * self._run.config.batch_size / seconds
                )
                tf.summary.scalar("time/waiting_for_input", self._waited / seconds)
        self._since, self._steps, self._waited = now, 0, 0.0

    def on_epoch_end(self, epoch, logs=None):
        """Writes what an epoch came to."""
        for name, value in logs.items():
            split = "validation" if name.startswith("val_") else "train"
            with self._writers[split].as_default(epoch):
                tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value)

    def flush(self):
        """Writes what waits, which a checkpoint takes for written."""
        try:
            for writer in self._writers.values():
                writer.flush()
        except tf.errors.OpError as error:
            first = str(error).splitlines()[0]
            _logger.warning("TensorBoard's files cannot be written: %s. The run goes on without.", first)

    def close(self):
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()
