"""Trains and evaluates one configuration, from the manifests to `results.json`."""

import contextlib
import dataclasses
import difflib
import fcntl
import json
import math
import os
import re
import time

import keras
import numpy as np
import tensorflow as tf

from pipelines.account import TooManyBadVideos
from pipelines.dataset import iterators_ended_on_error
from pipelines.whole_files import whole_file
from train import optim
from train.data import mixes
from train.evaluate import evaluate
from train.network import build_network


class DeviceError(ValueError):
    """A training batch cannot be shared among the devices."""


@iterators_ended_on_error()
def train_and_evaluate(config, data, strategy=None):
    """Trains a model and evaluates it.

    Writes to `config.workdir`: `run.flags` (the configuration), `tensorboard/`, `bad_videos_train.csv`,
    `bad_videos_val.csv`, `model.keras`, `serving.json` (classes and preprocessing, for export) and
    `results.json`.

    Args:
        config: A `Config`.
        data: The `Data` that `train.data.open_data` returned for it; it is closed after the evaluation.
        strategy: A `tf.distribute.Strategy`; None mirrors the model on every GPU, or on the CPU.

    Returns:
        The results, as written to `results.json`.

    Raises:
        FileExistsError: The workdir holds a run of another configuration.
        DeviceError: The devices do not divide a training batch; nothing is written.
        NetworkError: The flags describe no network, or --weights does not fit it; nothing is written.
        FloatingPointError: A loss or a weight became infinite or NaN, and `model.keras` is not written; or a
            score did, and `results.json` is not written.
        TooManyBadVideos: More than `config.max_bad_fraction` of the videos cannot be read.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(data))
        keras.utils.set_random_seed(config.seed)
        keras.config.set_dtype_policy(config.dtype_policy)
        strategy = strategy or tf.distribute.MirroredStrategy()
        check_devices(config, len(data.train.manifest), strategy.num_replicas_in_sync)
        with strategy.scope():
            model = build_model(config, data)
        stack.enter_context(claim_workdir(config))
        write_accounts(config, data.accounts)
        check_accounts(data.accounts)
        print(
            f"{model.name}: {model.count_params():,} parameters, {len(data.train.manifest)} training and "
            f"{len(data.val.manifest)} validation videos of {len(data.classes)} classes, "
            f"{strategy.num_replicas_in_sync} device(s)"
        )
        start = time.monotonic()
        try:
            fit(model, config, data)
            train_seconds = time.monotonic() - start
            save(model, config, data.classes)
            results = evaluate(model, data.val, config, data.accounts["val"])
        except tf.errors.OpError as error:
            check_accounts(data.accounts)  # If bad videos stopped the data, this says it better.
            if found := re.search(r"TooManyBadVideos: (.*)", str(error)):
                raise TooManyBadVideos(found[1]) from error
            raise
        finally:
            write_accounts(config, data.accounts)
    results |= {
        "train_seconds": train_seconds,
        "parameters": model.count_params(),
        "data": {name: account.summary() for name, account in data.accounts.items()},
    }
    _write(os.path.join(config.workdir, "results.json"), json.dumps(results, indent=2) + "\n")
    return results


def check_devices(config, num_videos, devices):
    """Raises DeviceError unless each of the devices gets as many clips of a training batch as the others."""
    if config.batch_size % devices == 0:
        return
    step, most = math.lcm(devices, config.repeats), num_videos * config.repeats
    batch_size = max(step, min(config.batch_size, most) // step * step)
    remedy = f"--batch_size={batch_size}" if batch_size <= most else "CUDA_VISIBLE_DEVICES=0, for one device"
    raise DeviceError(
        f"Expected --batch_size to be a multiple of {devices}, as {devices} devices share a batch. "
        f"Received {config.batch_size}. Try: {remedy}"
    )


def claim_workdir(config):
    """Writes `run.flags`, or accepts a workdir that holds the same configuration already.

    Returns:
        The lock of the workdir, to be closed at the run's end.

    Raises:
        FileExistsError: The workdir holds a run of another configuration, which is left alone, or one that
            is under way.
    """
    os.makedirs(config.workdir, exist_ok=True)
    lock = open(os.path.join(config.workdir, "run.lock"), "a")  # noqa: SIM115 - the caller closes it.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _claim(config)
    except BlockingIOError:
        lock.close()
        raise FileExistsError(
            f"Expected to be alone in {config.workdir}. Received a run.lock that another run holds. "
            "Try: wait for that run, or another --workdir."
        ) from None
    except BaseException:
        lock.close()
        raise
    return lock


def _claim(config):
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
    _write(path, text)


def build_model(config, data):
    """Returns the compiled model for a run's data; it has to be called in the strategy's scope."""
    model = build_network(config, len(data.classes))
    schedule = optim.cosine_with_warmup(
        config.learning_rate, data.schedule.steps_per_epoch, config.epochs, config.warmup_epochs
    )
    # Labels of mixed clips are vectors.
    kind = "Categorical" if mixes(config) else "SparseCategorical"
    loss, accuracy = getattr(keras.losses, f"{kind}Crossentropy"), getattr(keras.metrics, f"{kind}Accuracy")
    top_k = getattr(keras.metrics, f"{kind.replace('Categorical', 'TopKCategorical')}Accuracy")
    model.compile(
        optim.SGD(
            schedule, momentum=config.momentum, l2=config.weight_decay, global_clipnorm=config.clip_norm
        ),
        loss=loss(from_logits=True),
        metrics=[accuracy("top1"), top_k(min(5, len(data.classes)), "top5")],
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


def fit(model, config, data):
    """Trains for all epochs; after each one, classifies the centre clip of every validation video."""
    centre = dataclasses.replace(config, test_clips=1, test_crops=1)

    def validate(epoch, logs):
        if not model.stop_training:  # Else the loss is NaN, and there is nothing to validate.
            scores = evaluate(model, data.val, centre, data.accounts["val"], verbose=0)
            logs.update({f"val_{name}": scores[name] for name in ("loss", "top1", "top5")})

    def report_bad_videos(epoch, logs):
        counts = f"{data.accounts['train']} for training, {data.accounts['val']} for validation"
        print(f"bad videos skipped: {counts}", flush=True)
        write_accounts(config, data.accounts)

    history = model.fit(
        data.batches,
        epochs=config.epochs,
        shuffle=False,  # The batches are in the right order already.
        steps_per_epoch=data.schedule.steps_per_epoch,
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_end=validate),  # The others report what it finds.
            keras.callbacks.ProgbarLogger(),  # It ends its line before others print.
            keras.callbacks.TensorBoard(os.path.join(config.workdir, "tensorboard"), write_graph=False),
            keras.callbacks.LambdaCallback(on_epoch_end=report_bad_videos),
            keras.callbacks.TerminateOnNaN(),
        ],
    )
    losses = {name: values[-1] for name, values in history.history.items() if name.endswith("loss")}
    weights = [w.path for w in model.weights if not np.isfinite(keras.ops.convert_to_numpy(w)).all()]
    wrong = [f"{name} {loss}" for name, loss in losses.items() if not np.isfinite(loss)]
    wrong += [f"infinity or NaN in {len(weights)} of {len(model.weights)} weights"] if weights else []
    if wrong:
        raise FloatingPointError(
            f"Expected finite losses and weights. Received {', '.join(wrong)} in epoch {len(history.epoch)}. "
            f"Try: --learning_rate={config.learning_rate / 10:g}, in a new --workdir"
        )


def save(model, config, classes):
    """Writes `model.keras`, and `serving.json` with what a server needs besides.

    The optimizer is left out: it would double the file, and whoever loads the file would need `train`.
    """
    with whole_file(os.path.join(config.workdir, "model.keras")) as partial:
        keras.Model(model.inputs, model.outputs, name=model.name).save(partial)
    serving = {
        "classes": classes,
        "frames": config.clip_frames,
        "size": config.test_size,
        "mean": config.mean,
        "std": config.std,
    }
    _write(os.path.join(config.workdir, "serving.json"), json.dumps(serving, indent=2) + "\n")


def _write(path, text):
    with whole_file(path) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write(text)
