"""Trains and evaluates one configuration, from the manifests to `results.json`."""

import contextlib
import json
import logging
import math
import os
import re

import keras
import tensorflow as tf

from pipelines.account import TooManyBadVideos
from pipelines.dataset import iterators_ended_on_error
from pipelines.whole_files import whole_file
from train.config.parts import rates_of
from train.data import mixes
from train.loop import optim
from train.loop.ending import ended_by, kept_epoch, kept_step, restore_kept, why
from train.loop.fitting import fit
from train.loop.losses import accuracies_of, has_vectors, loss_of
from train.loop.precise_norms import precise_norms
from train.loop.schedules import schedule_of
from train.loop.service import watched_service
from train.loop.state import RunState
from train.loop.stopping import StopRequest
from train.loop.trainer import MovingAverage, Trainer, exact_sums
from train.loop.watching import tensorboard_command, write_curves
from train.loop.workdir import check_room, claim_workdir, write_text
from train.loop.workers import Workers
from train.network import build_network
from train.reporting import write_report
from train.scoring.evaluation import measured, video_scores
from train.scoring.views import model_of_views, serving_of

_logger = logging.getLogger(__name__)


class DeviceError(ValueError):
    """A training batch cannot be shared among the devices."""


@iterators_ended_on_error()
def train_and_evaluate(config, data, strategy=None):
    """Trains a model and evaluates it, or goes on with a run that was interrupted.

    Writes to `config.workdir`: `run.flags` (the configuration), `checkpoints/`, `tensorboard/`, `curves.csv`,
    `bad_videos_train.csv`, `bad_videos_val.csv`, `model.keras`, `serving.json` (classes and preprocessing,
    for export), `scores_val.npz` (the `train.scoring.scores.Scores` of the validation videos), `results.json`
    and `report.html`.

    Args:
        config: A `Config`.
        data: The `Data` that `train.data.open_data` returned for it; it is closed after the evaluation.
        strategy: A `tf.distribute.Strategy`, see `train.loop.workers.open_strategy`; None mirrors the model
            on every GPU of this machine, or on the CPU. Of several workers, all call this; the chief writes.

    Returns:
        The results, as written to `results.json`.

    Raises:
        FileExistsError: The workdir holds a run of another configuration.
        DeviceError: The devices do not divide a training batch; nothing is written.
        NetworkError: The flags describe no network, or --weights does not fit it; nothing is written.
        FloatingPointError: A loss or a weight became infinite or NaN, and `model.keras` is not written; or a
            score did, and `results.json` is not written.
        CheckpointError: A checkpoint cannot be written, or is of another network.
        Stopped: A signal ended the run, and it has saved what it had; or another worker does not answer.
        WorkerError: Another worker has an error, or other flags or videos.
        TooManyBadVideos: More than `config.max_bad_fraction` of the videos cannot be read.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(data))
        stack.enter_context(exact_sums())
        keras.utils.set_random_seed(config.seed)
        keras.config.set_dtype_policy(config.dtype_policy)
        strategy = strategy or tf.distribute.MirroredStrategy()
        workers = Workers(strategy)
        stack.enter_context(workers.lost())
        check_devices(config, len(data.train.manifest), strategy.num_replicas_in_sync, workers.part.count)
        workers.check_same(_of_all_workers(config, data, workers))
        with workers.together(), strategy.scope():
            model = build_model(config, data)
            average = MovingAverage(model, config.ema)
        stop = stack.enter_context(StopRequest())
        with workers.together():
            if workers.is_chief:
                stack.enter_context(claim_workdir(config))
            run = RunState(config, data, model, average, stop, workers)
            if workers.is_chief:
                size = sum(
                    variable.value.dtype.size * math.prod(variable.shape) for variable in run.variables
                )
                # Beside those that are kept there is the best, and each is written before another goes.
                check_room(config.workdir, size, config.keep_checkpoints + 3)
        run.restore()
        with workers.together():
            results = results_of(run) if workers.is_chief else None
        if results := workers.tell(results)[0]:
            return results
        run.write_accounts()
        check_accounts(run.accounts())
        if workers.is_chief:
            print(
                f"{model.name}: {model.count_params():,} parameters, {len(data.train.manifest)} training and "
                f"{len(data.val.manifest)} validation videos of {len(data.classes)} classes, "
                f"{strategy.num_replicas_in_sync} device(s){run.where()}\n"
                f"curves: {tensorboard_command(config.workdir)}"
            )
            write_curves(run)
        try:
            return _results(run)
        except tf.errors.OpError as error:
            check_accounts(data.accounts)  # If bad videos stopped the data, this says it better.
            if found := re.search(r"TooManyBadVideos: (.*)", str(error)):
                raise TooManyBadVideos(found[1]) from error
            raise
        finally:
            if workers.is_alone:  # Else the file has what all of them had at an epoch's end.
                run.write_accounts()


def _results(run):
    """Trains and evaluates; returns the results, which the chief writes."""
    config, model, workers = run.config, run.model, run.workers
    path = os.path.join(config.workdir, "results.json")
    if not run.is_trained:
        if workers.is_chief:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)  # It is of fewer epochs.
        run.finish()
        with watched_service(config.data_service, lambda: run.batches, config.workdir):
            fit(run)
    seconds = run.seconds
    if workers.is_chief:
        print(f"training has ended: {why(run)}", flush=True)
    restore_kept(run)
    with run.average.shown(), precise_norms(run, kept_step(run)):
        with workers.together():
            if workers.is_chief:
                save(model, config, run.data.classes)
        progress, account = run.evaluation(), run.data.accounts["val"]
        network = model_of_views(model, config)
        scores = video_scores(network, run.data.val, config, account, workers.is_chief, progress)
    accounts = run.accounts()
    check_accounts(accounts)
    results = measured(scores, config, progress.seconds) | {
        "epoch": kept_epoch(run),
        "step": kept_step(run),
        "ended_by": ended_by(run),
        "train_seconds": seconds,
        "parameters": model.count_params(),
        "data": {name: account.summary() for name, account in accounts.items()},
    }
    with workers.together():
        if workers.is_chief:
            run.write_accounts(accounts)
            scores.save(os.path.join(config.workdir, "scores_val.npz"))
            write_text(path, json.dumps(results, indent=2) + "\n")
            report(config.workdir)
    run.finish()
    return results


def report(workdir):
    """Writes the report of a run; if it cannot be written, a warning says why."""
    try:
        print(f"wrote {write_report(workdir)}", flush=True)
    except Exception as error:
        _logger.warning("The report of %s cannot be written: %s", workdir, error)


def _of_all_workers(config, data, workers):
    """Returns what has to be the same for all workers, as text: videos, devices and most flags."""
    of_machine = ("workdir", "data_dir", "workers", "decode_isolation", "decode_timeout")
    found = {"the count of devices": [str(workers.devices)]}
    for name, account in data.accounts.items():
        found[f"the fingerprint of the {name} videos"] = [account.fingerprint]
    for line in config.to_flags().splitlines():
        name, _, text = line.removeprefix("--").partition("=")
        if name not in of_machine:
            found.setdefault(f"--{name}", []).append(text)
    return {name: ", ".join(texts) for name, texts in found.items()}


def results_of(run):
    """Returns the results of a run that is done, or None."""
    path = os.path.join(run.config.workdir, "results.json")
    if not (run.is_trained and os.path.exists(path)):
        return None
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    if results["step"] != kept_step(run):
        return None
    run.finish()
    print(f"{path} is there already: this run is done, {why(run)}", flush=True)
    return results


def check_devices(config, num_videos, devices, workers=1):
    """Raises DeviceError unless each of the devices gets as many clips of a training batch as the others.

    All clips of a video are one worker's, and so are two that are mixed.
    """
    parts = devices * config.accumulation
    if workers > 1:
        parts = math.lcm(parts, workers * config.repeats * (2 if mixes(config) else 1))
    if config.batch_size % parts == 0:
        return
    step, most = math.lcm(parts, config.repeats), num_videos * config.repeats
    batch_size = max(step, min(config.batch_size, most) // step * step)
    remedy = f"--batch_size={batch_size}" if batch_size <= most else "CUDA_VISIBLE_DEVICES=0, for one device"
    raise DeviceError(
        f"Expected --batch_size to be a multiple of {parts}, as {devices} devices share a batch"
        f"{', each in parts' * (config.accumulation > 1)}. "
        f"Received {config.batch_size}. Try: {remedy}"
    )


def build_model(config, data):
    """Returns the compiled `Trainer` for a run's data; it has to be called in the strategy's scope."""
    network = build_network(config, len(data.classes))
    optim.freeze(network, config.freeze)
    if config.partial_batch_norm:
        optim.freeze_norms(network)
    model = Trainer(network.inputs, network.outputs, name=network.name)
    model.accumulation, model.clip_norm = config.accumulation, config.clip_norm or math.inf
    model.consensus = config.consensus_clips
    if config.synchronized_batch_norm:
        for layer in network._flatten_layers():  # Those within blocks, too; Keras has no public way to them.
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
    optimizer = optimizer_of(config, data.schedule.steps_per_epoch)
    model.compile(
        optimizer,
        loss=loss_of(config),
        metrics=accuracies_of(config, len(data.classes)),
        jit_compile=False,  # XLA is slower on CPU, and fails under MirroredStrategy.
    )
    model.build_for(len(data.classes) if has_vectors(config) else None)
    model.optimizer.build(model.trainable_variables)  # A checkpoint may have values for its variables.
    return model


def optimizer_of(config, steps_per_epoch):
    """Returns the optimiser of a configuration, with its schedule."""
    rate = schedule_of(config, steps_per_epoch)
    groups = {"decay": config.weight_decay, "decayed": config.decayed, "rates": rates_of(config.rates)}
    if config.optimizer == "adamw":
        return optim.AdamW(rate, beta_1=config.momentum, beta_2=config.beta2, **groups)
    return optim.SGD(rate, momentum=config.momentum, nesterov=config.nesterov, **groups)


def check_accounts(accounts):
    """Raises `TooManyBadVideos` if either split has more bad videos than it may have."""
    for account in accounts.values():
        account.check()


def save(model, config, classes):
    """Writes `model.keras`, and `serving.json` with what a server needs besides.

    The optimizer is left out: it would double the file, and whoever loads the file would need `train`.
    """
    with whole_file(os.path.join(config.workdir, "model.keras")) as partial:
        keras.Model(model.inputs, model.outputs, name=model.name).save(partial)
    serving = json.dumps(serving_of(config, classes), indent=2)
    write_text(os.path.join(config.workdir, "serving.json"), serving + "\n")
