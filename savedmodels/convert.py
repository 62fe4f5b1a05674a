"""Converts a checkpoint of another library to the weights of a network of this one.

python -m savedmodels.convert --format=tsm --source=X.pth.tar --flagfile=RUN.flags --output=X.weights.h5

The network is described by model flags, which have the names and the defaults of a run's; they are read
from its flag file and from the command line. The same flags and --weights=X.weights.h5 start a run from it.
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile

from keras_nonlocal import ImageResNet, VideoResNet
from keras_nonlocal.architecture import DEPTHS, TEMPORAL_KINDS, TOPOLOGIES
from keras_nonlocal.checkpoints import FORMATS, load
from keras_nonlocal.placement import blocks_from_text

_SUFFIX = ".weights.h5"
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def _boolean(text):
    if text.lower() not in _BOOLEANS:
        raise argparse.ArgumentTypeError(f"expected true or false, received {text!r}")
    return _BOOLEANS[text.lower()]


def _places(text):
    return [place for place in text.split(",") if place]


# Named as the flags of a run, and with their defaults.
MODEL_FLAGS = {
    "depth": {"type": int, "default": 50, "choices": tuple(DEPTHS), "help": "of the ResNet"},
    "temporal": {"default": "tsm", "choices": tuple(TEMPORAL_KINDS), "help": "how it spans time"},
    "topology": {
        "default": "",
        "choices": ("", *TOPOLOGIES),
        "help": "where it strides and pools; empty for the temporal kind's own",
    },
    "groups": {"type": int, "default": 1, "help": "of the 3x3 convolutions"},
    "group_width": {"type": int, "default": 64, "help": "channels of a group in res2"},
    "squeeze_excite_ratio": {"type": int, "default": 0, "help": "of SE in residual blocks; 0 for none"},
    "frozen_batch_norm": {
        "type": _boolean,
        "nargs": "?",
        "const": True,
        "default": False,
        "help": "as in the run; the weights are the same",
    },
    "block": {
        "action": "append",
        "default": [],
        "help": "attention block, default RegionNonLocal, with its arguments as in NonLocal(scaled=True), "
        "for all places or as in res4=NonLocal for some; repeat the flag for several",
    },
    "blocks": {
        "type": _places,
        "default": ["res3_0", "res3_2", "res4_0", "res4_2", "res4_4"],
        "help": "residual blocks after which it stands, a placement such as nl5, or nothing for none",
    },
}


def convert(
    source, format, output, flags, ignore_head=False, allow_missing_blocks=False, reverse_channels=False
):
    """Converts a checkpoint.

    Beside `output` comes a `.weights.json` with the source's name and sha256, the format, the model flags
    and the names of the tensors that were dropped and of the variables that were kept.

    Args:
        source: Path of the checkpoint.
        format: Its format, a key of `keras_nonlocal.checkpoints.FORMATS`.
        output: Path of the `.weights.h5` file to write. It appears whole and with all its tensors, or not.
        flags: What the network is: the values of `MODEL_FLAGS`, `num_classes` and `images` by name.
        ignore_head: Leave the classifier at its random start.
        allow_missing_blocks: Leave a block of which the source has nothing at its start.
        reverse_channels: Make weights for BGR take RGB, or the reverse.

    Returns:
        The `Report` of `keras_nonlocal.checkpoints.load`.

    Raises:
        ValueError: `output` has another ending; flags that describe no network; a source that does not fit.
        FileExistsError: `output` or the file beside it exists already.
        OSError: A file cannot be read or written.
    """
    if not output.endswith(_SUFFIX):
        raise ValueError(
            f"Expected an output that ends in {_SUFFIX}, by which Keras knows the format. "
            f"Received {output!r}. Try: --output={os.path.splitext(output)[0]}{_SUFFIX}"
        )
    described = output.removesuffix(".h5") + ".json"
    for path in (output, described):
        if os.path.exists(path):
            raise FileExistsError(
                f"Expected a new file to write to. Received {path!r}, which exists. "
                f"Try: --output=OTHER{_SUFFIX}"
            )
    model = build_network(flags)
    report = load(model, source, format, ignore_head, allow_missing_blocks, reverse_channels)
    description = {
        "source": os.path.basename(source),
        "sha256": report.sha256,
        "format": format,
        "model_flags": flags,
        "reverse_channels": reverse_channels,
        "dropped": report.dropped,
        "kept": report.kept,
    }
    parent = os.path.dirname(os.path.abspath(output))
    os.makedirs(parent, exist_ok=True)
    partial = tempfile.mkdtemp(prefix=".partial-", dir=parent)
    try:
        model.save_weights(os.path.join(partial, f"model{_SUFFIX}"))
        with open(os.path.join(partial, "description.json"), "w", encoding="utf-8") as file:
            json.dump(description, file, indent=1)
        os.rename(os.path.join(partial, "description.json"), described)
        os.rename(os.path.join(partial, f"model{_SUFFIX}"), output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def build_network(flags):
    """Returns the network that model flags, `num_classes` and `images` describe, for inputs of any size."""
    arguments = {name: flags[name] for name in ("depth", "groups", "group_width", "frozen_batch_norm")}
    arguments["topology"] = flags["topology"] or None
    arguments["squeeze_excite_ratio"] = flags["squeeze_excite_ratio"] or None
    blocks = tuple(flags["block"]) or ("RegionNonLocal",)
    arguments["blocks"] = blocks_from_text(tuple(flags["blocks"]), blocks, flags["depth"])
    arguments["num_classes"] = flags["num_classes"]
    if flags["images"]:
        return ImageResNet(input_shape=(None, None, 3), **arguments)
    return VideoResNet(temporal=flags["temporal"], input_shape=(None, None, None, 3), **arguments)


def model_flags_of(path):
    """Returns the model flags in a flag file of a run as they stand there, one string for each.

    Raises:
        ValueError: A line that is no flag, or one that names a further flag file.
        OSError: The file cannot be read.
    """
    found = []
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith(("#", "//")):
            continue
        flag = re.fullmatch(r"--?(\w+)(=.*)?", line)
        if flag is None or flag[1] == "flagfile":
            raise ValueError(
                f"Expected a line --name=value or a comment in {path!r}. Received {line!r} in line {number}. "
                "Try the run.flags that a run writes."
            )
        if flag[1] in MODEL_FLAGS or flag[1].removeprefix("no") in MODEL_FLAGS:
            found.append(f"--{flag[1]}{flag[2] or ''}")
    return found


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m savedmodels.convert", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--format", required=True, choices=tuple(FORMATS), help="whose checkpoint it is")
    parser.add_argument("--source", required=True, help="the checkpoint")
    parser.add_argument("--output", required=True, help=f"the file to write, X{_SUFFIX}")
    parser.add_argument("--flagfile", help="flag file of a run; of its flags those of the model count")
    parser.add_argument("--num_classes", type=int, help="default 400, for images 1000")
    parser.add_argument("--images", action="store_true", help="a network for images, of no temporal kind")
    parser.add_argument("--ignore_head", action="store_true", help="leave the classifier at its start")
    parser.add_argument(
        "--allow_missing_blocks",
        action="store_true",
        help="leave blocks that the source lacks at their start",
    )
    parser.add_argument(
        "--reverse_channels",
        action="store_true",
        help="make weights for BGR, such as Keras's ResNets, take RGB",
    )
    for name, arguments in MODEL_FLAGS.items():
        parser.add_argument(f"--{name}", **arguments)
    parser.add_argument(
        "--nofrozen_batch_norm", dest="frozen_batch_norm", action="store_false", help=argparse.SUPPRESS
    )
    return parser


def main(arguments=None):
    """Parses the command line and converts."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(arguments)
    try:
        if options.flagfile:
            options = _parser().parse_args(model_flags_of(options.flagfile) + arguments)
        flags = {name: getattr(options, name) for name in (*MODEL_FLAGS, "images")}
        flags["num_classes"] = options.num_classes or (1000 if options.images else 400)
        report = convert(
            options.source,
            options.format,
            options.output,
            flags,
            options.ignore_head,
            options.allow_missing_blocks,
            options.reverse_channels,
        )
    except (OSError, ValueError) as error:
        sys.exit("error: " + " ".join(str(error).split()))
    print(
        f"wrote {options.output}: {len(report.loaded)} variables from {options.source}, "
        f"{len(report.kept)} kept at their start, {len(report.dropped)} tensors dropped"
    )


if __name__ == "__main__":
    main()
