"""A TFDS builder of videos: its features, its splits, its examples.

A builder of a data set states its facts and reads its annotations; `VideoBuilder` does what is the same for
all. `pipelines.manifest.annotations` alone knows the formats of annotations.
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


class VideoBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder whose examples are encoded videos, or their frames, with labels and paths.

    The features are `video`, `path` (relative to the manual directory) and `label`, or `labels`, a sequence
    of `label`, `start` and `end` in seconds. The metadata are `directional` and `mirrored` (see `Manifest`)
    and `unusable`: {split: {path: reason}}.

    Attributes:
        NUM_CLASSES: Number of classes; their names become known with the annotations.
        SPLITS: Names of the splits, the training split first.
        FRAMES: Whether a video is a folder of JPEGs instead of a file.
        SPANS: Whether a video has any number of labels, each with its time span, instead of one label.
        FACTS: {argument of `tfds.core.DatasetInfo`: value}: description, homepage, citation and license.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Encoded files with the labels of the original annotations."}
    NUM_CLASSES = None
    SPLITS = ()
    FRAMES = False
    SPANS = False
    FACTS = {}

    def _split_names(self, directory):
        """Returns the names of the splits that a manual directory has, the training split first."""
        return self.SPLITS

    def _read(self, directory, split, classes):
        """Returns the `Manifest` of a split.

        Args:
            directory: Manual directory.
            split: Name of the split.
            classes: Class names of the training split; None for this split itself.
        """
        raise NotImplementedError

    def _info(self):
        label = tfds.features.ClassLabel(num_classes=self.NUM_CLASSES)
        if self.FRAMES:
            video = tfds.features.Video(shape=(None, None, None, 3), encoding_format="jpeg", doc=_FRAMES)
        else:
            video = tfds.features.Tensor(shape=(), dtype=tf.string, doc=_FILE)
        features = {"video": video, "path": tfds.features.Text(), "label": label}
        if self.SPANS:
            seconds = tfds.features.Scalar(np.float32)
            del features["label"]
            features["labels"] = tfds.features.Sequence({"label": label, "start": seconds, "end": seconds})
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=None if self.SPANS else ("video", "label"),
            metadata=tfds.core.MetadataDict(),
            **self.FACTS,
        )

    def _split_generators(self, dl_manager):
        """Returns {split: its examples}; reads the annotations of all splits before the first video.

        Raises:
            AssertionError: By TFDS; the manual directory is missing or empty.
            FileNotFoundError: An annotation file is missing.
            ValueError: An annotation file is malformed, or none of a split's videos exists. These errors
                have the builder's instructions as a note.
        """
        directory, manifests, classes = dl_manager.manual_dir, {}, None
        try:
            for split in self._split_names(directory):
                manifests[split] = self._read(os.fspath(directory), split, classes)
                classes = manifests[split].classes if classes is None else classes
            _name_classes(self, directory, classes)
        except (OSError, ValueError) as error:
            instructions = textwrap.dedent(self.MANUAL_DOWNLOAD_INSTRUCTIONS)
            error.add_note(f"For {self.name}, with --manual_dir={directory}:\n\n{instructions}")
            raise
        training = next(iter(manifests.values()))
        self.info.metadata.update(
            directional=training.directional, mirrored=list(training.mirrored), unusable={}
        )
        for split, manifest in manifests.items():
            _report(self, directory, split, manifest)
        return {
            split: self._generate_examples(directory, split, manifest)
            for split, manifest in manifests.items()
        }

    def _generate_examples(self, directory, split, manifest):
        """Yields (key, example) of a split's videos; videos that cannot be read join the unusable ones.

        Raises:
            ValueError: No video can be read.
        """
        unusable, repeats = self.info.metadata["unusable"][split], collections.Counter()
        for video in manifest.videos:
            path = os.path.relpath(video.path, directory)
            try:
                example = {"video": _content(video.path), "path": path}
            except BadVideo as bad:
                _logger.warning("Bad video left out: %s", bad)
                unusable[path] = bad.reason
                continue
            if self.SPANS:
                example["labels"] = [
                    {"label": class_, "start": start, "end": end} for class_, start, end in video.labels
                ]
            else:
                example["label"] = video.label
            repeats[path] += 1
            yield path if repeats[path] == 1 else f"{path} #{repeats[path]}", example
        if not repeats:
            first, reason = next(iter(unusable.items()))
            raise ValueError(
                f"Expected videos that can be read for split {split!r} in {directory}. Received none; the "
                f"first, {first}: {reason}. Try: copy the videos again."
            )


def _name_classes(builder, directory, classes):
    """Enters the class names in the builder's features; raises ValueError if they are not NUM_CLASSES."""
    features = builder.info.features
    feature = features["labels"]["label"] if builder.SPANS else features["label"]
    if len(classes) != feature.num_classes:
        raise ValueError(
            f"Expected annotations of {feature.num_classes} classes in {directory}. Received {len(classes)}. "
            "Try: the annotation files of the original release."
        )
    feature.names = list(classes)


def _report(builder, directory, split, manifest):
    """Enters the unusable videos of a split in the builder's metadata, and logs how many they are."""
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
    """Returns the bytes of a file, or a list of the bytes of each JPEG of a folder."""
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
