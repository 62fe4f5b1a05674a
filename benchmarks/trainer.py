"""What the trainer costs beside a plain loop, checkpoints included, and how long it waits for its input.

python benchmarks/trainer.py [--steps=150]

Both train ResNet-18 as TSM on the same batch of 8 clips of 8 frames of 64x64, on the CPU. The plain loop is
`strategy.run` of forward, loss, gradients and SGD. Both take turns within one training: after each step of
the trainer comes one of the plain loop. A step of the trainer is held against the mean of the plain ones
before and after it, and the median of all is the cost; so what else the machine does meanwhile slows both.
The wait is measured in a training on records, whose steps say how long they waited for their batch.
Checkpoints are counted as they come in a run, every 15 minutes.
"""

import argparse
import contextlib
import dataclasses
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import tensorflow as tf

from pipelines.synthetic import write_dataset
from train.config import Config
from train.data import open_data
from train.loop.fitting import fit
from train.loop.run import build_model
from train.loop.state import RunState
from train.loop.stopping import StopRequest
from train.loop.trainer import exact_sums
from train.loop.workers import Workers

BATCH, MINUTES, VIDEOS = 8, 15, 192
SPLITS = ("--split=train", "--split=val")


def plain_loop(model, batch, strategy):
    """Returns a function that trains a model for a step as a plain loop does, each time on the same batch."""
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with strategy.scope():
        optimizer = keras.optimizers.SGD(0.01, momentum=0.9, global_clipnorm=20.0)
        optimizer.build(model.trainable_weights)

    def step(data):
        clips, labels = data
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(clips, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
        return loss

    run = tf.function(lambda data: strategy.run(step, args=(data,)))
    batches = tf.data.Dataset.from_tensors(batch).repeat()
    iterator = iter(strategy.experimental_distribute_dataset(batches))
    return lambda: float(run(next(iterator)))


class Turns:
    """Is told of each step of the trainer, and then lets the plain loop have its turn.

    It stands in the place of the run's average, which is told of steps. What comes after that in a step, such
    as reports and checkpoints, counts for the next one.

    Attributes:
        ours, plain: The seconds of the steps of both; one of ours comes after each plain one.
    """

    variables, shown = (), contextlib.nullcontext

    def __init__(self, plain_step):
        self._plain_step, self._since, self.ours, self.plain = plain_step, None, [], []

    def update(self, steps):
        """Takes a step of the trainer."""
        now = time.perf_counter()
        if self._since is not None:
            self.ours.append(now - self._since)
        with as_by_default():
            self._plain_step()
        self._since = time.perf_counter()
        self.plain.append(self._since - now)

    def costs(self):
        """Returns by what part each step of ours took longer than the plain ones on both sides of it."""
        steps = zip(self.plain, self.ours, self.plain[1:], strict=False)
        return [ours / ((before + after) / 2) - 1 for before, ours, after in steps][4:]


@contextlib.contextmanager
def as_by_default():
    """Within the block, TensorFlow optimizes graphs as it does outside of a run."""
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})
    yield
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


def trained(model, config, data, average):
    """Trains as a run does; returns the seconds of a checkpoint."""
    with tempfile.TemporaryDirectory() as workdir, exact_sums(), contextlib.redirect_stdout(io.StringIO()):
        config = dataclasses.replace(config, workdir=workdir)
        run = RunState(config, data, model, average, StopRequest(), Workers(model.distribute_strategy))
        start = time.perf_counter()
        run.save()
        seconds = time.perf_counter() - start
        fit(run)
    return seconds


class InMemory:
    """The data of a run, whose batches are all the same one."""

    def __init__(self, data, batch):
        self._data, self._batch = data, batch

    def __getattr__(self, name):
        return getattr(self._data, name)

    def batches(self, *arguments):
        """Returns batches without an end."""
        return tf.data.Dataset.from_tensors(self._batch).repeat()


def share_of_waiting(model, config, data):
    """Trains on records; returns the part of the time in which steps wait for their batch."""
    model.make_train_function()
    real, waited, times = model.train_function, [], []

    def timed(iterator):
        logs = real(iterator)
        waited.append(float(logs["waited"]))
        times.append(time.perf_counter())
        return logs

    model.train_function = timed
    average = types.SimpleNamespace(variables=(), update=lambda steps: None, shown=contextlib.nullcontext)
    trained(model, config, data, average)
    model.train_function = real
    steps = config.epochs * data.schedule.steps_per_epoch
    # The first steps are compiled, and fill the queues; validations stand between epochs.
    of_epoch = [step for step in range(5, steps) if step % data.schedule.steps_per_epoch]
    return sum(waited[step] for step in of_epoch) / sum(times[step] - times[step - 1] for step in of_epoch)


def main():
    """Prints the table; the status is 1 if something is not reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        config = prepared(directory)
        epochs = -(-(options.steps + 6) // (VIDEOS // BATCH))
        long = dataclasses.replace(config, epochs=epochs)
        strategy = tf.distribute.MirroredStrategy()
        with contextlib.closing(open_data(config)) as data, strategy.scope():
            model = build_model(long, data)
            batch = next(iter(data.batches()))
            turns = Turns(plain_loop(model, batch, strategy))
            write = trained(model, long, InMemory(data, batch), turns)
            wait = share_of_waiting(build_model(config, data), config, data)
    costs, step = turns.costs(), statistics.median(turns.plain)
    low, middle, high = statistics.quantiles(costs, n=4)
    cost = middle + write / (60 * MINUTES)
    print("| what | reached | must reach | |\n|---|---|---|---|")
    print(f"| a step of the plain loop, {BATCH} clips | {step * 1e3:.0f} ms | | |")
    print(f"| what the trainer adds, with checkpoints | {cost:.1%} | at most 5% | {mark(cost <= 0.05)} |")
    print(f"| half of its {len(costs)} steps | {low:.1%} to {high:.1%} | | |")
    print(f"| a checkpoint | {write:.2f} s | at most 1 s | {mark(write <= 1)} |")
    print(f"| what waits for records | {wait:.1%} | at most 5% | {mark(wait <= 0.05)} |")
    return cost > 0.05 or wait > 0.05 or write > 1


def prepared(directory):
    """Returns the configuration of a run on records that it makes."""
    videos, manifest = os.path.join(directory, "videos"), os.path.join(directory, "videos.jsonl")
    write_dataset(videos, train=VIDEOS, val=BATCH, workers=2)
    call("manifest", "import", "--format=folders", f"--data_dir={videos}", f"--output={manifest}", *SPLITS)
    for split in ("train", "val"):
        output = os.path.join(directory, split)
        call("records", f"--manifest={manifest}", f"--split={split}", f"--output={output}")
    return Config(
        data_dir=directory,
        workdir=directory,
        train_annotations="train",
        val_annotations="val",
        depth=18,
        blocks=(),
        block=(),
        sampling="segments",
        flip=False,
        short_side=64,
        crop=64,
        test_size=64,
        batch_size=BATCH,
        epochs=3,
        warmup_epochs=0.0,
        checkpoint_minutes=0.0,
    )


def call(program, *arguments):
    """Runs a program of `pipelines`."""
    subprocess.run(
        [sys.executable, "-m", f"pipelines.{program}", *arguments], check=True, capture_output=True
    )


def mark(reached):
    """Returns the last column of a row."""
    return "yes" if reached else "**no**"


if __name__ == "__main__":
    sys.exit(main())
