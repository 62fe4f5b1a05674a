"""Clips per second that one core reads from records, 8 frames each, to uint8 pixels.

taskset -c 0 python benchmarks/records.py [--repeats=5]

Frames are 340x256 and have about as many bytes as real ones at quality 90. Each round reads clips from random
places of random records. The program prints the median for records of 50 frames (10 s at 5 a second) and of
300, because a record is read whole, for its checksum.
"""

import argparse
import os
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf

from pipelines.clips import segment_training_clip
from pipelines.decoding.decode import Clip
from pipelines.manifest import Label, Video
from pipelines.records.shards import Settings, Shard, write_index, write_shard
from pipelines.records.source import open_records

HEIGHT, WIDTH, RECORDS, CLIP_FRAMES, CLIPS = 256, 340, 40, 8, 200


def scene(num_frames):
    """Returns a moving texture with a little grain, uint8 [T, 256, 340, 3]."""
    frame, rows, columns = np.ogrid[:num_frames, :HEIGHT, :WIDTH]
    waves = [np.sin((columns * (k + 1) + rows * (3 - k) + 4 * frame) / 23) for k in range(3)]
    grain = np.random.default_rng(0).integers(-3, 4, (num_frames, HEIGHT, WIDTH, 1))
    return np.clip(128 + 80 * np.stack(waves, -1) + grain, 0, 255).astype(np.uint8)


def write_records(directory, frames):
    """Writes the same frames, uint8 [T, H, W, 3], into many records and opens them.

    Returns:
        (records, mean bytes of a frame).
    """

    def decode(source, choose, transform):
        seconds = np.arange(len(frames)) / 5
        chosen = choose(seconds)
        return Clip([transform(frame) for frame in frames[chosen]], seconds[chosen])

    videos = (Video("scene", (Label(0),)),) * RECORDS
    shard = Shard(os.path.join(directory, "x-00000-of-00001.tfrecord"), videos, Settings())
    line = write_shard(shard, decode)
    header = {"classes": ["a"], "directional": False, "mirrored": [], "fingerprint": "", "unusable": []}
    write_index(directory, header | {"settings": shard.settings._asdict()}, [shard])
    return open_records(directory), line["bytes"] / sum(line["records"]["frames"])


def reader(records):
    """Returns the data set of random clips of random records, read by one thread."""

    def clip(index):
        draws = tf.random.stateless_uniform([CLIP_FRAMES], [0, index], maxval=2**31, dtype=tf.int64)
        row = draws[0] % len(records)
        return records.fetch(row, lambda n, draws: segment_training_clip(n, CLIP_FRAMES, draws), draws)

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    return tf.data.Dataset.range(CLIPS + 1).map(clip).with_options(options)


def clips_per_second(data):
    """Returns the clips per second of one round of `reader`, without its first clip."""
    clips = iter(data)
    next(clips)
    start = time.perf_counter()
    for ok, frames, *_ in clips:
        if not ok or frames.shape[0] != CLIP_FRAMES:
            raise ValueError(f"Expected {CLIP_FRAMES} frames. Received {frames.shape}. Try: whole records.")
    return CLIPS / (time.perf_counter() - start)


def main():
    """Writes the records, times rounds of both kinds in turns, and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        for num_frames in (50, 300):
            place = os.path.join(directory, str(num_frames))
            os.mkdir(place)
            records, frame_bytes = write_records(place, scene(num_frames))
            found[num_frames] = reader(records), frame_bytes
        rounds = [
            {num_frames: clips_per_second(data) for num_frames, (data, _) in found.items()}
            for _ in range(repeats)
        ]
    print(f"{'8 frames of a record of':<26}{'kB a frame':>12}{'clips/s, one core':>20}")
    for num_frames, (_, frame_bytes) in found.items():
        rate = statistics.median(rates[num_frames] for rates in rounds)
        print(f"{f'{num_frames} frames':<26}{frame_bytes / 1000:>12.1f}{rate:>20.0f}")


if __name__ == "__main__":
    main()
