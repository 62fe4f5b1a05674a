"""Trains and evaluates on Kinetics-400, -600 or -700, on data in their layout, on manifests or on records.

python -m train.kinetics --flagfile=train/flagfiles/demo.flags
python -m train.kinetics --data_dir=DIR --workdir=DIR [--FLAG=VALUE ...]
"""

import sys

import tensorflow as tf
from absl import app, flags

from pipelines.account import TooManyBadVideos
from train import config
from train.data import open_data
from train.loop import NetworkError, train_and_evaluate


def main(argv):
    """Reads the two splits and hands them to the loop."""
    del argv
    try:
        run = config.config_from_flags(flags.FLAGS)
        data = open_data(run)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {config.in_flags(error)}")
    try:
        results = train_and_evaluate(run, data)
    except (NetworkError, TooManyBadVideos, OSError, FloatingPointError) as error:
        sys.exit(f"error: {config.in_flags(error)}")
    print(
        f"top-1 {results['top1']:.1%}, top-5 {results['top5']:.1%} on {results['videos']} videos, "
        f"{results['clips']} clips x {results['crops']} crops, {results['seconds_per_video']:.3f} s per video"
    )
    for name, account in results["data"].items():
        reasons = "".join(f"; {count} x {reason}" for reason, count in account["skipped_reasons"].items())
        print(
            f"{name}: {account['used']} of {account['videos']} videos used, {account['never_read']} never "
            f"read, {account['skipped']} skipped{reasons}; manifest {account['manifest'][:12]}"
        )
    print(f"wrote {run.workdir}/results.json")


if __name__ == "__main__":
    tf.get_logger().setLevel("WARNING")
    config.define_flags()
    flags.adopt_module_key_flags(config)  # So that --help lists them.
    app.run(main)
