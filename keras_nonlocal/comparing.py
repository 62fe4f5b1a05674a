"""Compares a network with what a file of weights says of its own: variables, layers and their arguments."""

import json
import re
from typing import NamedTuple

import keras
from keras.src.saving import saving_lib

from keras_nonlocal.moves import is_inflated, lasting, of_blocks, of_missing, of_shape
from keras_nonlocal.resnet_arguments import is_of_images

LACKS, LEFT_OVER, SHAPE = "lacks", "has, beyond the network's,", "has another shape of"
# A network for images needs none of them.
_OF_TIME = re.compile(r".*_shift|res2_pool|stem_stride|stem_pool_pad|.*_conv1_pad")
_NUMBER = re.compile(r"_(\d+)$")
_INPUT = re.compile(r"input_layer(_\d+)?")
# They may differ in what is no weight, as features are pooled by one network and logits made by the other.
_HEAD = ("pool", "dropout", "fc")


class Variable(NamedTuple):
    """key: Where Keras finds it in the file; shown: its name for people; shape; value: the Keras variable."""

    key: str
    shown: str
    shape: tuple
    value: object = None


class Difference(NamedTuple):
    """words: What the weights do; shown: the variable or layer; move: the move that allows it, or None."""

    words: str
    shown: str
    move: str | None = None


def compared(model, layers, variables, arguments, adapt):
    """Compares a network with what a file says of its own.

    Returns:
        (pairs, differences): the variables that fit, each of the network with that of the file; and every
        `Difference`. What a move of `adapt` leaves at its start or out is a difference with that move.
    """
    recorder = _Recorder()
    saving_lib._save_state(model, recorder, None, "", set())
    names = recorder.layers
    if not all(layers.values()) or len(set(layers.values())) < len(layers):
        # Files of old versions have no names, and damaged ones twice the same; the keys take their place.
        layers, names = ({key: key for key in keys} for keys in (layers, names))
    inflates = is_of_images(layers.values()) and not is_of_images(names.values())
    # A clip of one frame is an image, but its network has other layers for it.
    of_images = inflates or ("images" in layers.values() and "images" not in names.values())
    ours, theirs = _named(names, recorder.variables), _named(layers, variables)
    kinds = {layer.name: type(layer).__name__ for layer in model.layers}
    pairs, differences = _paired(ours, theirs, kinds, of_images, adapt)
    if inflates:
        differences.append(Difference("is of a network for images", "", "images"))
    if not {LACKS, LEFT_OVER} & {found.words for found in differences if found.move is None}:
        # Layers without weights tell a shift, a pooling or a stride.
        here, there = (
            {name for name in plain if not (of_images and _OF_TIME.fullmatch(name))}
            for plain in (_plain_layers(names, ours), _plain_layers(layers, theirs))
        )
        differences += [Difference(LACKS, name) for name in sorted(here - there)]
        differences += [Difference(LEFT_OVER, name) for name in sorted(there - here)]
    if all(found.move for found in differences) and not of_images:
        differences += _other_kinds(names, layers, ours, theirs)
    if all(found.move for found in differences):
        differences += _other_arguments(model, arguments, of_images)
    return pairs, differences


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
            found = getattr(variable, "path", ""), tuple(variable.shape), variable
            self.variables[f"{self.path}/vars/{key}"] = found


def _paired(ours, theirs, kinds, of_images, adapt):
    """Returns the variables of a network and of a file that fit, and the differences of all others."""
    pairs, differences, used = [], [], set()
    their_layers = {name.split("/")[0] for name in theirs}
    for name, variable in ours.items():
        layer, _, inner = name.partition("/")
        found = name
        if name not in theirs and of_images:  # FrameWise holds a kernel that spans no time.
            found = f"{layer}/layer/{inner}"
        start = layer == "fc" and "classes" in adapt
        if found not in theirs or start:
            move = of_missing(layer, inner, kinds.get(layer), layer in their_layers)
            differences.append(Difference(LACKS, variable.shown, move))
            continue
        used.add(found)
        here, there = variable.shape, theirs[found].shape
        if here == there or (of_images and is_inflated(here, there)):
            pairs.append((variable, theirs[found]))
            continue
        move = of_shape(layer, inner, kinds.get(layer))
        if move in adapt:  # It stays at its start, and what the file has in its place is left out.
            differences.append(Difference(LACKS, variable.shown, move))
            used.remove(found)
        else:
            shown = f"{variable.shown} ({there} there, {here} here)"
            differences.append(Difference(SHAPE, shown, move))
    for name in (name for name in theirs if name not in used):
        layer, _, inner = name.partition("/")
        move = of_shape(layer, inner, kinds.get(layer)) if name in ours or layer == "fc" else None
        differences.append(Difference(LEFT_OVER, ours.get(name, theirs[name]).shown, move))
    return pairs, differences


def _other_kinds(names, layers, ours, theirs):
    """Returns layers of another class in the file, or in another order among those of their class."""
    here, there = ({name: _NUMBER.sub("", key) for key, name in n.items()} for n in (names, layers))
    kinds = [name for name in here if here[name] != there.get(name, here[name])]
    if kinds:
        return [Difference("has another kind of", name) for name in kinds]
    weighted = {name.split("/")[0] for name in ours.keys() & theirs.keys()}
    mine, other = ([name for name in _in_order(n) if name in weighted] for n in (names, layers))
    moved = {a for a, b in zip(mine, other, strict=True) if a != b}
    shown = [variable.shown for name, variable in ours.items() if name.split("/")[0] in moved]
    return [Difference("has in another order", name) for name in shown]


def _in_order(layers):
    """Returns the names of layers by class and place."""
    places = {}
    for key, name in layers.items():
        number = _NUMBER.search(key)
        places[name] = _NUMBER.sub("", key), int(number[1]) if number else 0
    return sorted(places, key=places.get)


def _named(layers, found):
    """Returns variables by name, without seeds: {"res3_0_block/g/0": Variable, ...}."""
    variables = {}
    for key, (shown, shape, *value) in found.items():
        _, layer, *inner = key.split("/")
        if not any(part.startswith("seed_generator") for part in inner):
            name = "/".join([layers.get(layer, layer), *(part for part in inner if part != "vars")])
            variables[name] = Variable(key, shown or name, shape, *value)
    return variables


def _plain_layers(layers, variables):
    """Returns the names of the layers without weights, but of inputs and head."""
    weighted = {name.split("/")[0] for name in variables}
    names = {name for key, name in layers.items() if not _INPUT.fullmatch(key)}
    return names - weighted - {*_HEAD}


def _other_arguments(model, theirs, of_images):
    """Returns the arguments of layers that differ in a `.keras` file, as far as no shape tells them."""
    if theirs is None:
        return []
    described = json.loads(model.to_json())["config"]["layers"]
    ours = {layer["config"]["name"]: lasting(layer) for layer in described}
    words, differences = "was saved with other arguments:", []
    for layer in model.layers:
        name = layer.name
        if isinstance(layer, keras.layers.InputLayer) or name in _HEAD or name not in theirs:
            continue
        moves = of_blocks(ours[name], theirs[name], of_images) if name.endswith("_block") else None
        if moves is not None:
            changes = _changes(name, ours[name], theirs[name])
            differences += [Difference(words, changes[0], move) for move in sorted(moves)]
        elif not of_images:
            differences += [Difference(words, text) for text in _changes(name, ours[name], theirs[name])]
        elif layer.weights and _strides(ours[name]) != _strides(theirs[name]):
            differences.append(Difference(words, f"{name}/strides"))
    return differences


def _strides(layer):
    """Returns the stride over pixels of a convolution, which may lie in a `FrameWise`; None of others."""
    config = layer.get("config") or {}
    strides = (config.get("layer", {}).get("config") or config).get("strides")
    return strides[-1] if isinstance(strides, list) else strides


def _changes(name, here, there):
    """Returns the values that differ with their paths, as in "res2_pool/pool_size (... there, ... here)"."""
    if here == there:
        return []
    if not (isinstance(here, dict) and isinstance(there, dict)):
        return [f"{name} ({there!r} there, {here!r} here)"]
    inner = {key: name if key == "config" else f"{name}/{key}" for key in sorted({*here, *there})}
    return [text for key in inner for text in _changes(inner[key], here.get(key), there.get(key))]
