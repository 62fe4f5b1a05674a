"""The fields of a configuration: what each means and may be, alone and beside the others.

Here command lines are read, too, and what is misspelt in them is told with the name that is nearest.
"""

import dataclasses
import difflib
import math
import os
import re
import shlex
import sys
import types
from collections.abc import Callable
from typing import NamedTuple

from absl import flags

from train.config.flag_files import with_flag_files

flags.disclaim_key_flags()  # Flags belong to the program that defines them, so that its --help lists them.


class Constraint(NamedTuple):
    """What one field may be.

    holds: Function (value) -> whether it may be this value.
    words: They finish "Expected --name to be ...".
    choices: All values that it may be, if there are few.
    """

    holds: Callable
    words: str
    choices: tuple = ()


class Relation(NamedTuple):
    """A constraint between fields, to which one of them gives way.

    field: The name of that one.
    holds: Function (config) -> whether the constraint is fulfilled.
    words: What the field has to be; "{0.epochs}" stands for the value of another one.
    remedy: Function (config) -> a value of the field that fulfils it.
    """

    field: str
    holds: Callable
    words: str
    remedy: Callable


ANY = Constraint(lambda value: True, "")


def field_of(heading, default, text, check=ANY, repeated=False, none=False):
    """Returns a dataclass field under a heading, with its meaning and its constraint.

    The flag of a `repeated` field is given once for each item, as its items may hold commas. With `none`, an
    empty text or 0 stands for None where the network is built.
    """
    words = f"{text}; {check.words}" if check.words else text
    metadata = {"heading": heading, "help": words, "check": check, "repeated": repeated, "none": none}
    return dataclasses.field(default=default, metadata=metadata)


def at_least(least):
    """Returns the constraint to finite numbers from `least` on."""
    return Constraint(lambda value: least <= value < math.inf, f"at least {least}")


def above(bound):
    """Returns the constraint to finite numbers above `bound`."""
    return Constraint(lambda value: bound < value < math.inf, f"above {bound}")


def within(low, high):
    """Returns the constraint to numbers from `low` to `high`, both included."""
    return Constraint(lambda value: low <= value <= high, f"in [{low}, {high}]")


def from_to_below(low, high):
    """Returns the constraint to numbers from `low` to below `high`."""
    return Constraint(lambda value: low <= value < high, f"in [{low}, {high})")


def one_of(*choices):
    """Returns the constraint to some values; "" is called empty."""
    words = [str(choice) or "empty" for choice in choices]
    return Constraint(lambda value: value in choices, f"one of {', '.join(words)}", choices)


def like(pattern, words):
    """Returns the constraint to texts that a regular expression matches from end to end."""
    return Constraint(lambda value: re.fullmatch(pattern, value) is not None, words)


def all_of(holds, words, length=None):
    """Returns the constraint to tuples of a `length`, or not empty, whose items fulfil a predicate."""
    return Constraint(
        lambda values: len(values) == (length or max(len(values), 1)) and all(map(holds, values)), words
    )


def check_fields(config, relations):
    """Checks each field of a configuration, and then the relations between them.

    Raises:
        ValueError: A field is not what it may be. The error says what it could be instead.
    """
    fields = {field.name: field for field in dataclasses.fields(config)}
    wrong = [
        field for field in fields.values() if not field.metadata["check"].holds(getattr(config, field.name))
    ]
    if wrong:
        # The hint goes with all fields that are right.
        mended = types.SimpleNamespace(**vars(config) | {field.name: field.default for field in wrong})
        first = wrong[0]
        remedy = _nearest_choice(getattr(config, first.name), first.metadata["check"].choices, first.default)
        setattr(mended, first.name, remedy)
        for relation in relations:
            if relation.field == first.name and not relation.holds(mended):
                remedy = relation.remedy(mended)
        raise _refusal(first, config, first.metadata["check"].words, remedy)
    for relation in relations:
        if not relation.holds(config):
            words = relation.words.format(config)
            raise _refusal(fields[relation.field], config, words, relation.remedy(config))


def _nearest_choice(value, choices, default):
    if not choices:
        return default
    if isinstance(value, tuple):
        return tuple(found for item in value if (found := nearest(item, choices))) or default
    if isinstance(value, int):
        return min(choices, key=lambda choice: abs(choice - value))
    return nearest(value, choices) or default


def _refusal(field, config, expected, remedy):
    return ValueError(
        f"Expected --{field.name} to be {expected}. Received {getattr(config, field.name)!r}. "
        f"Try: {' '.join(as_flags(field, remedy))}"
    )


def as_flags(field, value):
    """Returns the flags that give a field a value: one, or one for each item of a repeated field."""
    if field.metadata["repeated"]:
        return [f"--{field.name}={item}" for item in value]
    return [f"--{field.name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"]


def nearest(name, names):
    """Returns the one of `names` that a name stands for if it is misspelt, or None.

    It is the one that has the name as its initials, or else the one that is spelt most alike.

    Example:
        >>> [nearest(name, ["epochs", "learning_rate", "NonLocal"]) for name in ("lr", "Epoch", "NL")]
        ['learning_rate', 'epochs', 'NonLocal']
    """
    plain = name.lower().replace("-", "_")
    initials = {re.sub(r"(?<=[a-zA-Z])[a-z0-9]+|_", "", other).lower(): other for other in names}
    if len(plain) > 1 and plain in initials:
        return initials[plain]
    spelt = {other.lower(): other for other in names}
    return next((spelt[other] for other in difflib.get_close_matches(plain, spelt, 1)), None)


def in_flags(error, names):
    """Returns the text of an error with the flags' spelling of what is called by its name in Python.

    A name of one word counts in front of an equals sign alone, as it may be any word elsewhere.

    Example:
        >>> in_flags("Try: flip=False, or a larger batch_size.", ["flip", "batch_size"])
        'Try: --flip=False, or a larger --batch_size.'
    """
    found = "|".join(name if "_" in name else f"{name}(?==)" for name in names)
    return re.sub(rf"(?<![-\w.`'/])({found})(?![\w`'/])", r"--\1", str(error))


def quoted(flag):
    """Returns a flag as it is typed in a shell; text that has single quotes is put between double ones."""
    return f'"{flag}"' if "'" in flag and not set(flag) & set('"$`\\!') else shlex.quote(flag)


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
        return flag_values(with_flag_files(argv))
    except flags.UnrecognizedFlagError as error:
        raise _unknown(
            *error.flagvalue.lstrip("-").replace(" ", "=", 1).partition("=")[::2], flag_values
        ) from None
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
