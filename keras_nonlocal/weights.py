"""Loads weights that were saved from the same network, and refuses those of any other before it sets one.

Keras finds a layer's weights by its class and its place among the layers of that class, and passes over what
no layer asks for: blocks at other places would take them. Its files hold the names of the layers too, and a
`.keras` file their arguments; both are compared here.
"""

import contextlib
import json
import os
import re
import zipfile
from typing import NamedTuple

import keras
from keras.src.saving import saving_lib

_OF_TIME = re.compile(r".*_shift|res2_pool|stem_stride|stem_pool_pad")  # A network for images needs none.
_NUMBER = re.compile(r"_\d+$")
_INPUT = re.compile(r"input_layer(_\d+)?")
# They may differ in what is no weight, as features are pooled by one network and logits made by the other.
_HEAD = ("pool", "dropout", "fc")
# Arguments that change how a layer is trained or begins, and what the network is given, but not its answer.
_FREE = {
    *("name", "trainable", "dtype", "seed", "rate", "dropout", "momentum", "synchronized", "batch_shape"),
    "frozen_batch_norm",
    *("module", "registered_name", "build_config", "shared_object_id", "renorm_momentum", "inbound_nodes"),
}
_FREE_ENDINGS = ("_initializer", "_regularizer", "_constraint")


class _Variable(NamedTuple):
    """key: Where Keras finds it in the file; shown: its name for people; shape: its shape."""

    key: str
    shown: str
    shape: tuple


def load_weights(model, path, builder):
    """Sets all weights of a network from a file that was saved from the same one.

    Args:
        model: A model of `VideoResNet` or `ImageResNet`.
        path: A `.weights.h5` file, a `.keras` file, or the directory of a run, which holds model.keras.
        builder: The name of the called function; every error begins with it.

    Raises:
        ValueError: There is no such file, it cannot be read, or its layers, its variables or their shapes are
            not those of the network; of a `.keras` file, also arguments that change the answer.
    """
    path = os.fspath(path)
    file = os.path.join(path, "model.keras") if os.path.isdir(path) else path
    if not os.path.isfile(file) or not file.endswith((".weights.h5", ".keras")):
        raise ValueError(
            f"{builder}: Expected `weights` to be None or the path of a .weights.h5 file, a .keras file or "
            f"a run's directory. Received {path!r}, which is no {'such ' * os.path.exists(path)}file. "
            "Try: python -m train.convert, or keras_nonlocal.checkpoints, for another library's checkpoint."
        )
    try:
        layers, variables, arguments = _read(file)
        differences = _differences(model, layers, variables) or _other_arguments(model, layers, arguments)
        if not differences:
            model.load_weights(file)
    except (ValueError, OSError, LookupError, TypeError, RecursionError, zipfile.BadZipFile) as error:
        found = " ".join(str(error).split())[:200]
        raise _refusal(builder, path, f"cannot be read ({found})") from error
    if differences:
        raise _refusal(builder, path, "; ".join(differences))


def _refusal(builder, path, found):
    return ValueError(
        f"{builder}: Expected `weights` that were saved from this very network. Received {path!r}, which "
        f"{found}. Try: the arguments that it was saved with, or python -m train.convert."
    )


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
            layers[inner[0]] = item.attrs.get("name")

    group.visititems(visit)
    return layers, variables


class _Recorder(saving_lib.H5IOStore):
    """Stands in the place of a file to be written, and records what would go where in it."""

    def __init__(self):
        self.layers, self.variables = {}, {}

    def __bool__(self):
        return True

    def make(self, path, metadata=None):
        """Begins the variables of a layer, or of a part of one."""
        self.path, parts = path, path.split("/")
        if parts[0] == "layers" and len(parts) == 2:
            self.layers[parts[1]] = metadata["name"]
        return self

    def __setitem__(self, key, variable):
        if self.path.startswith("layers/"):
            found = getattr(variable, "path", ""), tuple(variable.shape)
            self.variables[f"{self.path}/vars/{key}"] = found


def _differences(model, layers, variables):
    """Returns what a file has otherwise than the network, in words."""
    recorder = _Recorder()
    saving_lib._save_state(model, recorder, None, "", set())
    names = recorder.layers
    if not all(layers.values()) or len(set(layers.values())) < len(layers):
        # Files of old versions have no names, and damaged ones twice the same; the keys take their place.
        layers, names = ({key: key for key in keys} for keys in (layers, names))
    ours, theirs = _named(names, recorder.variables), _named(layers, variables)
    missing = [variable.shown for name, variable in ours.items() if name not in theirs]
    left_over = [variable.shown for name, variable in theirs.items() if name not in ours]
    if not (missing or left_over):  # Layers without weights tell a shift, a pooling or a stride.
        here, there = (
            {name for name in plain if not (_inflates(layers, names) and _OF_TIME.fullmatch(name))}
            for plain in (_plain_layers(names, ours), _plain_layers(layers, theirs))
        )
        missing, left_over = sorted(here - there), sorted(there - here)
    both = [(ours[name], theirs[name]) for name in ours if name in theirs]
    shapes = [f"{a.shown} ({b.shape} there, {a.shape} here)" for a, b in both if a.shape != b.shape]
    found = {"lacks": missing, "has, beyond the network's,": left_over, "has another shape of": shapes}
    if not any(found.values()):
        here, there = ({name: _NUMBER.sub("", key) for key, name in n.items()} for n in (names, layers))
        kinds = [name for name in here if here[name] != there.get(name, here[name])]
        found["has another kind of"] = [] if _inflates(layers, names) else kinds
    if not any(found.values()):
        found["has in another order"] = [a.shown for a, b in both if a.key != b.key]
    return [f"{words} {_some(names)}" for words, names in found.items() if names]


def _named(layers, found):
    """Returns variables by name, without seeds: {"res3_0_block/g/0": _Variable, ...}."""
    variables = {}
    for key, (shown, shape) in found.items():
        _, layer, *inner = key.split("/")
        if not any(part.startswith("seed_generator") for part in inner):
            name = "/".join([layers.get(layer, layer), *(part for part in inner if part != "vars")])
            variables[name] = _Variable(key, shown or name, shape)
    return variables


def _plain_layers(layers, variables):
    """Returns the names of the layers without weights, but of inputs and head."""
    weighted = {name.split("/")[0] for name in variables}
    names = {name for key, name in layers.items() if not _INPUT.fullmatch(key)}
    return names - weighted - {*_HEAD}


def _inflates(layers, names):
    """Returns whether the file is of a network for images, and the network one for clips."""
    return "images" in layers.values() and "images" not in names.values()


def _some(names):
    """Returns at most three names, and how many more there are."""
    shown = ", ".join(ascii(name[:150])[1:-1] for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _other_arguments(model, layers, theirs):
    """Returns the arguments of layers that differ in a `.keras` file, in words."""
    if theirs is None:
        return []
    described = json.loads(model.to_json())["config"]["layers"]
    ours = {layer["config"]["name"]: lasting(layer) for layer in described}
    inflates = _inflates(layers, {layer.name: layer.name for layer in model.layers})
    differing = []
    for layer in model.layers:
        skipped = isinstance(layer, keras.layers.InputLayer) or layer.name in _HEAD
        if not skipped and not (inflates and not layer.weights):
            differing += _changes(layer.name, ours[layer.name], theirs.get(layer.name))
    return [f"was saved with other arguments: {_some(differing)}"] if differing else []


def _changes(name, here, there):
    """Returns the values that differ with their paths, as in "res2_pool/pool_size (... there, ... here)"."""
    if here == there:
        return []
    if not (isinstance(here, dict) and isinstance(there, dict)):
        return [f"{name} ({there!r} there, {here!r} here)"]
    inner = {key: name if key == "config" else f"{name}/{key}" for key in sorted({*here, *there})}
    return [text for key in inner for text in _changes(inner[key], here.get(key), there.get(key))]


def lasting(config):
    """Returns a serialised object without what does not change its answer, such as initializers and names."""
    if isinstance(config, dict):
        return {
            key: lasting(value)
            for key, value in config.items()
            if key not in _FREE and not key.endswith(_FREE_ENDINGS)
        }
    return [lasting(item) for item in config] if isinstance(config, list | tuple) else config
