"""Weights of other libraries: `load` sets every variable of a model from a foreign checkpoint.

Each format has a module that maps its names to our variables; `names` and `layout` do the rest.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

import keras
import numpy as np

from keras_nonlocal.checkpoints import (
    bat,
    cgnl,
    fair,
    keras_applications,
    mmaction2,
    rnl,
    slowfast,
    torchvision,
    tsm,
)
from keras_nonlocal.checkpoints.layout import lay_out
from keras_nonlocal.checkpoints.names import is_dropped, rename
from keras_nonlocal.checkpoints.plain import visible
from keras_nonlocal.checkpoints.reading import CheckpointError, open_file

__all__ = ["FORMATS", "CheckpointError", "Report", "load"]

FORMATS = {
    "bat": bat.FORMAT,
    "cgnl": cgnl.FORMAT,
    "fair": fair.FORMAT,
    "keras_applications": keras_applications.FORMAT,
    "mmaction2": mmaction2.FORMAT,
    "rnl": rnl.FORMAT,
    "slowfast": slowfast.FORMAT,
    "torchvision": torchvision.FORMAT,
    "tsm": tsm.FORMAT,
}
_HEAD = "fc/"
_MAX_NAMES, _LONGEST_NAME = 10_000, 300


class Report(NamedTuple):
    """What `load` did.

    sha256: of the source file, hexadecimal; None for weights that came in memory.
    loaded: paths of the variables that were set.
    dropped: names in the source that were not used: momentum, counters, an ignored head.
    kept: paths of the variables that keep their values.
    inflated: those of `loaded` whose kernel was that of images, and is repeated in time.
    """

    sha256: str | None
    loaded: tuple
    dropped: tuple
    kept: tuple
    inflated: tuple = ()

    def __str__(self):
        """Returns the account in a line."""
        inflated = f" ({len(self.inflated)} inflated)" if self.inflated else ""
        return (
            f"{len(self.loaded)} variables loaded{inflated}, {len(self.kept)} kept at their start, "
            f"{len(self.dropped)} tensors dropped"
        )


def load(model, source, format, ignore_head=False, allow_missing_blocks=False, reverse_channels=False):
    """Sets the variables of a model from a checkpoint of another library: all of them, or none.

    Args:
        model: a network of `VideoResNet` or `ImageResNet` with the depth, temporal kind, topology and
            blocks of the checkpoint. Kernels of images are inflated where its kernels span time.
        source: path of a file, or its contents: a dict of arrays by name, or for "keras_applications"
            the keras.Model. Files are read without executing anything.
        format: a key of `FORMATS`, the library that the names come from.
        ignore_head: True leaves the classifier as it is, for another number of classes.
        allow_missing_blocks: True leaves a block as it is where the source has no tensor of it, so that
            a trunk can be loaded into a network with blocks.
        reverse_channels: True reverses the input channels of the first kernel: weights that were
            trained on BGR, as those of keras.applications, then take RGB.

    Returns:
        A `Report`.

    Raises:
        ValueError: an unknown format.
        CheckpointError: a kind of ValueError; a file that cannot be read, a variable without a tensor,
            a tensor without a variable, two tensors for one variable, shapes that do not fit, values
            that are not finite, variances below 0, more than 10,000 tensors, names of more than 300
            characters. The model is then as it was.
        OSError: no such file.

    Example:
        >>> from keras_nonlocal import ImageResNet
        >>> application = keras.applications.ResNet50(weights=None, classes=10)
        >>> model = ImageResNet(50, topology="keras", num_classes=10)
        >>> len(load(model, application, "keras_applications").loaded)
        267
    """
    if format not in FORMATS:
        raise ValueError(
            f"load: Expected `format` to be one of {', '.join(FORMATS)}. Received {format!r}. Try: 'tsm'."
        )
    form = FORMATS[format]
    variables = _variables(model)
    kept = {path for path in variables if ignore_head and path.startswith(_HEAD)}
    found, sha256 = _read(source, form, _shapes(variables, kept))
    _check_names(found)
    arrays = form.adapt(found)
    paths = rename(form, arrays)
    ignored = {name for name, path in paths.items() if ignore_head and path and path.startswith(_HEAD)}
    dropped = {name for name in arrays if is_dropped(form, name)} | ignored
    paths = {name: path for name, path in paths.items() if name not in dropped}
    if allow_missing_blocks:
        kept |= _missing_blocks(variables, paths.values())
    shapes = _shapes(variables, kept)
    _check_places(form, paths, shapes)
    _check_stride(model, form)
    values = _lay_out(form, arrays, paths, shapes)
    _check_variances(found, paths)
    if reverse_channels:
        values["stem_conv/kernel"] = values["stem_conv/kernel"][..., ::-1, :]  # [*k, I, O]
    for path, value in values.items():
        variables[path].assign(np.array(value))  # a copy, as the source may be a read-only view of a file
    inflated = [
        p for name, p in paths.items() if arrays[name].ndim == 4 < len(shapes[p]) and shapes[p][0] > 1
    ]
    return Report(sha256, *(tuple(sorted(names)) for names in (values, dropped, kept, inflated)))


def _variables(model):
    """Returns the variables of a model by path; kernels with and without time have the same path."""
    variables = {variable.path.replace("/conv/", "/"): variable for variable in model.weights}
    if len(variables) < len(model.weights):
        raise ValueError(
            f"load: Expected a path of its own for each of the {len(model.weights)} variables. "
            f"Received {model.name} with {len(variables)} paths. "
            "Try: a network of VideoResNet or ImageResNet."
        )
    return variables


def _shapes(variables, kept):
    return {path: tuple(variable.shape) for path, variable in variables.items() if path not in kept}


def _read(source, form, shapes):
    """Returns the arrays of a source by name, and the sha256 of its file."""
    if isinstance(source, keras.Model):
        return {v.path: keras.ops.convert_to_numpy(v) for v in source.weights}, None
    sha256 = None
    if not isinstance(source, Mapping):
        with open_file(source) as file:
            source = form.read(source, shapes)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {name: _array(value) for name, value in source.items()}, sha256


def _array(value):
    """Returns an array; what is no array becomes one object, which fits no variable.

    NumPy would make an array of a list's items, which are many where a list holds itself more than once.
    """
    if hasattr(value, "__array__"):
        return np.asarray(value)
    array = np.empty((), object)
    array[()] = value
    return array


def _check_names(names):
    """Raises CheckpointError for more or longer names than a network has; each is compared with many."""
    longest = max(map(len, names), default=0)
    if len(names) > _MAX_NAMES or longest > _LONGEST_NAME:
        raise CheckpointError(
            f"Expected at most {_MAX_NAMES} tensors, with names of at most {_LONGEST_NAME} characters. "
            f"Received {len(names)}, with names of up to {longest}. Try: a file with the weights alone."
        )


def _missing_blocks(variables, found):
    """Returns the paths of the variables in blocks that the source has no tensor of."""
    present = {path.split("/")[0] for path in found if path}
    layers = {path: path.split("/")[0] for path in variables}
    return {path for path, layer in layers.items() if layer.endswith("_block") and layer not in present}


def _check_places(form, paths, shapes):
    """Raises CheckpointError unless each variable has one tensor and each tensor a variable."""
    names = {}
    for name, path in paths.items():
        names.setdefault(path, []).append(name)
    twice = [found for path, found in names.items() if path in shapes and len(found) > 1]
    if twice:
        raise CheckpointError(
            f"Expected one tensor for each variable. Received two for one: {_few(twice[0], ' and ')}. "
            "Try: a file with the weights of one model."
        )
    missing = sorted(shapes.keys() - names.keys())
    left_over = [name for name, path in paths.items() if path not in shapes]
    if missing or left_over:
        lacks = {"no tensor for": missing, "no variable for": left_over}
        received = " and ".join(f"{words} {_few(items)}" for words, items in lacks.items() if items)
        raise CheckpointError(
            "Expected a tensor for each variable and a variable for each tensor. "
            f"Received {received}. Try: {_remedy(form, paths, missing, left_over)}."
        )


def _remedy(form, paths, missing, left_over):
    """Returns what to try where variables have no tensor or tensors no variable."""
    knows = {name: sum(map(bool, rename(other, paths).values())) for name, other in FORMATS.items()}
    most = max(knows.values())
    if most > sum(map(bool, paths.values())):
        best = " or ".join(repr(name) for name, count in knows.items() if count == most)
        return f"format={best}, which knows {most} of the {len(paths)} names"
    if all(path.startswith(_HEAD) for path in [*missing, *(paths[name] or "" for name in left_over)]):
        return "ignore_head=True"
    if not left_over and all("_block/" in path for path in missing):
        return "allow_missing_blocks=True, or blocks of the file's kind and places"
    return "the depth, temporal kind and blocks that the file was trained with"


def _check_stride(model, form):
    """Raises CheckpointError where the stride is elsewhere: all shapes would fit, but the outputs differ."""
    layers = {layer.name: getattr(layer, "layer", layer) for layer in model.layers}
    if form.strided_conv is None or "res3_0_conv3" not in layers:
        return
    strided = 1 if layers["res3_0_conv1"].strides[-1] > 1 else 2
    if strided != form.strided_conv:
        raise CheckpointError(
            f"Expected the stride on convolution {form.strided_conv} of a bottleneck, as in the source. "
            f"Received {model.name}, which has it on convolution {strided}. Try: topology='keras'."
        )


def _lay_out(form, arrays, paths, shapes):
    """Returns the value of every variable, or raises CheckpointError unless all fit and are finite."""
    values, misfits, infinite = {}, [], []
    for name, path in paths.items():
        array, value = arrays[name], None
        if array.dtype.kind in "fiu":
            array = array.astype("float32", copy=False)
            value = lay_out(array, shapes[path], form.channels_first)
        if value is None:
            kind = type(array[()]).__name__ if array.dtype == object else list(array.shape)
            misfits.append(f"{_shown(name)} {kind} for {path} {list(shapes[path])}")
        elif not np.isfinite(array).all():
            infinite.append(name)
        values[path] = value
    if misfits:
        raise CheckpointError(
            f"Expected tensors in the shapes of the variables. Received {_few(misfits, show=str)}. "
            "Try: the depth, temporal kind and blocks that the file was trained with; for another number "
            "of classes ignore_head=True."
        )
    if infinite:
        raise CheckpointError(
            f"Expected finite values. Received NaN or infinity in {_few(infinite)}. "
            "Try: an earlier checkpoint of that training."
        )
    return values


def _check_variances(arrays, paths):
    """Raises CheckpointError for a variance below 0, which a batch norm makes NaN; -0.0 is none."""
    variances = [name for name, path in paths.items() if path.endswith("/moving_variance") and name in arrays]
    if negative := [name for name in variances if (arrays[name] < 0).any()]:
        raise CheckpointError(
            f"Expected running variances of 0 or more. Received less in {_few(negative)}. "
            "Try: downloading it again, or an earlier checkpoint of that training."
        )


def _few(items, separator=", ", show=None):
    """Returns the first three names and how many more there are."""
    shown = separator.join(map(show or _shown, items[:3]))
    return shown if len(items) <= 3 else f"{shown} and {len(items) - 3} more"


def _shown(name):
    """Returns a name as it is where it is a plain word, else in quotes with its escapes, at most 100 long."""
    return name if re.fullmatch(r"[!-~]{1,100}", name) else visible(repr(name), 100)
