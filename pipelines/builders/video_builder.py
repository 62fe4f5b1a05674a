"""What a TFDS builder of videos consists of: its features, its splits, its examples.

A builder states its facts as data and leaves the rest to these functions; the formats of annotations are
known to `pipelines.manifest.annotations` alone.
"""

import collections
import logging
import os
import pathlib
import textwrap

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from pipelines.bad_video import BadVideo

_logger = logging.getLogger(__name__)

_FILE = "The file as it is, encoded: `pipelines.decoding.decode.decode_frames` takes these bytes."
_FRAMES = "The frames. With `decoders={'video': tfds.decode.SkipDecoding()}` their JPEG files, as bytes [T]."


def dataset_info(builder, num_classes, frames=False, spans=False, **facts):
    """Describes a data set of videos.

    Args:
        builder: The TFDS builder.
        num_classes: Number of classes; their names become known with the annotations.
        frames: Whether a video is a folder of JPEGs instead of a file.
        spans: Whether a video has any number of labels, each with its time span, instead of one label.
        **facts: What `tfds.core.DatasetInfo` takes: description, homepage, citation, license.

    Returns:
        A `tfds.core.DatasetInfo` with the features `video`, `path` (relative to the manual directory) and
        `label`, or `labels`, a sequence of `label`, `start` and `end` in seconds.
    """
    label = tfds.features.ClassLabel(num_classes=num_classes)
    if frames:
        video = tfds.features.Video(shape=(None, None, None, 3), encoding_format="jpeg", doc=_FRAMES)
    else:
        video = tfds.features.Tensor(shape=(), dtype=tf.string, doc=_FILE)
    features = {"video": video, "path": tfds.features.Text(), "label": label}
    if spans:
        seconds = tfds.features.Scalar(np.float32)
        del features["label"]
        features["labels"] = tfds.features.Sequence({"label": label, "start": seconds, "end": seconds})
    return tfds.core.DatasetInfo(
        builder=builder,
        features=tfds.features.FeaturesDict(features),
        supervised_keys=None if spans else ("video", "label"),
        metadata=tfds.core.MetadataDict(),
        **facts,
    )


def split_generators(builder, dl_manager, read, splits):
    """Reads the annotations of all splits, before the first video is touched.

    The names of the classes enter the builder's features. Its metadata receive `directional` and `mirrored`
    (see `Manifest`) and `unusable`: {split: {path: reason}}.

    Args:
        builder: The TFDS builder; its `_generate_examples` receives directory, split and manifest.
        dl_manager: TFDS's download manager.
        read: Function (directory, split, classes) -> `Manifest`. The classes are those of the training
            split, and None for this one itself.
        splits: Names of the splits, training first.

    Returns:
        {name of the split: its examples}.

    Raises:
        AssertionError: By TFDS; the manual directory is missing or empty.
        FileNotFoundError: An annotation file is missing.
        ValueError: An annotation file is malformed, or none of a split's videos exists. The errors have
            the builder's instructions as a note.
    """
    directory, manifests, classes = dl_manager.manual_dir, {}, None
    try:
        for split in splits:
            manifests[split] = read(os.fspath(directory), split, classes)
            classes = manifests[split].classes if classes is None else classes
        _name_classes(builder, directory, classes)
    except (OSError, ValueError) as error:
        instructions = textwrap.dedent(builder.MANUAL_DOWNLOAD_INSTRUCTIONS)
        error.add_note(f"For {builder.name}, with --manual_dir={directory}:\n\n{instructions}")
        raise
    training = manifests[splits[0]]
    builder.info.metadata.update(
        directional=training.directional, mirrored=list(training.mirrored), unusable={}
    )
    for split, manifest in manifests.items():
        _report(builder, directory, split, manifest)
    return {
        split: builder._generate_examples(directory, split, manifest) for split, manifest in manifests.items()
    }


def examples(builder, directory, split, manifest):
    """Yields (key, example) of a split's videos; those that cannot be read join the unusable ones.

    Args:
        builder: The TFDS builder.
        directory: The manual directory.
        split: Name of the split.
        manifest: Its `Manifest`.

    Raises:
        ValueError: No video can be read.
    """
    unusable, repeats = builder.info.metadata["unusable"][split], collections.Counter()
    for video in manifest.videos:
        path = os.path.relpath(video.path, directory)
        try:
            example = {"video": _content(video.path), "path": path}
        except BadVideo as bad:
            _logger.warning("Bad video left out: %s", bad)
            unusable[path] = bad.reason
            continue
        if "labels" in builder.info.features:
            example["labels"] = [
                {"label": number, "start": start, "end": end} for number, start, end in video.labels
            ]
        else:
            example["label"] = video.label
        repeats[path] += 1
        yield path if repeats[path] == 1 else f"{path} #{repeats[path]}", example
    if not repeats:
        first, reason = next(iter(unusable.items()))
        raise ValueError(
            f"Expected videos that can be read for split {split!r} in {directory}. Received none; the first, "
            f"{first}: {reason}. Try: copy the videos again."
        )


def kinetics_tables(directory):
    """Returns {split: annotation file} of a copy of Kinetics; a test split is only there if its file is."""
    tables = {"train": "train.csv", "validation": "validate.csv", "test": "test.csv"}
    directory = pathlib.Path(directory)
    if not (directory / tables["validation"]).exists() and (directory / "val.csv").exists():
        tables["validation"] = "val.csv"
    if not (directory / tables["test"]).exists():
        del tables["test"]
    return tables


def _name_classes(builder, directory, classes):
    features = builder.info.features
    feature = features["labels"]["label"] if "labels" in features else features["label"]
    if len(classes) != feature.num_classes:
        raise ValueError(
            f"Expected annotations of {feature.num_classes} classes in {directory}. Received {len(classes)}. "
            "Try: the annotation files of the original release."
        )
    feature.names = list(classes)


def _report(builder, directory, split, manifest):
    unusable = {os.path.relpath(bad.path, directory): bad.reason for bad in manifest.unusable}
    builder.info.metadata["unusable"][split] = unusable
    if unusable:
        first, reason = next(iter(unusable.items()))
        _logger.warning(
            "%s, split %s: %d of %d annotated videos cannot be used, as %s: %s. All are named in "
            "info.metadata['unusable'].",
            builder.name,
            split,
            len(unusable),
            len(unusable) + len(manifest),
            first,
            reason,
        )


def _content(path):
    """Returns the bytes of a file, or a list of those of a folder's JPEGs."""
    path = pathlib.Path(path)
    try:
        if not path.is_dir():
            content = path.read_bytes()
            empty = not content
        else:
            frames = sorted(frame for frame in path.iterdir() if frame.suffix.lower() in (".jpg", ".jpeg"))
            content = [frame.read_bytes() for frame in frames]
            empty = not all(content)
    except OSError as error:
        raise BadVideo(path, f"cannot be read: {error.strerror}") from None
    if empty:
        raise BadVideo(path, "the file is empty (0 bytes), or one of its frames is")
    if not content:
        raise BadVideo(path, "a folder without JPEG files")
    return content
