"""What the trainer costs beside a plain loop, checkpoints included, and how long it waits for its input.

python benchmarks/trainer.py [--rounds=5]

Both train ResNet-18 as TSM on the same batches of 8 clips of 8 frames of 64x64, on the CPU. The plain loop
is `strategy.run` of forward, loss, gradients and SGD. What is compared takes turns. The wait for the input is
what a step takes longer with records than with one batch that is in memory. Checkpoints are counted as they
come in a run, every 15 minutes.
"""

import argparse
import contextlib
import dataclasses
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
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
from train.loop.workers import Workers

STEPS, BATCH, MINUTES = 24, 8, 15
SPLITS = ("--split=train", "--split=val")


def plain_loop(model, batches, strategy):
    """Trains on the batches; returns the seconds of each step."""
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
    times = [time.perf_counter()]
    for data in strategy.experimental_distribute_dataset(batches):
        float(run(data))
        times.append(time.perf_counter())
    return differences(times)


def trainer(model, config, data):
    """Trains as a run does; returns the seconds of each step, and those of a checkpoint."""
    times = [time.perf_counter()]
    clock = types.SimpleNamespace(  # In the place of the moving average, which is told of each step.
        variables=[], update=lambda steps: times.append(time.perf_counter()), shown=contextlib.nullcontext
    )
    with tempfile.TemporaryDirectory() as workdir:
        config = dataclasses.replace(config, workdir=workdir)
        run = RunState(config, data, model, clock, StopRequest(), Workers(model.distribute_strategy))
        start = time.perf_counter()
        run.save()
        seconds = time.perf_counter() - start
        fit(run)
    return differences(times), seconds


def differences(times):
    """Returns the seconds of the steps after the first ones, which are compiled and fill the queues."""
    return [after - before for before, after in itertools.pairwise(times)][4:]


def main():
    """Prints the table; the status is 1 if something is not reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        config = prepared(directory)
        strategy = tf.distribute.MirroredStrategy()
        with contextlib.closing(open_data(config)) as data, strategy.scope():
            model = build_model(config, data)
        plain, ours, waits, writes = [], [], [], []
        for _ in range(options.rounds):
            fixed = tf.data.Dataset.from_tensors(next(iter(data.batches()))).repeat(STEPS)
            plain.append(statistics.median(plain_loop(model, data.batches(), strategy)))
            steps, seconds = trainer(model, config, data)
            ours.append(statistics.median(steps))
            writes.append(seconds)
            waits.append(plain[-1] - statistics.median(plain_loop(model, fixed, strategy)))
    step = statistics.median(plain)
    cost = statistics.median(a / b for a, b in zip(ours, plain, strict=True)) - 1
    cost += statistics.median(writes) / (60 * MINUTES)
    wait = statistics.median(waits) / step
    print("| what | reached | must reach | |\n|---|---|---|---|")
    print(f"| a step of the plain loop, {BATCH} clips | {step * 1e3:.0f} ms | | |")
    print(f"| what the trainer adds, with checkpoints | {cost:.1%} | at most 5% | {mark(cost <= 0.05)} |")
    print(f"| what waits for records | {wait:.1%} | at most 5% | {mark(wait <= 0.05)} |")
    return cost > 0.05 or wait > 0.05


def prepared(directory):
    """Returns the configuration of a run on records that it makes."""
    videos, manifest = os.path.join(directory, "videos"), os.path.join(directory, "videos.jsonl")
    write_dataset(videos, train=STEPS * BATCH, val=BATCH, workers=2)
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
        epochs=1,
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
