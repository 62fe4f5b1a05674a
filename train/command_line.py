"""Command lines: the flags of a configuration, how they are read, and what is said of wrong ones."""

import dataclasses
import os
import re
import sys

from absl import flags

from train.config import Config
from train.fields import define_flag, flag_value, nearest

flags.disclaim_key_flags()  # Flags belong to the program that defines them, so that its --help lists them.


def define_flags(flag_values=flags.FLAGS, **defaults):
    """Defines a flag for each field of `Config`; `defaults` take the place of the fields' own."""
    for field in dataclasses.fields(Config):
        define_flag(field, defaults.get(field.name, field.default), flag_values)


def config_from_flags(flag_values=flags.FLAGS, needed=("data_dir", "workdir")):
    """Returns the `Config` that parsed flags describe.

    Args:
        flag_values: The parsed flags.
        needed: Names of the fields that may not be empty, among those of `_NEEDED`.

    Raises:
        ValueError: A value is outside what its field allows, or a needed one is missing.

    Without --warmup_epochs, a run that is there already keeps its own, and else a short run has a short
    warm-up, a tenth of its epochs.
    """
    for name in needed:
        if not flag_values[name].value:
            what, example = _NEEDED[name]
            raise ValueError(f"Expected --{name} to be {what}. Received none. Try: --{name}={example}.")
    values = {field.name: flag_value(field, flag_values) for field in dataclasses.fields(Config)}
    if not flag_values["warmup_epochs"].present:
        before = _warmup_of(values["workdir"])
        values["warmup_epochs"] = before or min(values["warmup_epochs"], values["epochs"] / 10)
    return Config(**values)


_NEEDED = {
    "data_dir": ("a directory", "DIR"),
    "workdir": ("a directory", "DIR"),
    "train_annotations": ("a manifest, records or a CSV", "videos.jsonl#train"),
    "val_annotations": ("a manifest, records or a CSV", "videos.jsonl#val"),
}


def _warmup_of(workdir):
    """Returns the epochs of warm-up of the run in a workdir, or None where there is no run."""
    path = os.path.join(workdir, "run.flags")
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        found = re.search(r"^--warmup_epochs=([\d.]+)$", file.read(), re.MULTILINE)
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


def names_of_flags(flag_values):
    """Returns the names of a program's flags, as far as they are not absl's own."""
    modules = flag_values.flags_by_module_dict()
    return [flag.name for name in modules if not name.startswith("absl") for flag in modules[name]]


def parse(argv, flag_values=flags.FLAGS):
    """Parses a command line.

    Returns:
        Its words that are no flags, the first of which is the program.

    Raises:
        ValueError: A flag is unknown, or has no value or a wrong one; a flag is missing that has to be given;
            or a flag file cannot be read.
    """
    try:
        return flag_values(argv)
    except flags.UnrecognizedFlagError as error:
        raise _unknown(
            *error.flagvalue.lstrip("-").replace(" ", "=", 1).partition("=")[::2], flag_values
        ) from None
    except (flags.CantOpenFlagFileError, UnicodeDecodeError) as error:
        example = os.path.relpath(os.path.join(os.path.dirname(__file__), "flagfiles", "demo.flags"))
        received = str(error).rpartition("] ")[2]
        raise _wrong("a flag file that can be read", received, f"--flagfile={example}") from None
    except flags.Error as error:
        words = re.match(r"(?:Missing value for )?flag --(\w+)(?:=(.*?): (.*))?", str(error), re.DOTALL)
        if words is None:
            raise _wrong("flags that can be parsed", str(error), "--help, which lists all of them") from None
        raise _wrong_value(flag_values[words[1]], words[2], "other than None" in str(words[3])) from None


def _unknown(name, value, flag_values):
    """Returns the error for a flag that a program has not."""
    bools = [f"no{known}" for known in flag_values if flag_values[known].boolean]
    found = nearest(name, [*names_of_flags(flag_values), "flagfile", *bools])
    if found in flag_values and not (value or flag_values[found].boolean):
        value = _example(flag_values[found])
    remedy = f"--{found}" if found else "--help, which lists all of them"
    return _wrong("a flag of this program", f"--{name}", f"{remedy}={value}" if found and value else remedy)


def _wrong_value(flag, value, is_missing):
    """Returns the error for a flag's value, which is None if the flag stands there without one."""
    choices = getattr(flag.parser, "enum_values", ())
    kind = f"one of {', '.join(choices)}" if choices else flag.parser.syntactic_help
    if flag.boolean:
        kind = "true or false"
    expected = f"--{flag.name} to be {kind}" if kind else f"a value of --{flag.name}"
    received = "no value" if value is None else "none" if is_missing else repr(value)
    return _wrong(expected, received, f"--{flag.name}={nearest(value or '', choices) or _example(flag)}")


def _example(flag):
    """Returns a value that a flag may have: its default, or what its kind allows."""
    if flag.default is not None:
        return ",".join(flag.default) if isinstance(flag.default, list) else flag.default
    choices = getattr(flag.parser, "enum_values", ())
    return choices[0] if choices else getattr(flag.parser, "lower_bound", None) or flag.name.upper()


def _wrong(expected, received, remedy):
    return ValueError(f"Expected {expected}. Received {received}. Try: {remedy}")


def refuse_words(argv):
    """Raises ValueError if a command line holds more than its program and flags."""
    if words := argv[1:]:
        remedy = "--NAME=VALUE for each flag; --help lists them"
        if "=" in words[0]:
            remedy = f"--{words[0].lstrip('-')}"
        elif os.path.isfile(words[0]):
            remedy = f"--flagfile={words[0]}"
        raise ValueError(f"Expected nothing but flags. Received {' '.join(words)!r}. Try: {remedy}")


def parse_or_end(argv):
    """Parses a program's command line, as `absl.app.run` calls it, or ends the program with the reason."""
    try:
        return parse(argv)
    except ValueError as error:
        sys.exit(f"error: {error}")
