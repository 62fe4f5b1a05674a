"""What a run or another program wrote, held against what is expected of it; errors are of one line."""

import contextlib
import json
import math
import os
import stat
from pathlib import Path

import tensorflow as tf

from keras_nonlocal.checkpoints.plain import visible


@contextlib.contextmanager
def one_line(path, expected, remedy):
    """Turns every error in its block into a ValueError of one line.

    Args:
        path: What is read in the block.
        expected: What it should be, as in "a sound SavedModel".
        remedy: What to try, without its full stop.

    Example:
        >>> with one_line("runs/x", "a sound SavedModel", "exporting"):
        ...     {}["two\\nlines"]
        Traceback (most recent call last):
        ValueError: Expected a sound SavedModel in 'runs/x'. Received KeyError: 'two\\nlines'. Try: exporting.
    """
    try:
        yield
    except Exception as error:
        found = visible(" ".join(f"{type(error).__name__}: {error}".split())).rstrip(".")
        raise ValueError(f"Expected {expected} in {str(path)!r}. Received {found}. Try: {remedy}.") from error


def check_files(directory):
    """Raises ValueError for a pipe or device among the files of a SavedModel: it might never end."""
    for path in [
        found for names in ("*", "variables/*", "assets.extra/*") for found in Path(directory).glob(names)
    ]:
        mode = path.stat().st_mode if path.exists() else 0
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ValueError(
                f"Expected files alone in a SavedModel. Received {str(path)!r}, which is a pipe, a device or "
                "a dangling link. Try: writing it again."
            )


def check_fingerprint(directory):
    """Raises an error of TensorFlow's for a damaged fingerprint, at which loading would print a traceback."""
    with contextlib.suppress(FileNotFoundError):
        tf.saved_model.experimental.read_fingerprint(directory)


def serving_path(directory):
    """Returns where a SavedModel has its serving.json; `assets.extra` is for files that no server reads."""
    return os.path.join(directory, "assets.extra", "serving.json")


def read_serving(path):
    """Returns what serving.json says: `classes`, `frames`, `size`, `mean`, `std`, and more where it is there.

    What else there may be says `savedmodels.signatures.classify`; runs of older versions do not have it.

    Raises:
        ValueError: The file is no JSON, or lacks one of them, or has another kind of value there.
        OSError: The file cannot be read.
    """
    remedy = "the serving.json that `python -m train` wrote beside this model"
    with open(path, "rb") as file, one_line(path, "the JSON of a run", remedy):
        serving = json.load(file)
    if not isinstance(serving, dict):
        serving = {}
    serving = {"activation": "softmax"} | serving
    wrong = [name for name, fits in _FITS.items() if not fits(serving.get(name))]
    wrong += [name for name, fits in _FITS_IF_THERE.items() if name in serving and not fits(serving[name])]
    if not wrong and 0 < serving.get("short_side", 0) < serving["size"]:
        wrong = ["short_side"]
    if wrong:
        received = ", ".join(f"{name}={visible(repr(serving.get(name)), 60)}" for name in wrong)
        raise ValueError(
            f"Expected names of classes, whole numbers of frames and pixels, three means and deviations, and "
            f"views and an activation that are known, in {str(path)!r}. Received {received}. Try: {remedy}."
        )
    return serving


def _is_count(value):
    return type(value) is int and 0 < value < 2**16


def _is_names(value):
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def _is_colour(value):
    numbers = isinstance(value, list) and len(value) == 3 and all(type(n) in (int, float) for n in value)
    return numbers and all(map(math.isfinite, value))


_FITS = {
    "classes": _is_names,
    "activation": lambda value: value in ("softmax", "sigmoid"),
    "frames": _is_count,
    "size": _is_count,
    "mean": _is_colour,
    "std": lambda value: _is_colour(value) and min(value) > 0,
}

_FITS_IF_THERE = {
    "short_side": lambda value: value == 0 or _is_count(value),
    "whole": lambda value: type(value) is bool,
    "window": lambda value: value == 0 or _is_count(value),
}
