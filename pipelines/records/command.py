"""Turns a manifest into records: JPEG frames in TFRecord shards.

python -m pipelines.records --manifest=M.jsonl --output=DIR [--split=train] [--short_side=256] [--fps=5]
python -m pipelines.records --manifest=M.jsonl --output=DIR --beam [--runner=DataflowRunner ...]
python -m pipelines.records --verify=DIR
"""

import contextlib
import functools
import importlib.util
import os
import sys

import tensorflow as tf

from pipelines.decoding.isolation import ISOLATION, open_decoder
from pipelines.decoding.limits import Limits
from pipelines.manifest.command import FlagParser
from pipelines.records.prepare import PLAN, begin, damage, plan, prepare, prepare_with_beam
from pipelines.records.shards import INDEX, Settings, write_index
from pipelines.records.source import open_records

_MOST_SHOWN = 8
_RANGES = {
    "short_side": (1, 65500),  # A JPEG's sides are no longer.
    "fps": (0, 1000),
    "quality": (1, 100),
    "videos_per_shard": (1, 100_000),
    "workers": (1, 1000),
    "timeout_seconds": (0.001, 1e9),
    "decoder_megabytes": (1, 100_000),
}


def main(arguments=None):
    """Parses the command line, writes records or verifies them, and returns the exit status."""
    parser = _parser()
    options, beam_flags = parser.parse_known_args(arguments)
    if beam_flags and not options.beam:
        parser.error(f"unrecognized arguments: {' '.join(beam_flags)} (flags of Beam need --beam)")
    if not options.verify and not (options.manifest and options.output):
        parser.error("expected --manifest and --output, or --verify")
    with contextlib.suppress(RuntimeError):  # The GPU is in use already.
        tf.config.set_visible_devices([], "GPU")  # Nothing here needs one.
    try:
        _check_ranges(options)
        return _verify(options) if options.verify else _prepare(options, beam_flags)
    except (ValueError, OSError, tf.errors.OpError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _parser():
    parser = FlagParser(
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
        choices=ISOLATION,
        default="process",
        help="where files are decoded: in processes of their own, which a file may crash (default), or not",
    )
    add(
        "--timeout_seconds",
        type=float,
        default=60,
        help="for which a process may decode nothing of a file (default 60); frames give more time",
    )
    add(
        "--decoder_megabytes",
        type=int,
        default=570,
        help="most memory for decoding a file (default 570, for 4K); 8K needs 1500, with 10 bits 2300",
    )
    add("--beam", action="store_true", help="on Apache Beam, by default its DirectRunner")
    return parser


def _check_ranges(options):
    for name, (least, most) in _RANGES.items():
        if not least <= getattr(options, name) <= most:
            raise ValueError(
                f"Expected --{name} in [{least}, {most}]. Received {getattr(options, name)}. "
                "Try: leave it out."
            )


def _prepare(options, beam_flags):
    settings = Settings(options.short_side, options.fps, options.quality)
    if options.beam and importlib.util.find_spec("apache_beam") is None:
        raise ValueError(
            "Expected Apache Beam for --beam. Received an environment without it. "
            "Try: pip install --editable '.[beam]' in an environment of its own, or leave out --beam."
        )
    decoder = functools.partial(
        open_decoder,
        options.decode_isolation,
        timeout_seconds=options.timeout_seconds,
        limits=Limits.of_decoders(options.decoder_megabytes),
    )
    header, shards = plan(options.manifest, options.output, settings, options.split, options.videos_per_shard)
    if begin(options.output, header):
        if options.beam:
            prepare_with_beam(shards, decoder, beam_flags)
        else:
            with decoder(workers=options.workers) as decode:
                prepare(shards, decode, options.workers)
        write_index(options.output, header, shards)
        tf.io.gfile.remove(os.path.join(options.output, PLAN))
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
