"""Prints what a run's network costs, layer by layer.

python -m train.profile --flagfile=train/flagfiles/demo.flags [--num_classes=400] [--side=256]
"""

import dataclasses
import sys

from absl import app, flags

from keras_nonlocal.counting import count, format_count
from train import command_line
from train.config.fields import parse_or_end, refuse_words
from train.network import build_network


def print_count(model, input_shape=None):
    """Prints what a model costs for one clip, see `keras_nonlocal.counting.count`, as a table."""
    print(format_count(count(model, input_shape)))


def main(argv):
    """Prints the network that the flags describe, or ends with the reason why they describe none."""
    try:
        refuse_words(argv)
        run = command_line.config_from_flags(flags.FLAGS, needed=())
        network = build_network(dataclasses.replace(run, weights=""), flags.FLAGS.num_classes)
    except ValueError as error:
        sys.exit(f"error: {error}")
    side = flags.FLAGS.side or run.crop
    print(f"{network.name}, one clip of {run.clip_frames}x{side}x{side}, {flags.FLAGS.num_classes} classes\n")
    print_count(network, (run.clip_frames, side, side, 3))


if __name__ == "__main__":
    flags.DEFINE_integer("num_classes", 400, "width of the classifier", lower_bound=1)
    flags.DEFINE_integer("side", None, "pixels of the clip's sides; --crop by default", lower_bound=1)
    command_line.define_flags()
    flags.adopt_module_key_flags(command_line)  # Then --help lists them.
    app.run(main, flags_parser=parse_or_end)
