"""Prints what a run's network costs, layer by layer.

python -m train.profile --flagfile=train/flagfiles/demo.flags [--num_classes=400] [--side=256]
"""

import dataclasses
import sys

from absl import app, flags

from keras_nonlocal.counting import count, format_count
from keras_nonlocal.described import without_memory
from train import command_line
from train.config.fields import parse_or_end, refuse_words
from train.network import build_network


def network_costs(config, num_classes, side=None):
    """Returns the `keras_nonlocal.counting.Count` of a configuration's network, for one clip.

    No weight gets memory, so it takes a second or less.

    Args:
        config: A `Config`; its weights are not read.
        num_classes: The width of the classifier.
        side: Pixels of the clip's sides; None for those of its crop.

    Raises:
        NetworkError: The fields describe no network.
        ValueError: The side is too small for the network.

    Example:
        >>> from train.config import Config
        >>> total = network_costs(Config(blocks=()), 400).total
        >>> total.parameters, round(total.macs / 1e9, 2)
        (24327632, 32.7)
    """
    side = side or config.crop
    return count(_network(config, num_classes), (config.clip_frames, side, side, 3))


def print_count(model, input_shape=None):
    """Prints what a model costs for one clip, see `keras_nonlocal.counting.count`, as a table."""
    print(format_count(count(model, input_shape)))


def main(argv):
    """Prints the network that the flags describe, or ends with the reason why they describe none."""
    try:
        refuse_words(argv)
        run = command_line.config_from_flags(flags.FLAGS, needed=())
        network = _network(run, flags.FLAGS.num_classes)
    except ValueError as error:
        sys.exit(f"error: {error}")
    side = flags.FLAGS.side or run.crop
    print(f"{network.name}, one clip of {run.clip_frames}x{side}x{side}, {flags.FLAGS.num_classes} classes\n")
    print_count(network, (run.clip_frames, side, side, 3))


def _network(config, num_classes):
    with without_memory():
        return build_network(dataclasses.replace(config, weights=""), num_classes)


if __name__ == "__main__":
    flags.DEFINE_integer("num_classes", 400, "width of the classifier", lower_bound=1)
    flags.DEFINE_integer("side", None, "pixels of the clip's sides; --crop by default", lower_bound=1)
    command_line.define_flags()
    flags.adopt_module_key_flags(command_line)  # Then --help lists them.
    app.run(main, flags_parser=parse_or_end)
