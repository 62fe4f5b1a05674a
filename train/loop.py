"""Trains and evaluates one configuration, from the manifests to `results.json`."""

import difflib
import json
import os
import time

import keras
import numpy as np
import tensorflow as tf

from pipelines.bad_videos import BadVideos
from pipelines.clips import SAMPLING
from pipelines.dataset import evaluation_views, iterators_ended_on_error, steps_per_epoch, training_clips
from train import optim
from train.evaluate import evaluate


class NetworkError(ValueError):
    """The flags describe no network, or the weights that it starts from do not fit it."""


@iterators_ended_on_error()
def train_and_evaluate(config, train, val, strategy=None):
    """Trains a model and evaluates it.

    Writes to `config.workdir`: `run.flags` (the configuration), `tensorboard/`, `bad_videos_train.csv`,
    `bad_videos_val.csv`, `model.keras`, `serving.json` (classes and preprocessing, for export) and
    `results.json`.

    Args:
        config: A `Config`.
        train: Training `Manifest`.
        val: Validation `Manifest`, of the same classes.
        strategy: A `tf.distribute.Strategy`; None mirrors the model on every GPU, or on the CPU.

    Returns:
        The results, as written to `results.json`.

    Raises:
        FileExistsError: The workdir holds a run of another configuration.
        NetworkError: The flags describe no network, or --weights does not fit it; nothing is written.
        FloatingPointError: The loss became infinite or NaN; no model is written.
        TooManyBadVideos: More than `config.max_bad_fraction` of the videos cannot be read.
    """
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.dtype_policy)
    strategy = strategy or tf.distribute.MirroredStrategy()
    with strategy.scope():
        model = build_model(config, train)
    claim_workdir(config)
    bad_videos = {
        name: BadVideos(len(split) + len(split.missing), config.max_bad_fraction, split.missing)
        for name, split in (("train", train), ("val", val))
    }
    write_bad_videos(config, bad_videos)
    check_bad_videos(bad_videos)
    print(
        f"{model.name}: {model.count_params():,} parameters, {len(train)} training and {len(val)} validation "
        f"videos of {len(train.classes)} classes, {strategy.num_replicas_in_sync} device(s)"
    )

    start = time.monotonic()
    try:
        fit(model, config, train, val, bad_videos)
        train_seconds = time.monotonic() - start
        save(model, config, train.classes)
        results = evaluate(model, val, config, bad_videos["val"])
    except tf.errors.OpError:
        check_bad_videos(bad_videos)  # A better explanation than TensorFlow's of what stopped the pipeline.
        raise
    finally:
        write_bad_videos(config, bad_videos)
    results |= {
        "train_seconds": train_seconds,
        "parameters": model.count_params(),
        "bad_videos": {
            name: {"count": len(bad), "reasons": bad.reasons()} for name, bad in bad_videos.items()
        },
    }
    _write(os.path.join(config.workdir, "results.json"), json.dumps(results, indent=2) + "\n")
    return results


def claim_workdir(config):
    """Writes `run.flags`, or accepts a workdir that holds the same configuration already.

    Raises:
        FileExistsError: The workdir holds a run of another configuration, which is left alone.
    """
    path, text = os.path.join(config.workdir, "run.flags"), config.to_flags()
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            before = file.read()
        if before != text:
            changes = [
                line for line in difflib.ndiff(before.splitlines(), text.splitlines()) if line[0] in "-+"
            ]
            raise FileExistsError(
                f"Expected {config.workdir} to be new or to hold this configuration. Received a run with "
                "other flags (- there, + here):\n  " + "\n  ".join(changes) + "\nTry: another --workdir."
            )
    os.makedirs(config.workdir, exist_ok=True)
    _write(path, text)


def build_model(config, train):
    """Returns the compiled model of a configuration; call it in the strategy's scope."""
    try:
        model = config.build_network(len(train.classes))
    except (ValueError, OSError) as error:
        raise NetworkError(str(error)) from error
    schedule = optim.cosine_with_warmup(
        config.learning_rate, steps_per_epoch(train, config.batch_size), config.epochs, config.warmup_epochs
    )
    model.compile(
        optim.SGD(
            schedule, momentum=config.momentum, l2=config.weight_decay, global_clipnorm=config.clip_norm
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
        weighted_metrics=[
            keras.metrics.SparseCategoricalAccuracy("top1"),
            keras.metrics.SparseTopKCategoricalAccuracy(min(5, len(train.classes)), "top5"),
        ],
        jit_compile=False,  # XLA is slower on CPU, and fails under MirroredStrategy.
    )
    return model


def check_bad_videos(bad_videos):
    """Raises `TooManyBadVideos` if either split has more bad videos than it may have."""
    for bad in bad_videos.values():
        bad.check()


def write_bad_videos(config, bad_videos):
    """Writes `bad_videos_train.csv` and `bad_videos_val.csv`."""
    for name, bad in bad_videos.items():
        bad.write(os.path.join(config.workdir, f"bad_videos_{name}.csv"))


def fit(model, config, train, val, bad_videos):
    """Runs all epochs; after each one, the centre clip of every validation video is classified."""
    training_sampler, test_sampler = SAMPLING[config.sampling]
    batches = training_clips(
        train,
        config.training_format(),
        choose=training_sampler,
        short_side=config.short_side,
        scales=config.crop_scales,
        flip=config.flip,
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        bad_videos=bad_videos["train"],
    )
    centre_clips = evaluation_views(
        val,
        config.test_format(),
        choose=test_sampler,
        clips=1,
        crops=1,
        batch_size=config.batch_size,
        bad_videos=bad_videos["val"],
    )

    def report_bad_videos(epoch, logs):
        counts = f"{bad_videos['train']} for training, {bad_videos['val']} for validation"
        print(f"bad videos skipped: {counts}", flush=True)
        write_bad_videos(config, bad_videos)

    history = model.fit(
        batches,
        epochs=config.epochs,
        shuffle=False,  # The batches come in their order already.
        steps_per_epoch=steps_per_epoch(train, config.batch_size),
        validation_data=centre_clips,
        callbacks=[
            keras.callbacks.ProgbarLogger(),  # First, to end its line before the next is printed.
            keras.callbacks.TensorBoard(os.path.join(config.workdir, "tensorboard"), write_graph=False),
            keras.callbacks.LambdaCallback(on_epoch_end=report_bad_videos),
            keras.callbacks.TerminateOnNaN(),
        ],
    )
    if not np.isfinite(history.history["loss"][-1]):
        raise FloatingPointError(
            f"Expected a finite loss. Received {history.history['loss'][-1]} in epoch {len(history.epoch)}. "
            f"Try: a --learning_rate below {config.learning_rate}, or a longer --warmup_epochs."
        )


def save(model, config, classes):
    """Writes `model.keras`, and `serving.json` with what a server needs to know beside it.

    The optimizer stays behind: it would double the file, and ask of whoever loads it to know `train`.
    """
    partial = os.path.join(config.workdir, "partial.keras")
    keras.Model(model.inputs, model.outputs, name=model.name).save(partial)
    os.replace(partial, os.path.join(config.workdir, "model.keras"))
    serving = {
        "classes": classes,
        "frames": config.clip_frames,
        "size": config.test_size,
        "mean": config.mean,
        "std": config.std,
    }
    _write(os.path.join(config.workdir, "serving.json"), json.dumps(serving, indent=2) + "\n")


def _write(path, text):
    with open(f"{path}.partial", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.partial", path)
