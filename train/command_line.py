"""The flags of a configuration, and the configuration that flags or a run's directory give."""

import dataclasses
import logging
import os
import re
import typing

from absl import flags
from absl import logging as absl_logging

from train.config import Config
from train.config.fields import as_flags, parse

flags.disclaim_key_flags()  # Flags belong to the program that defines them, so that its --help lists them.


def define_flags(flag_values=flags.FLAGS, **defaults):
    """Defines a flag for each field of `Config`; `defaults` take the place of the fields' own."""
    for field in dataclasses.fields(Config):
        _define_flag(field, defaults.get(field.name, field.default), flag_values)


def config_from_flags(flag_values=flags.FLAGS, needed=("data_dir", "workdir")):
    """Returns the `Config` that parsed flags describe.

    Args:
        flag_values: The parsed flags.
        needed: Names of the fields that may not be empty, among those of `_NEEDED`.

    Raises:
        ValueError: A value is outside what its field allows, or a needed one is missing.

    Without --warmup_epochs, a run that is there already keeps its own, and else a short run has a short
    warm-up, a tenth of its epochs. With --steps or --warmup_steps there is none by epochs.
    """
    for name in needed:
        if not flag_values[name].value:
            what, example = _NEEDED[name]
            raise ValueError(f"Expected --{name} to be {what}. Received none. Try: --{name}={example}.")
    values = {field.name: _flag_value(field, flag_values) for field in dataclasses.fields(Config)}
    if not flag_values["warmup_epochs"].present:
        before = _warmup_of(values["workdir"]) if values["workdir"] else None
        is_kept = before is not None and before < values["epochs"] and not values["warmup_steps"]
        values["warmup_epochs"] = before if is_kept else short_warmup(values)
    return Config(**values)


def short_warmup(values):
    """Returns the epochs of warm-up of a configuration, {field: value}, of which no flag gives them."""
    if values.get("steps") or values.get("warmup_steps"):
        return 0.0
    epochs = values.get("epochs", Config.epochs)
    return min(values.get("warmup_epochs", Config.warmup_epochs), epochs / 10)


def given_values(flag_values=flags.FLAGS):
    """Returns {field of `Config`: value} of the flags that a command line has; raises ValueError."""
    fields = [field for field in dataclasses.fields(Config) if flag_values[field.name].present]
    return {field.name: _flag_value(field, flag_values) for field in fields}


def print_warnings_alone():
    """Lets the logs of a program print warnings, as plain sentences, and TensorFlow's notes not at all."""
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
    absl_logging.set_verbosity(absl_logging.WARNING)  # TensorFlow has a note for each checkpoint.
    absl_logging.get_absl_handler().setFormatter(None)


_NEEDED = {
    "data_dir": ("a directory", "DIR"),
    "workdir": ("a directory", "DIR"),
    "weights": ("the weights of a network, or --workdir that of a run", "X.weights.h5"),
    "train_annotations": ("a manifest, records or a CSV", "videos.jsonl#train"),
    "val_annotations": ("a manifest, records or a CSV", "videos.jsonl#val"),
}


def _warmup_of(workdir):
    """Returns the epochs of warm-up of the run in a workdir, or None where there is no run."""
    path = os.path.join(workdir, "run.flags")
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        found = re.search(r"^--warmup_epochs=([\d.e-]+)$", file.read(), re.MULTILINE)
    return float(found[1]) if found else None


def read_config(workdir):
    """Returns the configuration of a run that was started in `workdir`.

    Raises:
        FileNotFoundError: No run was started there.
        ValueError: Its run.flags has a flag that is unknown, or a wrong value.
    """
    path = os.path.join(workdir, "run.flags")
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"Expected the directory of a run. Received {workdir!r}, which has no run.flags. "
            "Try: --workdir=DIR of a run of python -m train, or `make demo` first."
        )
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    parse(["", f"--flagfile={path}"], flag_values)
    return config_from_flags(flag_values)


def _define_flag(field, default, flag_values):
    """Defines the flag of a field, with a default in the place of its own."""
    text = field.metadata["help"]
    if field.metadata["repeated"]:
        flags.DEFINE_multi_string(field.name, list(default), text, flag_values=flag_values)
    elif typing.get_origin(field.type) is tuple:
        flags.DEFINE_list(field.name, [str(item) for item in default], text, flag_values=flag_values)
    else:
        define = {
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
            bool: flags.DEFINE_bool,
            str: flags.DEFINE_string,
        }
        define[field.type](field.name, default, text, flag_values=flag_values)


def _flag_value(field, flag_values):
    """Returns the value that a parsed flag gives its field; raises ValueError where numbers are none."""
    value = flag_values[field.name].value
    if typing.get_origin(field.type) is not tuple:
        return value
    kind = typing.get_args(field.type)[0]
    try:
        return tuple(kind(item) for item in value)
    except ValueError:
        raise ValueError(
            f"Expected --{field.name} to be numbers separated by commas. "
            f"Received {','.join(value)!r}. Try: {as_flags(field, field.default)[0]}"
        ) from None
