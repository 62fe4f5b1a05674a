"""Trains and evaluates one configuration, from the manifests to `results.json`."""

import difflib
import json
import os
import time

import keras
import numpy as np
import tensorflow as tf

from pipelines.account import Account
from pipelines.dataset import iterators_ended_on_error, steps_per_epoch
from train import data, optim
from train.evaluate import evaluate
from train.network import build_network


@iterators_ended_on_error()
def train_and_evaluate(config, train, val, strategy=None):
    """Trains a model and evaluates it.

    Writes to `config.workdir`: `run.flags` (the configuration), `tensorboard/`, `bad_videos_train.csv`,
    `bad_videos_val.csv`, `model.keras`, `serving.json` (classes and preprocessing, for export) and
    `results.json`.

    Args:
        config: A `Config`.
        train: Training split, as of `train.data.open_split`.
        val: Validation split, of the same classes.
        strategy: A `tf.distribute.Strategy`; None mirrors the model on every GPU, or on the CPU.

    Returns:
        The results, as written to `results.json`.

    Raises:
        FileExistsError: The workdir holds a run of another configuration.
        NetworkError: The flags describe no network, or --weights does not fit it; nothing is written.
        ValueError: The data does not go with the flags, as flips where left is not right.
        FloatingPointError: The loss became infinite or NaN; no model is written.
        TooManyBadVideos: More than `config.max_bad_fraction` of the videos cannot be read.
    """
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.dtype_policy)
    strategy = strategy or tf.distribute.MirroredStrategy()
    manifests = {"train": data.manifest_of(train), "val": data.manifest_of(val)}
    classes = manifests["train"].classes
    data.check(config, train, val)
    with strategy.scope():
        model = build_model(config, manifests["train"])
    claim_workdir(config)
    accounts = {name: Account(manifest, config.max_bad_fraction) for name, manifest in manifests.items()}
    write_accounts(config, accounts)
    check_accounts(accounts)
    print(
        f"{model.name}: {model.count_params():,} parameters, {len(manifests['train'])} training and "
        f"{len(manifests['val'])} validation videos of {len(classes)} classes, "
        f"{strategy.num_replicas_in_sync} device(s)"
    )

    start = time.monotonic()
    try:
        with data.decoder(config) as decode:
            source = data.source_of(config, train, accounts["train"], decode, config.short_side)
            val_source = data.source_of(config, val, accounts["val"], decode, config.test_size)
            fit(model, config, source, val_source, accounts)
            train_seconds = time.monotonic() - start
            save(model, config, classes)
            results = evaluate(model, val_source, config, accounts["val"])
    except tf.errors.OpError:
        check_accounts(accounts)  # A better explanation than TensorFlow's of what stopped the pipeline.
        raise
    finally:
        write_accounts(config, accounts)
    results |= {
        "train_seconds": train_seconds,
        "parameters": model.count_params(),
        "data": {name: account.summary() for name, account in accounts.items()},
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


def build_model(config, manifest):
    """Returns the compiled model for a training manifest; call it in the strategy's scope."""
    model = build_network(config, len(manifest.classes))
    steps = steps_per_epoch(manifest, config.batch_size, config.repeats)
    schedule = optim.cosine_with_warmup(config.learning_rate, steps, config.epochs, config.warmup_epochs)
    # Labels of mixed clips are vectors.
    kind = "Categorical" if config.mixes() else "SparseCategorical"
    loss, accuracy = getattr(keras.losses, f"{kind}Crossentropy"), getattr(keras.metrics, f"{kind}Accuracy")
    top_k = (
        keras.metrics.TopKCategoricalAccuracy
        if config.mixes()
        else keras.metrics.SparseTopKCategoricalAccuracy
    )
    model.compile(
        optim.SGD(
            schedule, momentum=config.momentum, l2=config.weight_decay, global_clipnorm=config.clip_norm
        ),
        loss=loss(from_logits=True, reduction="mean_with_sample_weight"),
        weighted_metrics=[accuracy("top1"), top_k(min(5, len(manifest.classes)), "top5")],
        jit_compile=False,  # XLA is slower on CPU, and fails under MirroredStrategy.
    )
    return model


def check_accounts(accounts):
    """Raises `TooManyBadVideos` if either split has more bad videos than it may have."""
    for account in accounts.values():
        account.check()


def write_accounts(config, accounts):
    """Writes `bad_videos_train.csv` and `bad_videos_val.csv`."""
    for name, account in accounts.items():
        account.write(os.path.join(config.workdir, f"bad_videos_{name}.csv"))


def fit(model, config, train, val, accounts):
    """Runs all epochs; after each one, the centre clip of every validation video is classified."""

    def report_bad_videos(epoch, logs):
        counts = f"{accounts['train']} for training, {accounts['val']} for validation"
        print(f"bad videos skipped: {counts}", flush=True)
        write_accounts(config, accounts)

    history = model.fit(
        data.training_batches(config, train, accounts["train"]),
        epochs=config.epochs,
        shuffle=False,  # The batches come in their order already.
        steps_per_epoch=steps_per_epoch(train.manifest, config.batch_size, config.repeats),
        validation_data=data.centre_clips(config, val, accounts["val"]),
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
