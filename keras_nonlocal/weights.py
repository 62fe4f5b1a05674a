"""Loads weights that were saved from the same network, or from one that a named move leads from.

Keras finds a layer's weights by its class and its place among the layers of that class, and passes over what
no layer asks for: blocks at other places would take them. Its files hold the names of the layers too, and a
`.keras` file their arguments; both are compared (`comparing.py`), and values are set by name. What is refused
is refused before one of them is.
"""

import contextlib
import hashlib
import json
import os
import zipfile

import numpy as np
from keras.src.saving import saving_lib

from keras_nonlocal.checkpoints import Report
from keras_nonlocal.checkpoints.layout import lay_out
from keras_nonlocal.checkpoints.plain import visible
from keras_nonlocal.comparing import LACKS, LEFT_OVER, compared
from keras_nonlocal.moves import as_argument, checked_moves, is_inflated, lasting


def load_weights(model, path, builder="load_weights", adapt=()):
    """Sets the weights of a network from a file that was saved from the same one, or by moves.

    Args:
        model: A model of `VideoResNet` or `ImageResNet`.
        path: A `.weights.h5` file, a `.keras` file, or a directory that holds model.keras, as that of a run,
            or model.weights.h5, as a preset.
        builder: The name of the called function; every error begins with it.
        adapt: Names of `moves.MOVES`, or one text with commas between them: what may differ.

    Returns:
        A `keras_nonlocal.checkpoints.Report`, which says of each variable and tensor what became of it.

    Raises:
        ValueError: There is no such file, it cannot be read, or its layers, its variables or their shapes are
            not those of the network, and no move of `adapt` leads from them; of a `.keras` file, also
            arguments that change the answer; a value is not finite. Nothing is set then.

    Example:
        >>> import os, tempfile
        >>> from keras_nonlocal import VideoResNet
        >>> path = os.path.join(tempfile.mkdtemp(), "kinetics.weights.h5")
        >>> VideoResNet(18).save_weights(path)
        >>> load_weights(VideoResNet(18, num_classes=5), path, adapt="classes").kept
        ('fc/bias', 'fc/kernel')
    """
    adapt = checked_moves(adapt, builder)
    path = os.fspath(path)
    file = _file_of(path, builder)
    try:
        layers, variables, arguments = _read(file)
    except Exception as error:  # Whatever a file of a stranger causes.
        raise _unreadable(builder, path, error) from error
    pairs, differences = compared(model, layers, variables, arguments, adapt)
    if refused := [found for found in differences if found.move not in adapt]:
        moves = {*adapt, *(found.move for found in refused)}
        remedy = "the arguments that it was saved with, or python -m train.convert"
        if None not in moves:
            remedy = f"{as_argument(moves)}, or the arguments that it was saved with"
        raise _refusal(builder, path, f"which {_in_words(refused)}", remedy)
    try:
        values = _values(file, pairs)
        sha256 = _sha256(file)
    except Exception as error:
        raise _unreadable(builder, path, error) from error
    for (ours, _), value in zip(pairs, values, strict=True):
        ours.value.assign(np.array(value))
    kept, dropped = (
        tuple(sorted(found.shown for found in differences if found.words == words))
        for words in (LACKS, LEFT_OVER)
    )
    inflated = tuple(sorted(a.shown for a, b in pairs if is_inflated(a.shape, b.shape)))
    return Report(sha256, tuple(sorted(a.shown for a, _ in pairs)), dropped, kept, inflated)


def _file_of(path, builder):
    """Returns the file that a path means, or raises ValueError where there is none."""
    inside = [os.path.join(path, name) for name in ("model.keras", "model.weights.h5")]
    file = next(filter(os.path.isfile, inside), path)
    if os.path.isfile(file) and file.endswith((".weights.h5", ".keras")):
        return file
    remedy = "python -m train.convert, or keras_nonlocal.checkpoints, for another library's checkpoint"
    if os.path.isdir(os.path.join(path, "checkpoints")):
        remedy = f"python -m train.convert --format=keras_nonlocal --source={path}, as this run has not ended"
    raise ValueError(
        f"{builder}: Expected `weights` to be None or the path of a .weights.h5 file, a .keras file, "
        f"a run's directory or a preset's. Received {path!r}, which is no {'such ' * os.path.exists(path)}"
        f"file. Try: {remedy}."
    )


def _unreadable(builder, path, error):
    found = visible(" ".join(f"{error or type(error).__name__}".split()), 200)
    return _refusal(builder, path, f"which cannot be read ({found})", "saving or copying it again")


def _refusal(builder, path, found, remedy):
    return ValueError(
        f"{builder}: Expected `weights` that were saved from this very network. Received {path!r}, "
        f"{found}. Try: {remedy}."
    )


def _in_words(differences):
    """Returns what some weights have otherwise than the network."""
    shown = {}
    for found in differences:
        shown.setdefault(found.words, []).append(found.shown)
    return "; ".join(f"{words} {_some(names)}".rstrip() for words, names in shown.items())


def _some(names):
    """Returns at most three names, and how many more there are."""
    shown = ", ".join(ascii(name[:150])[1:-1] for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _sha256(file):
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _values(file, pairs):
    """Returns the arrays of a file for the variables of a network, in the order of the pairs."""
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(file)) if file.endswith(".keras") else None
        source = "model.weights.h5" if archive else file
        store = stack.enter_context(contextlib.closing(saving_lib.H5IOStore(source, archive, mode="r")))
        values = []
        for ours, theirs in pairs:
            place, _, name = theirs.key.rpartition("/vars/")
            value = np.asarray(store.get(place)[name]).astype("float32")
            if not np.isfinite(value).all():
                raise ValueError(f"{ours.shown} is not finite")
            values.append(lay_out(value, ours.shape, channels_first=False))
    return values


def _read(file):
    """Returns what a file says of its network, without the arrays.

    Returns:
        (layers, variables, arguments): the layers' names by their keys in the file, the variables' shapes by
        theirs, and the layers' descriptions by name, or None for `.weights.h5`, which has none.
    """
    if not file.endswith(".keras"):
        with contextlib.closing(saving_lib.H5IOStore(file, mode="r")) as store:
            return *_stored(store.h5_file), None
    with zipfile.ZipFile(file) as archive:
        if sum(member.file_size for member in archive.infolist()) > os.path.getsize(file):
            raise ValueError("it is compressed, which Keras's are not")
        config = json.loads(saving_lib._safe_zip_read(archive, "config.json"))
        arguments = {layer["config"]["name"]: lasting(layer) for layer in config["config"]["layers"]}
        with contextlib.closing(saving_lib.H5IOStore("model.weights.h5", archive=archive)) as store:
            return *_stored(store.h5_file), arguments


def _stored(group):
    layers, variables = {}, {}

    def visit(key, item):
        _, *inner = key.split("/")
        if key.startswith("layers/") and "vars" in inner[:-1]:
            variables[key] = "", tuple(item.shape)
        elif key.startswith("layers/") and inner[1:] == ["vars"]:
            layers[inner[0]] = name = item.attrs.get("name")
            if name is not None and not isinstance(name, str):
                raise ValueError(f"the name {name!r} of a layer, which is no text")

    group.visititems(visit)
    return layers, variables
