"""Directories of records: videos as JPEGs in TFRecord shards, and an index of them.

A directory has shards, `<name>-00000-of-00012.tfrecord`, and an index, `index.jsonl`. A record is
a `tf.train.Example` of one video:

    frames         JPEGs (RGB, 4:2:0)
    seconds        time of each frame, from the beginning of the file
    path           the file that it was made from
    labels         indices of classes
    label_seconds  start and end of each label, 0 and infinity where it has none
    height, width  sides of the frames, in pixels

The index is JSON lines: what holds for all (classes, settings, the manifest's fingerprint), then a line for
each shard (its name, length, SHA-256; path, labels, frames and length of each record; the videos that could
not be read), and last the SHA-256 of the lines before. It is written last: without it, a directory is
not finished. `python -m pipelines.records` writes such directories.
"""

import hashlib
import json
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipelines.augmenting.resizing import scale_short_side
from pipelines.bad_video import BadVideo, Unusable
from pipelines.clips import frame_chooser
from pipelines.whole_files import is_partial, whole_file

INDEX = "index.jsonl"
FRAMING_BYTES = 16  # A TFRecord has 12 bytes before its data and 4 after.
COLUMNS = ("path", "labels", "start", "end", "split", "frames", "length")  # What the index has of a record.
_VERSION = "keras_nonlocal_records"
_LARGEST_RECORD = 2**30  # An Example cannot be larger than 2 GiB, and one of them is read whole.


class Settings(NamedTuple):
    """How records are made.

    Attributes:
        short_side: Pixels to which a short side that is longer is scaled.
        fps: Frames a second that are kept, see `pipelines.clips.candidates`; 0 for all.
        quality: Quality of the JPEGs, in [1, 100].
    """

    short_side: int = 256
    fps: float = 0.0
    quality: int = 90


class Shard(NamedTuple):
    """A shard to be written.

    Attributes:
        path: Path of the file, local or remote.
        videos: Tuple of `Video`, rows of a manifest.
        settings: `Settings`.
    """

    path: str
    videos: tuple
    settings: Settings


def write_shard(shard, decode):
    """Writes one shard and then, beside it, its line of the index. The bytes depend on `shard` alone.

    A shard that is complete already, with the right SHA-256, is kept. Several processes may write the same.

    Args:
        shard: A `Shard`.
        decode: A decoder, see `pipelines.decoding.decode`.

    Returns:
        The line as a dictionary.

    Cost: the memory of one frame and of the JPEGs of the longest video.
    """
    line = read_line(shard)
    if line and not difference(shard.path, line):
        return line
    records, unusable = {name: [] for name in COLUMNS}, []
    with whole_file(shard.path) as partial:
        with tf.io.TFRecordWriter(partial) as writer:
            for video in shard.videos:
                try:
                    example, num_frames = _example(video, shard.settings, decode)
                except BadVideo as bad:
                    unusable.append((video.path, bad.reason))
                    continue
                writer.write(example)
                fields = video._asdict() | {"labels": _plain(video.labels)}
                fields |= {"frames": num_frames, "length": len(example)}
                for name, column in records.items():
                    column.append(fields[name])
        line = {"name": os.path.basename(shard.path), **_size_and_sha256(partial)}
        line |= {"records": records, "unusable": unusable}
        if line["bytes"] != sum(length + FRAMING_BYTES for length in records["length"]):
            raise OSError(f"Expected {shard.path} to be written whole. Received less. Try: free some space.")
    write_text(_line_path(shard), json.dumps(line))
    return line


def read_line(shard):
    """Returns the line of the index that was written beside a complete shard, or None."""
    try:
        with tf.io.gfile.GFile(_line_path(shard)) as file:
            return json.loads(file.read())
    except tf.errors.NotFoundError:
        return None


def write_index(directory, header, shards):
    """Finishes a directory of complete shards: writes its index, in one step, and removes what led to it.

    Args:
        directory: Path, local or remote.
        header: Dictionary with `classes`, `directional`, `mirrored`, `fingerprint` of the source manifest,
            `settings`, and `unusable`, pairs of path and reason known before any decoding.
        shards: List of all `Shard`, in the order of the rows.

    Raises:
        ValueError: A shard is not complete.
    """
    lines = [{_VERSION: 1, **header}, *map(read_line, shards)]
    if None in lines:
        raise ValueError(
            f"Expected only complete shards. Received {shards[lines.index(None) - 1].path}, which is not. "
            "Try: the same command again."
        )
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    write_text(os.path.join(directory, INDEX), text + json.dumps({"sha256": _sha256(text)}) + "\n")
    for name in tf.io.gfile.listdir(directory):
        if is_partial(name) or name.endswith(".tfrecord.json"):
            tf.io.gfile.remove(os.path.join(directory, name))


def read_index(directory):
    """Returns (header, lines of the shards), dictionaries as `write_index` and `write_shard` make them.

    Raises:
        FileNotFoundError: There is no index.
        ValueError: The index is damaged.
    """
    path = os.path.join(directory, INDEX)
    try:
        with tf.io.gfile.GFile(path) as file:
            text = file.read()
    except tf.errors.NotFoundError:
        raise FileNotFoundError(
            f"Expected records in {os.fspath(directory)!r}. Received none with {INDEX}, which is written "
            "when all shards are. Try: python -m pipelines.records, the same command again if it was stopped."
        ) from None
    except (UnicodeDecodeError, tf.errors.FailedPreconditionError) as error:
        raise _damaged(path, error) from None
    body, last = text[: text.rfind("\n", 0, -1) + 1], text[text.rfind("\n", 0, -1) + 1 :]
    try:
        if json.loads(last)["sha256"] != _sha256(body):
            raise ValueError("another SHA-256 than its last line says")
        header, *shards = map(json.loads, body.splitlines())
        if header.pop(_VERSION) != 1:
            raise ValueError("another version than 1")
        _check_index(header, shards)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise _damaged(path, error) from None
    return header, shards


def _check_index(header, shards):
    """Raises ValueError, TypeError, KeyError or IndexError unless the index has all that is read of it."""
    classes = range(len(header["classes"]))
    for partner in header["mirrored"]:
        classes[partner]
    bool(header["directional"]), header["settings"]["fps"], dict(header["unusable"])
    for shard in shards:
        shard["name"], shard["bytes"], shard["sha256"], dict(shard["unusable"])
        columns = [shard["records"][name] for name in COLUMNS]
        for _, labels, _, _, _, frames, length in zip(*columns, strict=True):
            for label in [labels] if isinstance(labels, int) else [label for label, _, _ in labels]:
                if label not in classes:
                    raise ValueError(f"class {label} of {len(classes)}")
            if min(frames, length) < 1:
                raise ValueError(f"a record of {frames} frames and {length} bytes")


def difference(path, line):
    """Returns how a shard differs from its line of the index, in words; empty if it does not."""
    try:
        found = _size_and_sha256(path)
    except tf.errors.NotFoundError:
        return "there is no such file"
    differing = [
        f"{name} {line[name]} expected, {found[name]} found" for name in found if found[name] != line[name]
    ]
    return "; ".join(differing)


def write_text(path, text):
    """Writes a small file, whole or not at all."""
    with whole_file(path) as partial, tf.io.gfile.GFile(partial, "w") as file:
        file.write(text)


def _plain(labels):
    """Returns labels for JSON: for a single one without a span, which is the rule, its class alone."""
    return labels[0].number if len(labels) == 1 and labels[0][1:] == (None, None) else labels


def _example(video, settings, decode):
    """Returns (serialised example, number of frames)."""
    encoder = _Encoder(settings)
    choose = frame_chooser(encoder.begin, video.start, video.end, settings.fps)
    try:
        jpegs, seconds = decode(_source(video.path), choose, encoder.encode)
    except Unusable as error:
        raise BadVideo(video.path, str(error)) from None
    spans = [(label.start or 0.0, np.inf if label.end is None else label.end) for label in video.labels]
    features = {
        "frames": _feature(bytes_list=jpegs),
        "seconds": _feature(float_list=seconds),
        "path": _feature(bytes_list=[os.fsencode(video.path)]),
        "labels": _feature(int64_list=[label.number for label in video.labels]),
        "label_seconds": _feature(float_list=np.ravel(spans)),
        "height": _feature(int64_list=[encoder.shape[0]]),
        "width": _feature(int64_list=[encoder.shape[1]]),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True), len(jpegs)


def _source(path):
    if "://" not in path:
        return path
    try:  # Decoders read local files only.
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except tf.errors.NotFoundError:
        raise BadVideo(path, "there is no such file") from None


class _Encoder:
    """Makes a JPEG of each frame as soon as it is decoded, so that a long video need not fit into memory."""

    def __init__(self, settings):
        self.shape, self._settings, self._bytes = None, settings, 0

    def begin(self, num_frames):
        """Returns the numbers of all frames; a decoder asks for them each time it begins with the file."""
        self._bytes = 0
        return np.arange(num_frames)

    def encode(self, frame):
        """Returns the JPEG of a frame, uint8 [H, W, 3], as bytes."""
        with tf.device("CPU"):
            if self._settings.short_side < min(frame.shape[:2]):  # Frames are never enlarged.
                frame = scale_short_side(tf.constant(frame), self._settings.short_side)
            self.shape = tuple(frame.shape[:2])
            try:
                jpeg = tf.io.encode_jpeg(frame, quality=self._settings.quality).numpy()
            except tf.errors.InternalError:  # Its only cause is a side that is too long.
                raise Unusable(f"no JPEG has sides of {self.shape}") from None
        self._bytes += len(jpeg)
        if self._bytes > _LARGEST_RECORD:
            raise Unusable(f"too long for a record: more than {_LARGEST_RECORD >> 20} MiB of JPEGs")
        return jpeg


def _feature(**values):
    ((kind, value),) = values.items()
    of_kind = {
        "bytes_list": tf.train.BytesList,
        "float_list": tf.train.FloatList,
        "int64_list": tf.train.Int64List,
    }
    return tf.train.Feature(**{kind: of_kind[kind](value=value)})


def _line_path(shard):
    return f"{shard.path}.json"


def _size_and_sha256(path):
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while piece := file.read(2**22):
            digest.update(piece)
        return {"bytes": file.tell(), "sha256": digest.hexdigest()}


def _sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def _damaged(path, error):
    return ValueError(
        f"Expected the index of records in {path}. Received a damaged one: {error}. "
        "Try: copy it again, or prepare the records again."
    )
