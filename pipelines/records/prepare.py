"""Turns a manifest into records: JPEG frames in TFRecord shards, see `pipelines.records.shards`.

python -m pipelines.records --manifest=M.jsonl --output=DIR [--split=train] [--short_side=256] [--fps=5]
python -m pipelines.records --manifest=M.jsonl --output=DIR --beam [--runner=DataflowRunner ...]
python -m pipelines.records --verify=DIR

Which videos go to which shard is fixed by the manifest and the flags, before anything is decoded. So every
shard can be made by any process on any host, and once more with the same bytes; what is complete is kept.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
import sys
import threading
from pathlib import Path

import tensorflow as tf
import tqdm

from pipelines.decoding.decode import decode_frames
from pipelines.decoding.isolation import IsolatedDecoder
from pipelines.manifest import read_manifest
from pipelines.records.shards import INDEX, Settings, Shard, read_index, write_index, write_shard, write_whole
from pipelines.records.source import open_records

_PLAN = "unfinished.json"  # The index's first line, while shards are being made.
_ISOLATION = ("process", "none")
_MOST_SHOWN = 8
_RANGES = {
    "short_side": (1, 65500),  # A JPEG's sides are no longer.
    "fps": (0, 1000),
    "quality": (1, 100),
    "videos_per_shard": (1, 100_000),
    "workers": (1, 1000),
}


def plan(manifest_path, output, settings, split=None, videos_per_shard=64):
    """Returns what is to be written.

    Args:
        manifest_path: A manifest; rows that its check found bad are not decoded.
        output: Directory, also a remote one.
        settings: `Settings`.
        split: Name of the split to take; None takes all rows.
        videos_per_shard: Most rows in a shard; shards have the same number, or one less.

    Returns:
        (header, shards): the first line of the index, and a list of `Shard`s, rows in the manifest's order.
    """
    # From wherever the command is called, the same paths stand in the records.
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
    """Makes the directory and notes in it what it is going to hold.

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
        if not all(name.endswith(".partial") for name in tf.io.gfile.listdir(output)):
            raise ValueError(
                f"Expected an empty directory, or records to go on with, in {output}. Received other files. "
                "Try: a new directory."
            )
        write_whole(os.path.join(output, _PLAN), json.dumps(header))
        return True
    if before != header:
        differing = sorted(_flat(before).items() ^ _flat(header).items())
        raise ValueError(
            f"Expected the manifest and the settings that {output} was begun with. Received others: "
            f"{', '.join(dict.fromkeys(name for name, _ in differing))} differ. "
            f"Try: another directory, or settings {before['settings']} and the manifest as it was."
        )
    return not finished


def prepare(shards, decode, workers):
    """Writes shards in threads, with a progress bar.

    Args:
        shards: List of `Shard`.
        decode: A decoder, as `decode_frames`; any number of threads call it.
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


def prepare_with_beam(shards, isolation, flags):
    """Writes shards in a Beam pipeline; they are the same to the last bit.

    Args:
        shards: List of `Shard`, whose paths the runner's hosts can open.
        isolation: "process" or "none", see `--help`.
        flags: Flags for Beam, such as `--runner=DataflowRunner`.
    """
    import apache_beam as beam

    with beam.Pipeline(options=beam.options.pipeline_options.PipelineOptions(flags)) as pipeline:
        _ = (
            pipeline
            | beam.Create(shards)
            | beam.Reshuffle()
            | beam.Map(functools.partial(_write_alone, isolation=isolation))
        )


def damage(directory, workers):
    """Returns what is wrong in a directory of records, in lines: shards, and the records that are lost.

    Raises:
        FileNotFoundError: There is no index.
        ValueError: The index is damaged.

    Cost: every shard is read whole.
    """
    records = open_records(directory)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        found = pool.map(records.damage, range(records.num_shards))
        bar = tqdm.tqdm(found, total=records.num_shards, desc="verifying", unit=" shards")
        return [line for lines in bar for line in lines]


def main(arguments=None):
    """Parses the command line, writes records or verifies them, and returns the exit status."""
    parser = _parser()
    options, beam_flags = parser.parse_known_args(arguments)
    if beam_flags and not options.beam:
        parser.error(f"unrecognized arguments: {' '.join(beam_flags)} (flags of Beam need --beam)")
    if not options.verify and not (options.manifest and options.output):
        parser.error("expected --manifest and --output, or --verify")
    with contextlib.suppress(RuntimeError):  # It is in use already.
        tf.config.set_visible_devices([], "GPU")  # There is nothing for it to do.
    try:
        return _verify(options) if options.verify else _prepare(options, beam_flags)
    except (ValueError, OSError, tf.errors.OpError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.records",
        description=__doc__.split("\n")[0],
        epilog="Stopped in any way, the same command goes on where it stopped; it loses the shards that were "
        "being written. With --beam, further flags are Beam's.",
        allow_abbrev=False,
    )
    settings = Settings()
    add = parser.add_argument
    add("--manifest", help="the .jsonl or .csv file")
    add("--output", help="directory of the records, new or to go on with")
    add(
        "--verify", metavar="DIR", help="check a finished directory's SHA-256s instead, and name what is lost"
    )
    add("--split", help="the split to take (default: all rows)")
    add("--short_side", type=int, default=settings.short_side, help="pixels, never enlarged (default 256)")
    add("--fps", type=float, default=settings.fps, help="frames a second to keep (default: all)")
    add("--quality", type=int, default=settings.quality, help="of the JPEGs, 1 to 100 (default 90)")
    add("--videos_per_shard", type=int, default=64, help="about 1 MB for each 50 frames (default 64)")
    add("--workers", type=int, default=os.cpu_count(), help="shards at a time (default: one per core)")
    add(
        "--decode_isolation",
        choices=_ISOLATION,
        default="process",
        help="where files are decoded: in processes of their own, which a file may crash (default), or not",
    )
    add("--beam", action="store_true", help="on Apache Beam, by default its DirectRunner")
    return parser


def _prepare(options, beam_flags):
    settings = Settings(options.short_side, options.fps, options.quality)
    for name, (least, most) in _RANGES.items():
        if not least <= getattr(options, name) <= most:
            raise ValueError(
                f"Expected --{name} in [{least}, {most}]. Received {getattr(options, name)}. "
                "Try: leave it out."
            )
    if options.beam and importlib.util.find_spec("apache_beam") is None:
        raise ValueError(
            "Expected Apache Beam for --beam. Received an environment without it. "
            "Try: pip install 'keras_nonlocal[beam]' in an environment of its own, or leave out --beam."
        )
    header, shards = plan(options.manifest, options.output, settings, options.split, options.videos_per_shard)
    if begin(options.output, header):
        if options.beam:
            prepare_with_beam(shards, options.decode_isolation, beam_flags)
        else:
            with _decoder(options.decode_isolation, options.workers) as decode:
                prepare(shards, decode, options.workers)
        write_index(options.output, header, shards)
        tf.io.gfile.remove(os.path.join(options.output, _PLAN))
    manifest = open_records(options.output).manifest
    print(f"{options.output}: {len(manifest)} records, {len(manifest.unusable)} bad videos")
    for bad in manifest.unusable[:_MOST_SHOWN]:
        print(f"bad: {bad}", file=sys.stderr)
    if len(manifest.unusable) > _MOST_SHOWN:
        print(f"all others are in {os.path.join(options.output, INDEX)}", file=sys.stderr)
    return 0


def _verify(options):
    lines = damage(options.verify, options.workers)
    print("\n".join(lines) if lines else f"{options.verify}: as it was written")
    return int(bool(lines))


@contextlib.contextmanager
def _decoder(isolation, workers):
    if isolation == "process":
        with IsolatedDecoder(workers) as decode:
            yield decode
    else:
        yield decode_frames


def _write_alone(shard, isolation):
    with _decoder(isolation, workers=1) as decode:
        write_shard(shard, decode)


def _read_plan(output):
    try:
        with tf.io.gfile.GFile(os.path.join(output, _PLAN)) as file:
            return json.loads(file.read())
    except tf.errors.NotFoundError:
        return None


def _flat(header):
    settings = header["settings"]
    return {name: json.dumps(value) for name, value in (header | settings).items() if name != "settings"}
