"""Trains and evaluates any configuration.

python -m train --flagfile=train/flagfiles/demo.flags
python -m train --data_dir=DIR --workdir=DIR --train_annotations=FILE --val_annotations=FILE [--FLAG=VALUE]
"""

import sys

from absl import app, flags

from pipelines.account import TooManyBadVideos
from train.command_line import config_from_flags, define_flags, print_warnings_alone
from train.config.fields import in_flags, names_of_flags, parse_or_end, refuse_words
from train.data import open_data
from train.loop import DeviceError, train_and_evaluate
from train.loop.checkpoints import CheckpointError
from train.loop.stopping import STATUS, Stopped
from train.loop.workers import WorkerError, Workers, open_strategy
from train.network import NetworkError, check_network
from train.scoring.tables import accuracies
from train.scoring.views import check_views

# What ends a run with one line.
_WRONG = (
    DeviceError,
    NetworkError,
    TooManyBadVideos,
    CheckpointError,
    WorkerError,
    OSError,
    FloatingPointError,
)


def main(argv, flag_values=flags.FLAGS):
    """Checks the flags, and runs what they say."""
    try:
        refuse_words(argv)
        run = config_from_flags(flag_values, ("data_dir", "workdir", "train_annotations", "val_annotations"))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_flags(error, names_of_flags(flag_values))}")
    run_and_print(run, names_of_flags(flag_values))


def run_and_print(run, names):
    """Opens the data of a `Config`, trains and evaluates, and prints the results; or ends the program.

    Args:
        run: A `Config`.
        names: The program's flags, by which errors call them.
    """
    print_warnings_alone()
    try:
        strategy = open_strategy()
        workers = Workers(strategy)
        with workers.lost(), workers.together():
            check_network(run)
            check_views(run)
            data = open_data(run)
    except Stopped as stopped:
        print(f"stopped by {stopped}; start all of them again", file=sys.stderr)
        sys.exit(STATUS)
    except (NetworkError, WorkerError) as error:
        sys.exit(f"error: {error}")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {in_flags(error, names)}")
    try:
        results = train_and_evaluate(run, data, strategy)
    except Stopped as stopped:
        print(f"stopped by {stopped}; the same command goes on in {run.workdir}", file=sys.stderr)
        sys.exit(STATUS)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from the last checkpoint in {run.workdir}", file=sys.stderr)
        sys.exit(130)
    except _WRONG as error:
        sys.exit(f"error: {in_flags(error, ['max_bad_fraction'])}")
    if not workers.is_chief:
        return
    print(
        f"{accuracies(results)} on {results['videos']} videos, "
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
    define_flags()
    app.run(main, flags_parser=parse_or_end)
