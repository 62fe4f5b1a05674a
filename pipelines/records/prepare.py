"""Turns a manifest into records: JPEG frames in TFRecord shards, see `pipelines.records.shards`.

The manifest and the flags decide which videos go to which shard, before anything is decoded. So any process
on any host can make any shard, and make it again with the same bytes; a shard that is complete is kept.
"""

import concurrent.futures
import dataclasses
import functools
import json
import os
import threading
from pathlib import Path

import tensorflow as tf
import tqdm

from pipelines.manifest import read_manifest
from pipelines.records.shards import INDEX, Shard, read_index, write_shard, write_text
from pipelines.records.source import open_records
from pipelines.whole_files import is_partial

PLAN = "unfinished.json"  # The index's first line, while shards are being made.


def plan(manifest_path, output, settings, split=None, videos_per_shard=64):
    """Returns what is to be written.

    Args:
        manifest_path: A local manifest; rows that its check found bad are not decoded.
        output: Directory, local or remote.
        settings: `Settings`.
        split: Name of the split to take; None takes all rows.
        videos_per_shard: Most rows in a shard; the shards' counts differ by one at most.

    Returns:
        (header, shards): the first line of the index, and a list of `Shard`, rows in the manifest's order.
    """
    # The same paths stand in the records, wherever the command is called.
    rows = read_manifest(os.path.abspath(manifest_path), split, keep_bad=True)
    bad = [bool(video.check) and video.check.status == "bad" for video in rows.videos]
    videos = tuple(video for video, is_bad in zip(rows.videos, bad, strict=True) if not is_bad)
    manifest = dataclasses.replace(rows, videos=videos)
    count = -(-len(videos) // videos_per_shard)
    header = {
        "classes": list(manifest.classes),
        "directional": manifest.directional,
        "mirrored": list(manifest.mirrored),
        "fingerprint": manifest.fingerprint(),
        # The fingerprint does not tell one copy of a data set from another.
        "manifest": os.path.abspath(manifest_path),
        "settings": settings._asdict() | {"split": split, "shards": count},
        "unusable": [
            [video.path, video.check.reason] for video, is_bad in zip(rows.videos, bad, strict=True) if is_bad
        ],
    }
    name = split or Path(manifest_path).stem
    ends = [len(videos) * number // count for number in range(count + 1)] if count else [0]
    shards = [
        Shard(
            os.path.join(output, f"{name}-{number:05d}-of-{count:05d}.tfrecord"),
            videos[ends[number] : ends[number + 1]],
            settings,
        )
        for number in range(count)
    ]
    return header, shards


def begin(output, header):
    """Makes the directory and writes into it what it is going to hold.

    Returns:
        Whether anything is left to do.

    Raises:
        ValueError: The directory holds something else, or was begun with other settings or another manifest.
    """
    tf.io.gfile.makedirs(output)
    header = json.loads(json.dumps(header))
    finished = tf.io.gfile.exists(os.path.join(output, INDEX))
    before = read_index(output)[0] if finished else _read_plan(output)
    if before is None:
        if not all(is_partial(name) for name in tf.io.gfile.listdir(output)):
            raise ValueError(
                f"Expected an empty directory, or records to go on with, in {output}. Received other files. "
                "Try: a new directory."
            )
        write_text(os.path.join(output, PLAN), json.dumps(header))
        return True
    if before != header:
        then, now = _flat(before), _flat(header)
        differing = sorted(name for name in then if then[name] != now[name])
        flags = {"short_side", "fps", "quality"}  # All others follow from the manifest, or decide the shards.
        remedy = " ".join(f"--{name}={then[name]}" for name in differing) if {*differing} <= flags else ""
        raise ValueError(
            f"Expected the manifest and the settings that {output} was begun with. Received others: "
            f"{', '.join(differing)} differ. Try: {remedy and remedy + ', or '}another --output"
        )
    return not finished


def prepare(shards, decode, workers):
    """Writes shards in threads, with a progress bar.

    Args:
        shards: List of `Shard`.
        decode: A decoder like `decode_frames`; many threads call it at a time.
        workers: Shards that are written at a time.
    """
    stopped = threading.Event()

    def decode_until_stopped(*arguments):
        if stopped.is_set():
            raise concurrent.futures.CancelledError
        return decode(*arguments)

    with (
        concurrent.futures.ThreadPoolExecutor(workers) as pool,
        tqdm.tqdm(total=sum(len(shard.videos) for shard in shards), desc="preparing", unit=" videos") as bar,
    ):
        writing = {pool.submit(write_shard, shard, decode_until_stopped): shard for shard in shards}
        bad = 0
        try:
            for done in concurrent.futures.as_completed(writing):
                bad += len(done.result()["unusable"])
                bar.set_postfix(bad=bad, refresh=False)
                bar.update(len(writing.pop(done).videos))
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def prepare_with_beam(shards, decoder, flags):
    """Writes shards in a Beam pipeline, with the same bytes as `prepare`.

    Args:
        shards: List of `Shard`, whose paths the runner's hosts can open.
        decoder: Function (workers) -> context manager that gives a decoder, such as
            `pipelines.decoding.isolation.open_decoder`, with its other arguments bound.
        flags: Flags for Beam, such as `--runner=DataflowRunner`.
    """
    import apache_beam as beam

    with beam.Pipeline(options=beam.options.pipeline_options.PipelineOptions(flags)) as pipeline:
        _ = (
            pipeline
            | beam.Create(shards)
            | beam.Reshuffle()
            | beam.Map(functools.partial(_write_alone, decoder=decoder))
        )


def damage(directory, workers):
    """Returns what is wrong in a directory of records, as lines: damaged shards, and the lost records.

    Raises:
        FileNotFoundError: There is no index.
        ValueError: The index is damaged, or has no records.

    Cost: every shard is read whole.
    """
    records = open_records(directory)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        found = pool.map(records.damage, range(records.num_shards))
        bar = tqdm.tqdm(found, total=records.num_shards, desc="verifying", unit=" shards")
        return [line for lines in bar for line in lines]


def _write_alone(shard, decoder):
    with decoder(workers=1) as decode:
        write_shard(shard, decode)


def _read_plan(output):
    try:
        with tf.io.gfile.GFile(os.path.join(output, PLAN)) as file:
            return json.loads(file.read())
    except tf.errors.NotFoundError:
        return None


def _flat(header):
    settings = header["settings"]
    return {name: json.dumps(value) for name, value in (header | settings).items() if name != "settings"}
