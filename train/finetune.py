"""Makes a model of a folder of videos: checks the folder, plans the run, trains, evaluates and exports.

python -m train.finetune --data_dir=videos [--weights=RUN] [--minutes=8] [--FLAG=VALUE ...]

The folder has a folder of videos for each class. Every flag of a run may be given; the others are chosen, and
the run writes all of them to run.flags. The same command goes on with a run that was interrupted.
"""

import dataclasses
import os
import sys
import textwrap
import time

import tensorflow as tf
from absl import app, flags

from savedmodels.export import export
from train.__main__ import run_and_print
from train.command_line import define_flags, given_values, print_warnings_alone, read_config, short_warmup
from train.config import Config
from train.config.fields import as_flags, in_flags, names_of_flags, parse_or_end, refuse_words
from train.data import open_split
from train.network import NetworkError, check_network, network_fields
from train.origin import origin
from train.planning.choices import (
    AS_WEIGHTS,
    Facts,
    choices_by_time,
    first_choices,
    seconds_of_run,
    seconds_of_videos,
)
from train.planning.folder import open_folder
from train.planning.timing import cost_of

# What a run takes over from that of its weights, beside the network.
_OF_CLIPS = (
    *("mean", "std", "clip_frames", "sampling", "window_frames", "stride", "short_videos", "fps"),
    *("short_side", "crop"),
)
_OF_DATA = (
    *("data_dir", "workdir", "train_annotations", "val_annotations", "decoder_megabytes", "fps", "seed"),
    *("weights", "multi_label"),
)
_OF_TRAINING = ("weights", "adapt", "frozen_batch_norm", "dropout", "dtype_policy")
_EXPORT_MINUTES = 0.75
_LEAST_MINUTES = 1.0  # For training and evaluation, whatever else took time.


def plan(given, options):
    """Returns the `Config` of a new run, and prints what was chosen for it, and why.

    Args:
        given: {field of `Config`: value} that a person gave.
        options: The parsed flags of `define_own_flags`.

    Raises:
        ValueError: The folder, the weights or the flags do not do.
        OSError: A file cannot be read or written.
        MemoryError: A batch does not fit into memory.
    """
    start, config = time.monotonic(), _config({name: given[name] for name in _OF_DATA if name in given})
    brings_blocks = not {"block", "blocks"}.isdisjoint(given)
    weights = _of_weights(config, brings_blocks) if config.weights else None
    if not config.train_annotations:
        folder, annotations = _of_folder(config, options)
        given |= annotations
        config = dataclasses.replace(config, **annotations)
        for note in folder.notes:
            _print_note(note)
    train = open_split(config, config.train_annotations).manifest
    val = open_split(config, config.val_annotations, classes=train.classes).manifest
    print(
        f"{len(train)} videos to learn from and {len(val)} to validate with, of {len(train.classes)} classes"
    )
    gpus = len(tf.config.list_physical_devices("GPU"))
    facts = Facts(len(train), len(val), seconds_of_videos(train), gpus, weights)
    if weights is None:
        _print_note(_FROM_NOTHING.format(len(train)))
    choices = first_choices(facts, given)
    values = _values(given, choices)
    cost, minutes = None, options.minutes
    if not gpus:
        config = _config(values | {"crop": 64, "short_side": 73, "test_size": 64})
        check_network(config)
        print("timing some steps ...", flush=True)
        cost = cost_of(config)
        minutes = max(_LEAST_MINUTES, minutes - _EXPORT_MINUTES - (time.monotonic() - start) / 60)
    choices |= choices_by_time(facts, values, given, cost, minutes)
    config = _config(_values(given, choices))
    _print_choices(choices)
    if cost is not None:
        seconds = seconds_of_run(facts, dataclasses.asdict(config), cost, config.crop)
        export_seconds = 60 * _EXPORT_MINUTES
        print(f"It takes about {_minutes(seconds)}, evaluation included; the export {export_seconds:.0f} s.")
    return config


_FROM_NOTHING = (
    "without --weights the network begins at random, and {} videos will not take it far. Bring weights "
    "that know videos or pictures: --weights=RUN of an earlier run, or X.weights.h5 of python -m "
    "train.convert, which reads those of TSM, PySlowFast, mmaction2, torchvision and Keras"
)


def _of_folder(config, options):
    """Returns the `Folder`, and the flags that name its splits."""
    os.makedirs(config.workdir, exist_ok=True)
    manifest = os.path.join(config.workdir, "videos.jsonl")
    folder = open_folder(
        config.data_dir,
        manifest,
        val_fraction=options.val_fraction,
        seed=config.seed,
        min_videos=options.min_videos,
        decoder_megabytes=config.decoder_megabytes,
    )
    path = os.path.relpath(manifest, config.data_dir)
    train, val = (f"{path}#{name}" for name in folder.names)
    return folder, {"train_annotations": train, "val_annotations": val}


def _of_weights(config, brings_blocks):
    """Returns the flags of the network of --weights, and of its clips, as far as they are known.

    With `brings_blocks` the run may have others than the weights: those are at their start.
    """
    moves = ("blocks",) if brings_blocks else ()
    if not os.path.exists(config.weights):
        raise FileNotFoundError(
            "Expected --weights to be a run's directory, a .keras or a .weights.h5 file. Received "
            f"{config.weights}, which does not exist. Try: another path, or none to begin at random."
        )
    found = origin(config.weights)
    if found is None:
        return {"adapt": ("classes", *moves)}
    known = [name for name in (*network_fields(config), *_OF_CLIPS) if name not in _OF_TRAINING]
    fields = {name: found.fields[name] for name in known if name in found.fields}
    if found.images:
        fields.pop("temporal", None)
    return fields | {"adapt": ("classes", *moves, *(("images",) if found.images else ()))}


def _values(given, choices):
    return {name: value for name, (value, _) in choices.items()} | given


def _config(values):
    """Returns a `Config`; without other words, a tenth of the epochs warms up."""
    return Config(**{"warmup_epochs": short_warmup(values)} | values)


def _print_note(text):
    print(textwrap.fill(text, 80, initial_indent="note: ", subsequent_indent="  ", break_long_words=False))


def _print_choices(choices):
    fields = {field.name: field for field in dataclasses.fields(Config)}
    chosen = {
        name: choice for name, choice in choices.items() if choice != (fields[name].default, AS_WEIGHTS)
    }
    lines = [(" ".join(as_flags(fields[name], value)), why) for name, (value, why) in chosen.items()]
    width = max(len(text) for text, _ in lines if len(text) < 40)
    print("Chosen, as no flag says otherwise:")
    for text, why in lines:
        print(f"  {text:<{width}}  {why}")


def _minutes(seconds):
    return "a minute" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def define_own_flags(flag_values=flags.FLAGS):
    """Defines the flags that this program has beside those of a run."""
    own = {"flag_values": flag_values}
    flags.DEFINE_float("minutes", 8.0, "what all may take on CPUs, by which clips get their size", 1.0, **own)
    flags.DEFINE_float("val_fraction", 0.2, "part of each class to validate with, if there is no val", **own)
    flags.DEFINE_integer("min_videos", 3, "fewest videos of a class", 2, **own)


def main(argv, flag_values=flags.FLAGS):
    """Does all of it, or ends with the reason why not."""
    print_warnings_alone()
    try:
        refuse_words(argv)
        given = given_values(flag_values)
        if not given.get("data_dir"):
            raise ValueError(
                "Expected --data_dir to be a folder of videos. Received none. Try: --data_dir=DIR."
            )
        if os.environ.get("TF_CONFIG"):
            raise ValueError(
                "Expected one machine to plan for. Received TF_CONFIG. Try: without it, and for several "
                "machines python -m train --flagfile=RUN.flags with the flags that were planned"
            )
        name = os.path.basename(os.path.abspath(given["data_dir"]))
        given.setdefault("workdir", os.path.join("runs", name))
        if os.path.exists(os.path.join(given["workdir"], "run.flags")):
            print(f"going on with the run in {given['workdir']}")
            config = dataclasses.replace(read_config(given["workdir"]), **given)
        else:
            config = plan(given, flag_values)
    except NetworkError as error:
        sys.exit(f"error: {error}")
    except (ValueError, OSError, MemoryError) as error:
        sys.exit(f"error: {in_flags(error, names_of_flags(flag_values))}")
    run_and_print(config, names_of_flags(flag_values))
    _export(config.workdir)


def _export(workdir):
    """Exports the model, once."""
    output = os.path.join(workdir, "savedmodel", "1")
    if not os.path.exists(output):
        try:
            export(workdir, output)
        except (OSError, RuntimeError, ValueError) as error:
            sys.exit("error: " + " ".join(str(error).split()))
    print(
        f"\nmodel       {workdir}/model.keras\nSavedModel  {output}\nreport      {workdir}/report.html\n"
        f"\nNext, any video of yours: python -m train.predict --workdir={workdir} --video=FILE"
    )


if __name__ == "__main__":
    define_own_flags()
    define_flags()
    app.run(main, flags_parser=parse_or_end)
