"""From a configuration to its data: which videos, which clips of them, and what is done to their pixels."""

import contextlib
import functools
import os
import socket

import tensorflow as tf

from pipelines.augmenting import colour, mixing, rand_augment
from pipelines.augmenting import crops as augment
from pipelines.clips import SAMPLING
from pipelines.dataset import evaluation_views, steps_per_epoch, training_clips
from pipelines.decoding.decode import decode_frames
from pipelines.decoding.isolation import IsolatedDecoder
from pipelines.labels import check_flip
from pipelines.manifest import is_manifest, read_manifest
from pipelines.manifest.annotations import read_kinetics
from pipelines.records.source import Records, is_records, open_records
from pipelines.video_files import VideoFiles

# Ways to cut a training clip from its frames: name -> function (config) -> function (frames, seed) -> clip.
CROPS = {
    "multi_scale": lambda config: functools.partial(
        augment.multi_scale_crop, size=config.crop, scales=config.crop_scales
    ),
    "scale_jitter": lambda config: functools.partial(
        augment.scale_jitter_crop, size=config.crop, short_sides=config.jitter_sides
    ),
    "random_resized": lambda config: functools.partial(augment.random_resized_crop, size=config.crop),
}


def open_split(config, annotations, classes=None):
    """Returns the videos that a configuration names.

    Args:
        config: A `Config`.
        annotations: Path, absolute or relative to `config.data_dir`: a directory of records, a manifest
            (.jsonl, or .csv with a column `path`), of which `#NAME` takes one split, or a CSV as of Kinetics.
        classes: Class names that the split has to have; None takes the split's own.

    Returns:
        A `Manifest`, or `Records` with one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is malformed, has other classes, or more or fewer than one label a video.
    """
    file, _, name = annotations.partition("#")
    path = os.path.join(config.data_dir, file)
    if is_records(path):
        if name:
            raise ValueError(
                f"Expected records without #{name}, as they are read whole. Received {annotations!r}. "
                f"Try: python -m pipelines.records --split={name}, and that directory."
            )
        split = open_records(path)
    elif is_manifest(path):
        split = read_manifest(path, name or None)
    else:
        return read_kinetics(config.data_dir, annotations, classes)
    manifest = manifest_of(split)
    if classes is not None and manifest.classes != tuple(classes):
        raise ValueError(
            f"Expected the classes of the training split in {path}. Received {len(manifest.classes)} "
            f"others than those {len(classes)}. Try: write both splits' manifests from the same annotations."
        )
    if manifest.multi_label:
        raise ValueError(
            f"Expected one label a video in {path}. Received several, none, or time spans. "
            "Try: a manifest with one label a row."
        )
    return split


def manifest_of(split):
    """Returns the `Manifest` of what `open_split` returned."""
    return split.manifest if isinstance(split, Records) else split


def check(config, train, val):
    """Checks that the flags go with the data, before a run begins.

    Raises:
        ValueError: There are fewer videos than a batch shows, flips would make labels wrong, a service was
            given and no records, or cannot be reached, or records have another frame rate than `fps`.
    """
    manifest = manifest_of(train)
    check_flip(manifest, config.flip)
    steps_per_epoch(manifest, config.batch_size, config.repeats)
    if config.data_service and not isinstance(train, Records):
        raise ValueError(
            "Expected records as --train_annotations, since --data_service makes batches without Python. "
            "Received video files. Try: python -m pipelines.records, and its output in their place."
        )
    for split in (train, val):
        # Prediction, from files, has to sample as evaluation does.
        if isinstance(split, Records) and split.header["settings"]["fps"] != config.fps:
            raise ValueError(
                f"Expected --fps={split.header['settings']['fps']:g}, as the records were prepared with. "
                f"Received --fps={config.fps:g}. Try: that one, or python -m pipelines.records anew."
            )
    if config.data_service:
        _check_service(config.data_service)


def _check_service(address):
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ValueError(
            f"Expected a tf.data service at --data_service={address}. Received: {error}. "
            "Try: start the dispatcher first, or correct the address."
        ) from None


@contextlib.contextmanager
def decoder(config):
    """Gives the decoder of a run, and ends its processes."""
    if config.decode_isolation == "process":
        with IsolatedDecoder(workers=os.cpu_count()) as decode:
            yield decode
    else:
        yield decode_frames


def source_of(config, split, account, decode, short_side):
    """Returns what `pipelines.dataset` reads a split from."""
    if isinstance(split, Records):
        return split
    return VideoFiles(split, account, decode, short_side or None, config.fps)


def samplers(config):
    """Returns (training, test) functions of `pipelines.clips` with the configuration's window."""
    if config.sampling == "segments":
        return SAMPLING["segments"]
    window = {"window": config.window_frames, "short": config.short_videos}
    return tuple(functools.partial(sample, **window) for sample in SAMPLING[config.sampling])


def training_transform(config):
    """Returns the function (uint8 frames, seed) -> uint8 clip: crop, RandAugment, colours, erasing."""
    steps = [CROPS[config.crop_method](config)]
    if config.rand_augment_layers:
        layers, magnitude = config.rand_augment_layers, config.rand_augment_magnitude
        steps.append(functools.partial(rand_augment.rand_augment, num_layers=layers, magnitude=magnitude))
    if config.colour_jitter:
        strength = dict.fromkeys(("brightness", "contrast", "saturation"), config.colour_jitter)
        steps.append(functools.partial(colour.colour_jitter, hue=config.colour_jitter / 4, **strength))
    if config.erasing:
        steps.append(functools.partial(augment.random_erasing, probability=config.erasing))

    def transform(frames, seed):
        for step, step_seed in zip(steps, tf.unstack(tf.random.split(seed, len(steps))), strict=True):
            frames = step(frames, seed=step_seed)
        return frames

    return transform


def training_batches(config, source, account, first_step=0):
    """Returns the training batches of all epochs, see `pipelines.dataset.training_clips`."""
    mix = functools.partial(mixing.mix, mixup_alpha=config.mixup, cutmix_alpha=config.cutmix)
    return training_clips(
        source,
        config.training_format(),
        sample=samplers(config)[0],
        transform=training_transform(config),
        flip=config.flip,
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        account=account,
        repeats=config.repeats,
        mix=mix if config.mixes() else None,
        first_step=first_step,
        workers=config.workers or tf.data.AUTOTUNE,
        service=config.data_service,
    )


def centre_clips(config, source, account):
    """Returns the centre clip of every video, for validation, with labels as in training."""
    batches = _views(config, source, account, clips=1, crops=1)
    if not config.mixes():
        return batches
    classes = len(source.manifest.classes)
    return batches.map(lambda clips, labels, weights: (clips, tf.one_hot(labels, classes), weights))


def evaluation_clips(config, source, account):
    """Returns the views by which a configuration is evaluated."""
    return _views(config, source, account, config.test_clips, config.test_crops)


def _views(config, source, account, clips, crops):
    return evaluation_views(
        source,
        config.test_format(),
        sample=samplers(config)[1],
        clips=clips,
        crops=crops,
        batch_size=config.batch_size,
        account=account,
        workers=config.workers or tf.data.AUTOTUNE,
    )
