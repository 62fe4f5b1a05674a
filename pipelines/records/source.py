"""Records as a source of `pipelines.dataset`: read by row inside graphs, without Python.

`shards` says what the files of records are, and writes them.
"""

import os

import numpy as np
import tensorflow as tf

from pipelines.bad_video import BadVideo
from pipelines.manifest import Label, Manifest, Video
from pipelines.records.shards import COLUMNS, FRAMING_BYTES, INDEX, difference, read_index


def is_records(path):
    """Returns whether a path is a directory, as records are; they may be unfinished."""
    return tf.io.gfile.isdir(path)


def open_records(directory):
    """Opens a directory of records; only its index is read.

    Args:
        directory: Path, local or remote.

    Returns:
        `Records`.

    Raises:
        FileNotFoundError: There is no index.
        ValueError: The index is damaged, or has no records.
    """
    header, shards = read_index(directory)
    if not any(shard["records"]["path"] for shard in shards):
        raise ValueError(
            f"Expected records in {os.fspath(directory)!r}. Received none: not one video could be read. "
            f"Try: the reasons in its {INDEX}."
        )
    return Records(directory, header, shards)


class Records:
    """A directory of records: a source of `pipelines.dataset`.

    Attributes:
        manifest: `Manifest` whose rows are the records; its `unusable` are the videos that have none. Paths,
            starts and ends are those of the files that the records were made from.
        fps: Frames a second that the records hold, 0 for all frames of the files.
        needs_python: False, as `fetch` adds operations to a graph.
        header: What the index says of all records, such as the `settings`.
        num_shards: Count of shards.
    """

    needs_python = False

    def __init__(self, directory, header, shards):
        self.header, self.fps = header, header["settings"]["fps"]
        self.manifest = _manifest(header, shards)
        self._directory, self._shards, self.num_shards = directory, shards, len(shards)
        with tf.device("CPU"):  # Files are read there.
            self._places = tf.constant(_places(shards))
            self._files = tf.constant([os.path.join(directory, shard["name"]) for shard in shards])

    def __len__(self):
        return len(self.manifest)

    def fetch(self, row, sample, draws, transform=None):
        """Returns the frames of a row that `sample(num_frames, draws)` chooses, with TensorFlow alone.

        Args:
            row: int64 scalar, the record's place in the manifest.
            sample: Function from a count of frames n (int64 scalar) and `draws` to T integers in [0, n), of
                any shape.
            draws: Integer vector.
            transform: Function from frames uint8 [..., H, W, 3] to uint8, which is applied to all T frames
                together. None keeps frames.

        Returns:
            (ok, frames, seconds, reason): whether the record is sound; uint8 [T, ...], the frames or what
            `transform` made of them; float32 [T], their times from the beginning of the file; why it is not
            sound. If `ok` is false, frames and times are blank; else the reason is empty.

        Cost: the record is read whole, for its checksum; only the chosen frames are decoded.
        """
        num_frames = self._places[row, 3]
        # The gather makes a frame number outside the video an error here, and not a damaged record below.
        numbers = tf.gather(tf.range(num_frames), tf.reshape(sample(num_frames, draws), [-1]))  # [T]
        ok, frames, seconds = self._read(row, numbers, transform)
        return ok, frames, seconds, tf.where(ok, "", "its record is damaged")

    def damage(self, shard):
        """Returns what is wrong with a shard, as lines: none, or the shard and each record that is lost.

        Args:
            shard: Index of the shard, in [0, num_shards).

        Cost: the shard is read whole.
        """
        line = self._shards[shard]
        wrong = difference(os.path.join(self._directory, line["name"]), line)
        if not wrong:
            return []
        (rows,) = np.nonzero(self._places[:, 0] == shard)
        lost = [self.manifest.videos[row].path for row in rows if not self._read(row, [0])[0]]
        return [f"{line['name']}: {wrong}", *(f"  lost: {path}" for path in lost)]

    def _read(self, row, numbers, transform=None):
        """Returns (ok, frames, seconds) as `fetch` does, for frame numbers [T]."""

        def transformed(row, numbers):
            frames, seconds = self._sound(row, numbers)
            return True, frames if transform is None else transform(frames), seconds

        plainly = tf.autograph.experimental.do_not_convert
        sound = tf.data.Dataset.from_tensors((row, numbers)).map(plainly(transformed))
        blank = False, tf.zeros((tf.size(numbers), 1, 1, 3), tf.uint8), tf.zeros(tf.shape(numbers))
        # The map stands in front of ignore_errors, as a data set of files does not get past a missing one.
        either = sound.ignore_errors().concatenate(tf.data.Dataset.from_tensors(blank))
        return either.take(1).get_single_element()

    def _sound(self, row, numbers):
        """Returns (frames, seconds); a damaged record is an error."""
        file, offset, length, _ = tf.unstack(self._places[row])
        variant = tf.raw_ops.TFRecordDatasetV2(
            filenames=[self._files[file]], compression_type="", buffer_size=0, byte_offsets=[offset]
        )
        record = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))
        record = record.take(1).get_single_element()
        # Another shard under this name may have another record here.
        tf.debugging.Assert(tf.strings.length(record) == tf.cast(length, tf.int32), [length])
        floats, texts = (tf.io.FixedLenSequenceFeature([], kind, True) for kind in (tf.float32, tf.string))
        features = tf.io.parse_single_example(record, {"frames": texts, "seconds": floats})
        frames = _decoded(tf.gather(features["frames"], numbers))
        return frames, tf.gather(features["seconds"], numbers)


def _decoded(jpegs):
    """Returns the frames of JPEGs [T], uint8 [T, H, W, 3]."""

    def decoded(jpeg):
        # This is the exact transform; the fast one is not faster.
        return tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE")

    if jpegs.shape[0] is not None:
        return tf.stack([decoded(jpeg) for jpeg in tf.unstack(jpegs)])
    pixels = tf.TensorSpec([None, None, 3], tf.uint8)
    return tf.map_fn(decoded, jpegs, parallel_iterations=1, fn_output_signature=pixels)


def _places(shards):
    """Returns the shard, offset and length in bytes, and count of frames of each record: int64 [N, 4]."""
    found = []
    for number, shard in enumerate(shards):
        length, frames = (np.array(shard["records"][name], np.int64) for name in ("length", "frames"))
        ends = np.cumsum(length + FRAMING_BYTES)
        found.append(
            np.stack([np.full_like(length, number), ends - length - FRAMING_BYTES, length, frames], 1)
        )
    return np.concatenate(found)


def _manifest(header, shards):
    known = {}  # There is one tuple for each class, as most classes occur often.

    def labels(plain):
        if isinstance(plain, int):
            return known.setdefault(plain, (Label(plain),))
        return tuple(Label(*label) for label in plain)

    videos = tuple(
        Video(path, labels(plain), start, end, split)
        for shard in shards
        for path, plain, start, end, split in zip(*map(shard["records"].get, COLUMNS[:5]), strict=True)
    )
    unusable = [*header["unusable"], *(bad for shard in shards for bad in shard["unusable"])]
    return Manifest(
        videos,
        tuple(header["classes"]),
        tuple(BadVideo(path, reason) for path, reason in unusable),
        header["directional"],
        tuple(header["mirrored"]),
    )
