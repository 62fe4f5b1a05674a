"""The results of reading a checkpoint: a tree of plain values and arrays, or an error of one line."""

import dataclasses
import re
import reprlib
from collections.abc import Callable

_LEAVES = (str, int, float, bool, type(None), bytes)
# A tuple of tuples of tuples takes exponential time to hash.
_KEYS = (str, int, bytes)
_MAX_DEPTH = 100

# The repr of containers that share their items is exponential too.
_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxstring, _brief.maxother = 2, 100, 100
_brief.repr_bytes = _brief.repr_str


class CheckpointError(ValueError):
    """A checkpoint file that is damaged, of another format or not of tensors alone; the message is a line."""


@dataclasses.dataclass(frozen=True)
class Pending:
    """An array that `make()` returns once all of the file has been read."""

    make: Callable


def brief(value):
    """Returns one short line for any value that a file may hold."""
    return visible(_brief.repr(value))


def visible(text, most=300):
    """Returns the first `most` characters of a text; what is not visible ASCII is written as its escape.

    So a text of a file neither moves the cursor nor turns the direction of a terminal.

    Example:
        >>> visible("red: \\x1b[31m")
        'red: \\\\x1b[31m'
    """
    return re.sub("[^ -~]", lambda found: ascii(found[0])[1:-1], text[:most])


def fill(target, pairs):
    """Adds (key, value) pairs to a dict and returns it; keys are strings, integers or bytes."""
    for key, value in pairs:
        # Larger integers can be chosen to have the same hash, and a dict of them takes quadratic time.
        if type(key) not in _KEYS or (type(key) is int and key.bit_length() > 60):
            raise TypeError(f"the key {brief(key)}")
        target[key] = value
    return target


def settle(tree):
    """Returns a copy of a tree in which every pending array is made; shared items stay shared.

    Args:
        tree: dicts, lists, tuples, numbers, strings, bytes, None, and objects with `make()`.

    Raises:
        CheckpointError: containers nested too deeply, or in themselves.
        TypeError: something else in the tree.
    """
    settled = {}

    def visit(value, depth):
        if type(value) in _LEAVES:
            return value
        if depth > _MAX_DEPTH:
            raise CheckpointError(
                f"Expected containers at most {_MAX_DEPTH} deep. Received deeper ones, or one that contains "
                "itself. Try: a file with the weights alone."
            )
        if id(value) not in settled:
            settled[id(value)] = copy(value, depth + 1)
        return settled[id(value)]

    def copy(value, depth):
        if type(value) is dict:
            return {key: visit(item, depth) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)([visit(item, depth) for item in value])
        if hasattr(value, "make"):
            return value.make()
        raise TypeError(f"{brief(value)} in the place of a value")

    return visit(tree, 0)
