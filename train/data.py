"""Makes the data of a configuration: its videos, the clips of these, and what is done to their pixels."""

import contextlib
import dataclasses
import functools
import logging
import os
import socket

import tensorflow as tf

from pipelines.account import Account
from pipelines.augmenting import mixing
from pipelines.augmenting.resizing import scale_short_side
from pipelines.clips import SAMPLING, consensus_training_clips, dense_test_clips
from pipelines.dataset import ClipFormat, check_training, training_clips
from pipelines.decoding.decode import decode_frames
from pipelines.decoding.isolation import open_decoder
from pipelines.decoding.limits import Limits
from pipelines.manifest import is_manifest, read_manifest
from pipelines.manifest.annotations import read_kinetics
from pipelines.manifest.annotations.folders import import_command
from pipelines.order import WHOLE, Schedule
from pipelines.records.source import is_records, open_records
from pipelines.video_files import VideoFiles
from train.augmentation import training_transform
from train.config.fields import nearest

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Data:
    """The opened and checked data of a run.

    Attributes:
        train, val: The sources of the training and the validation videos, see `pipelines.dataset`.
        schedule: The `Schedule` of the training.
        accounts: {"train": `Account`, "val": `Account`}.
        batches: Function (first_step, skipped, part) -> the training batches from a step on.
        close: Function that ends the decoder's processes.
    """

    train: object
    val: object
    schedule: Schedule
    accounts: dict
    batches: object
    close: object

    @property
    def classes(self):
        """The class names, in the order of the labels."""
        return self.train.manifest.classes


def open_data(config):
    """Opens a run's data, and finds all flags that do not go with it.

    Returns:
        `Data`.

    Raises:
        FileNotFoundError: An annotation file or a directory is missing.
        ValueError: A split is malformed, has other classes, or labels that the flags do not allow; there are
            fewer videos than a batch shows; flips would make labels wrong; a service cannot be reached, or
            the training split is not records; or records have another frame rate than `fps`.
    """
    if config.data_service:
        check_service(config.data_service)
    with contextlib.ExitStack() as stack:
        decode = stack.enter_context(decoder(config))
        train = open_split(config, config.train_annotations, decode)
        val = open_split(config, config.val_annotations, decode, train.manifest.classes)
        for split in (train, val):
            _check_labelled(split.manifest)
        _check_apart(train.manifest, val.manifest)
        check_training(train, config.flip, config.data_service)
        plan = config.batch_size, config.epochs, config.seed, config.repeats, config.steps
        schedule = Schedule(len(train.manifest), *plan)
        splits = {"train": train, "val": val}
        accounts = {name: Account(split.manifest, config.max_bad_fraction) for name, split in splits.items()}
        batches = functools.partial(training_batches, config, train, accounts["train"], schedule)
        return Data(train, val, schedule, accounts, batches, stack.pop_all().close)


def open_split(config, annotations, decode=decode_frames, classes=None, multi_label=False):
    """Returns the source of the videos of a split.

    Args:
        config: A `Config`.
        annotations: Path, absolute or relative to `config.data_dir`: a directory of records, a manifest
            (.jsonl, or .csv with a column `path`), of which `#NAME` takes one split, or a CSV in the format
            of Kinetics.
        decode: The decoder of files.
        classes: Class names that the split must have; None takes the split's own.
        multi_label: Whether a video may have several labels, none, or some for a part of its time, also
            without --multi_label.

    Returns:
        `VideoFiles` or `Records`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is malformed, has other classes or another frame rate, or a video has not exactly one
            label.
    """
    file, _, name = annotations.partition("#")
    path = os.path.join(config.data_dir, file)
    if command := import_command(path):
        raise ValueError(
            f"Expected a manifest, records or a CSV. Received {annotations!r}, where videos are. "
            f"Try: {command[0]}, and {os.path.relpath(command[1], config.data_dir)} in its place"
        )
    if is_records(path):
        if name:
            raise ValueError(
                f"Expected records without #{name}, as they are read whole. Received {annotations!r}. "
                f"Try: python -m pipelines.records --split={name}, and that directory."
            )
        source = open_records(path)
    elif is_manifest(path):
        source = VideoFiles(read_manifest(path, name or None), decode, config.fps)
    else:
        if os.path.isdir(config.data_dir) and not os.path.isfile(path):
            raise _no_such_file(path, name)
        return VideoFiles(read_kinetics(config.data_dir, annotations, classes), decode, config.fps)
    _check_split(source, path, config, classes, multi_label)
    return source


def _no_such_file(path, name):
    folder, base = os.path.split(path)
    found = nearest(base, os.listdir(folder) if os.path.isdir(folder) else ())
    remedy = f"{found}{'#' * bool(name)}{name}" if found else "python -m pipelines.manifest import"
    expected = f"a manifest, records or a CSV at {path!r}"
    return FileNotFoundError(f"Expected {expected}. Received no such file. Try: {remedy}")


def _check_split(source, path, config, classes, multi_label):
    manifest = source.manifest
    if classes is not None and manifest.classes != tuple(classes):
        raise ValueError(
            f"Expected the classes of the training split in {path}, all {len(classes)} in the same order. "
            f"Received {len(manifest.classes)} classes, and they or their order differ. "
            "Try: import both splits from the same annotations."
        )
    if manifest.multi_label and not (multi_label or config.multi_label):
        raise ValueError(
            f"Expected one label a video in {path}. Received several, none, or time spans. "
            "Try: --multi_label, with a sigmoid for each class."
        )
    if source.fps != config.fps:  # Prediction reads files, and has to sample as evaluation does.
        raise ValueError(
            f"Expected --fps={source.fps:g}, with which the records in {path} were prepared. "
            f"Received --fps={config.fps:g}. Try: --fps={source.fps:g}, or prepare the records again."
        )


def _check_labelled(manifest):
    if not any(video.labels for video in manifest.videos):
        raise ValueError(
            f"Expected videos with labels to train and validate with. Received {len(manifest)} without, such "
            f"as {manifest.videos[0].path}. Try: another split, as a challenge keeps the labels of its test."
        )


def _check_apart(train, val):
    """Raises ValueError if training shows all validation videos, and warns if it shows some of them."""
    shown = {(video.path, video.start, video.end) for video in train.videos}
    contents = {video.check.sha256 for video in train.videos if video.check} - {""}
    both = [
        video
        for video in val.videos
        if (video.path, video.start, video.end) in shown or (video.check and video.check.sha256 in contents)
    ]
    if len(both) == len(val):
        raise ValueError(
            f"Expected validation videos that training does not show. Received {len(both)} videos, each of "
            f"which is a training video too, such as {both[0].path}. Try: a split for each, as in "
            "--train_annotations=FILE#train --val_annotations=FILE#val, and other videos for each: a "
            "copy is found by its content."
        )
    if both:
        _logger.warning(
            "%d OF %d VALIDATION VIDEOS ARE TRAINING VIDEOS TOO, such as %s: the results will be too good.",
            len(both),
            len(val),
            both[0].path,
        )


def check_service(address):
    """Raises ValueError unless a tf.data service answers at an address."""
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ValueError(
            f"Expected a tf.data service at --data_service={address}. Received: {error}. "
            "Try: start the dispatcher first, or correct the address."
        ) from None


def decoder(config):
    """Returns a context manager that gives the decoder of a run, and ends its processes."""
    limits = Limits.of_decoders(config.decoder_megabytes)
    return open_decoder(config.decode_isolation, os.cpu_count(), config.decode_timeout, limits)


def training_format(config):
    """Returns the `ClipFormat` of the training clips; those of a consensus follow one another."""
    return ClipFormat(config.clip_frames * config.consensus_clips, config.crop, config.mean, config.std)


def mixes(config):
    """Returns whether training clips are mixed, so that their labels are vectors."""
    return config.mixup > 0 or config.cutmix > 0


def samplers(config):
    """Returns the (training, test) samplers of `pipelines.clips` with the configuration's window."""
    if config.sampling == "segments":
        return SAMPLING["segments"]
    window = {"window": config.window_frames, "short": config.short_videos, "stride": config.stride}
    train = functools.partial(consensus_training_clips, clips=config.consensus_clips, **window)
    return train, functools.partial(dense_test_clips, **window, starts=config.test_starts)


def training_batches(config, source, account, schedule, first_step=0, skipped=(), part=WHOLE):
    """Returns the training batches from a step on, see `pipelines.dataset.training_clips`."""
    scale = functools.partial(scale_short_side, size=config.short_side) if config.short_side else None
    mix = functools.partial(mixing.mix, mixup_alpha=config.mixup, cutmix_alpha=config.cutmix)
    return training_clips(
        source,
        training_format(config),
        schedule,
        sample=samplers(config)[0],
        transform=training_transform(config),
        flip=config.flip,
        account=account,
        scale=scale,
        mix=mix if mixes(config) else None,
        multi_label=config.multi_label,
        first_step=first_step,
        skipped=skipped,
        part=part,
        workers=config.workers or tf.data.AUTOTUNE,
        service=config.data_service,
    )
