"""Converts a checkpoint of another library, or weights of this one, to the weights of a network.

python -m train.convert --format=tsm --source=X.pth.tar --flagfile=RUN.flags --output=X.weights.h5
python -m train.convert --format=keras_nonlocal --source=RUN --adapt=classes,blocks --num_classes=51 \\
    --output=X.weights.h5

The network is that of a run with the same flags; --weights=X.weights.h5 then starts the run from the file.
The flag file may be the `run.flags` of a run: flags that do not concern the network are ignored.
"""

import dataclasses
import json
import os
import shutil
import sys
import tempfile

from absl import app, flags

from keras_nonlocal.checkpoints import FORMATS, load
from train.command_line import config_from_flags, define_flags
from train.config.fields import in_flags, names_of_flags, parse_or_end, refuse_words
from train.loop.unfinished import run_of_checkpoint
from train.network import NetworkError, build_network, network_and_report, network_fields
from train.origin import origin

_SUFFIX = ".weights.h5"
OWN = "keras_nonlocal"


def convert(config, source, format, output, num_classes=400, images=False, **options):
    """Converts a checkpoint.

    Beside `output` comes a `.weights.json` with the source's name and sha256, the format, the flags of the
    network and the names of the tensors that were dropped and of the variables that were kept.

    Args:
        config: A `Config`; its network fields, but `weights`, say what the network is. Of the format
            "keras_nonlocal", `adapt` says by what it may differ from that of the source.
        source: Path of the checkpoint; of this library, what `--weights` takes, or the directory of a run
            that has not ended, of whose newest checkpoint the weights are taken, averages where it has them.
        format: Its format, a key of `keras_nonlocal.checkpoints.FORMATS`, or "keras_nonlocal".
        output: Path of the `.weights.h5` file to write. It appears whole and with all its tensors, or not.
        num_classes: The width of the classifier.
        images: Whether the network is one for images.
        options: `ignore_head`, `allow_missing_blocks` and `reverse_channels` of
            `keras_nonlocal.checkpoints.load`, all False by default.

    Returns:
        The `Report` of `keras_nonlocal.checkpoints.load`.

    Raises:
        ValueError: `output` has another ending, the fields describe no network, or the source does not fit.
        FileExistsError: `output` or the file beside it exists already.
        OSError: A file cannot be read or written.
    """
    if not os.path.exists(source):
        raise FileNotFoundError(
            f"Expected a checkpoint at {source!r}. Received no such file. Try: --source=FILE, where it is"
        )
    described = _new_files(output)[1]
    kept = {}
    if config.adapt and format != OWN:
        raise ValueError(
            f"Expected --adapt with --format={OWN} alone. Received --format={format}. "
            "Try: --ignore_head and --allow_missing_blocks, its names for classes and blocks"
        )
    if format == OWN:
        model, report, kept = _moved(config, source, num_classes, images, options)
    else:
        model = build_network(dataclasses.replace(config, weights=""), num_classes, images)
        report = load(model, source, format, **options)
    network = network_fields(config) | {"num_classes": num_classes, "images": images}
    del network["weights"], network["adapt"]
    description = {
        "source": os.path.basename(source),
        "sha256": report.sha256,
        "format": format,
        "model_flags": network,
        "reverse_channels": options.get("reverse_channels", False),
        "dropped": report.dropped,
        "kept": report.kept,
        "inflated": report.inflated,
    } | kept
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


def _moved(config, source, num_classes, images, options):
    """Returns the network with the weights of another one of ours, the report, and mean and std if known."""
    if wrong := [name for name, value in options.items() if value]:
        raise ValueError(
            f"Expected --adapt alone with --format={OWN}. Received --{wrong[0]}. Try: --adapt=classes,blocks"
        )
    with run_of_checkpoint(source) as path:
        config = dataclasses.replace(config, weights=path)
        try:
            model, report = network_and_report(config, num_classes, images)
        except NetworkError as error:
            text = str(error).replace("`weights` (--weights)", "--source").replace("--weights=", "--source=")
            raise NetworkError(text.replace(path, source)) from error
        beside = origin(path)
    report = report if path == source else report._replace(sha256=None)
    known = beside.fields if beside else {}
    return model, report, {name: getattr(config, name) for name in ("mean", "std") if name in known}


def _new_files(output):
    """Returns `output` and the path of its description, neither of which exists yet."""
    if not output.endswith(_SUFFIX):
        raise ValueError(
            f"Expected --output to end in {_SUFFIX}, by which Keras knows the format. "
            f"Received {output!r}. Try: --output={os.path.splitext(output)[0]}{_SUFFIX}"
        )
    paths = output, output.removesuffix(".h5") + ".json"
    for path in filter(os.path.exists, paths):
        raise FileExistsError(
            f"Expected a new file to write to. Received {path!r}, which exists. Try: --output=OTHER{_SUFFIX}"
        )
    return paths


_OPTIONS = ("ignore_head", "allow_missing_blocks", "reverse_channels")


def define_own_flags(flag_values=flags.FLAGS):
    """Defines the flags that a conversion has beside those of a run."""
    own = {"flag_values": flag_values}
    flags.DEFINE_enum("format", None, (*FORMATS, OWN), "whose checkpoint it is", required=True, **own)
    flags.DEFINE_string("source", None, "the checkpoint", required=True, **own)
    flags.DEFINE_string("output", None, f"the file to write, X{_SUFFIX}", required=True, **own)
    flags.DEFINE_integer("num_classes", None, "width of the classifier; 400, or 1000 for images", 1, **own)
    flags.DEFINE_bool("images", False, "a network for images, of no temporal kind", **own)
    flags.DEFINE_bool("ignore_head", False, "leave the classifier at its random start", **own)
    flags.DEFINE_bool("allow_missing_blocks", False, "leave blocks that it lacks at their start", **own)
    flags.DEFINE_bool("reverse_channels", False, "make weights for BGR, such as Keras's, take RGB", **own)


def main(argv, flag_values=flags.FLAGS):
    """Converts what the flags say."""
    given = flag_values
    try:
        refuse_words(argv)
        report = convert(
            config_from_flags(given, needed=()),
            given.source,
            given.format,
            given.output,
            given.num_classes or (1000 if given.images else 400),
            given.images,
            **{name: given[name].value for name in _OPTIONS},
        )
    except (OSError, ValueError) as error:
        text = error if isinstance(error, NetworkError) else in_flags(error, names_of_flags(given))
        sys.exit("error: " + " ".join(str(text).split()))
    print(f"wrote {given.output} from {given.source}: {report}")


if __name__ == "__main__":
    define_own_flags()
    define_flags()
    app.run(main, flags_parser=parse_or_end)
