"""Networks and blocks as data: the arguments of the builder, found in a model, and written as JSON.

Nothing here calls what a file names, but for the layers in `BLOCKS`.
"""

import contextlib
import json

import keras

from keras_nonlocal.architecture import (
    DEPTHS,
    STAGE_NAMES,
    TEMPORAL_KINDS,
    TOPOLOGIES,
    Topology,
)
from keras_nonlocal.attention_chain import AttentionChain
from keras_nonlocal.bilinear_transform import BilinearAttentionTransform
from keras_nonlocal.compact_generalized import CompactGeneralizedNonLocal
from keras_nonlocal.conv_block_attention import ConvBlockAttention
from keras_nonlocal.global_context import GlobalContext
from keras_nonlocal.moves import lasting
from keras_nonlocal.non_local import NonLocal
from keras_nonlocal.plain_residual import PlainResidual
from keras_nonlocal.region_non_local import RegionNonLocal
from keras_nonlocal.resnet import ImageResNet, VideoResNet
from keras_nonlocal.squeeze_excite import SqueezeExcite

BLOCKS = {
    block.__name__: block
    for block in (
        NonLocal,
        RegionNonLocal,
        CompactGeneralizedNonLocal,
        BilinearAttentionTransform,
        SqueezeExcite,
        AttentionChain,
        GlobalContext,
        ConvBlockAttention,
        PlainResidual,
    )
}
# The arguments of the builder that a description has, with the types of their values.
_ARGUMENTS = {
    "depth": int,
    "temporal": str,
    "topology": str,
    "num_classes": int,
    "input_shape": list,
    "dropout": float,
    "shift_divisor": int,
    "groups": int,
    "group_width": int,
    "squeeze_excite_ratio": int | None,
    "frozen_batch_norm": bool,
    "include_top": bool,
    "pooling": str | None,
    "classifier_activation": str,
    "name": str,
    "blocks": dict,
}
_NO_DATA = ("trainable", "dtype", "name")
_START = ("_initializer", "_regularizer", "_constraint")
_PLAIN = (bool, int, float, str, type(None))
_DEEPEST, _LARGEST = 8, 2**31


def arguments_of(model):
    """Returns the arguments with which a builder makes a network again, and whether it is for images.

    Args:
        model: A network of `VideoResNet` or `ImageResNet`.

    Returns:
        (arguments, images): `blocks` holds the layers themselves, {"res3": {0: layer, ...}, ...}.

    Raises:
        ValueError: No arguments that can be written down make it.
    """
    layers = {layer.name: layer for layer in model.layers}
    try:
        arguments, images = _found(model, layers)
        build = ImageResNet if images else VideoResNet
        with without_memory():
            again = build(**as_arguments(json.loads(json.dumps(as_data(arguments))), images))
    except (KeyError, StopIteration, AttributeError, TypeError, ValueError) as error:
        raise _no_builder(model, f"{type(error).__name__}: {error}") from error
    ours, theirs = (json.loads(m.to_json())["config"]["layers"] for m in (again, model))
    if lasting(ours) != lasting(theirs):
        raise _no_builder(model, "other layers or arguments")
    return arguments, images


@contextlib.contextmanager
def without_memory():
    """Within it, networks are built whose weights have shapes and no values; they cannot be called."""
    from keras.src.backend.common import global_state  # Which a later Keras may move; layers do without.

    name = "uninitialized_variables"  # Keras gives them values when it next traces a layer.
    before = global_state.get_global_attribute(name, [])
    global_state.set_global_attribute(name, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute(name, before)


def _no_builder(model, found):
    return ValueError(
        f"save_to_preset: Expected a network of VideoResNet or ImageResNet, by arguments that can be written "
        f"down. Received {model.name} with {found}. Try: model.save, for a network with parts of your own."
    )


def _found(model, layers):
    images = "images" in layers
    data = next((name for name in ("images", "frames") if name in layers), "clips")
    shape = layers[data].batch_shape[1:]
    bottleneck = "res2_0_conv3" in layers
    counts = tuple(sum(f"{stage}_{i}_add" in layers for i in range(99)) for stage in STAGE_NAMES)
    depth = next(n for n, d in DEPTHS.items() if (d.block_counts, d.bottleneck) == (counts, bottleneck))
    arguments = {"depth": depth, "input_shape": list(shape), "name": model.name, "num_classes": 1}
    if not images:
        shifts = "res2_0_shift" in layers
        inflated = next((n for n in (1, 2) if _kernel_frames(layers[f"res2_0_conv{n}"]) > 1), None)
        kernel = {None: None, 1: 1 if bottleneck else 3, 2: 3}[inflated]
        second = inflated is not None and _kernel_frames(layers[f"res2_1_conv{inflated}"]) > 1
        found = _kernel_frames(layers["stem_conv"]), kernel, shifts, second
        arguments["temporal"] = next(
            n
            for n, k in TEMPORAL_KINDS.items()
            if (k.stem_kernel_frames, k.inflated, k.shifts, k.inflates("res2", 1)) == found
        )
        if shifts:
            arguments["shift_divisor"] = layers["res2_0_shift"].divisor
    topology = _topology(layers, bottleneck)
    arguments["topology"] = next(name for name, value in TOPOLOGIES.items() if value == topology)
    if bottleneck:
        convolution = _inner(layers["res2_0_conv2"])
        arguments["groups"] = convolution.groups
        arguments["group_width"] = convolution.filters // convolution.groups
    if "res2_0_se" in layers:
        arguments["squeeze_excite_ratio"] = layers["res2_0_se"].layer.ratio
    # Parts that did not train have frozen norms, too; the argument is about all of them.
    norms = [layer for name, layer in layers.items() if "_norm" in name]
    arguments["frozen_batch_norm"] = not any(norm.trainable for norm in norms)
    arguments |= _head(layers)
    for name, layer in layers.items():
        if name.endswith("_block"):
            stage, index, _ = name.split("_")
            arguments.setdefault("blocks", {}).setdefault(stage, {})[int(index)] = layer
    return arguments, images


def _head(layers):
    if "fc" in layers:
        activation = layers["fc"].activation.__name__
        found = {"num_classes": layers["fc"].units, "dropout": float(layers["dropout"].rate)}
        return found | ({} if activation == "linear" else {"classifier_activation": activation})
    if "pool" not in layers:
        return {"include_top": False}
    return {"include_top": False, "pooling": "max" if "Max" in type(layers["pool"]).__name__ else "avg"}


def _topology(layers, bottleneck):
    stem, pool = layers["stem_conv"], layers["stem_pool"]
    stride = stem.strides[0] if hasattr(stem, "strides") else 1
    if "stem_stride" in layers:
        stride = layers["stem_stride"].strides[0]
    strided = _inner(layers["res3_0_conv1"]).strides[-1] > 1 and bottleneck
    return Topology(
        stem_stride_frames=stride,
        pool1_frames=pool.strides[0] if hasattr(pool, "strides") else 1,
        pool1_padded="stem_pool_pad" in layers and layers["stem_pool_pad"].padding[-1][0] > 0,
        pool2_frames=layers["res2_pool"].strides[0] if "res2_pool" in layers else 1,
        strided_conv=1 if strided else 2,
        pools_overlap="res2_pool_pad" in layers,
    )


def _inner(layer):
    return getattr(layer, "layer", layer)


def _kernel_frames(layer):
    size = _inner(layer).kernel_size
    return size[0] if len(size) == 3 else 1


def as_data(arguments):
    """Returns arguments of `arguments_of` as JSON has them."""
    stages = arguments.get("blocks", {}).items()
    blocks = {stage: {str(index): described(block) for index, block in row.items()} for stage, row in stages}
    return arguments | ({"blocks": blocks} if blocks else {})


def described(layer):
    """Returns a block as data: its class and its arguments, without what only its start depends on."""
    kind = type(layer).__name__
    if BLOCKS.get(kind) is not type(layer):
        raise ValueError(f"{layer.name}, a {kind}, which is no block of this library")
    arguments = {}
    for name, value in layer.get_config().items():
        if name in _NO_DATA or name.endswith(_START):
            continue
        inner = getattr(layer, name, None)
        arguments[name] = described(inner) if type(inner).__name__ in BLOCKS else value
    return {"class": kind, "arguments": arguments}


def as_arguments(data, images):
    """Returns the arguments of a builder that JSON describes; `blocks` holds functions that make layers.

    Raises:
        ValueError: It has something else than arguments of the builder, and blocks of this library.
    """
    if not isinstance(data, dict):
        raise ValueError("no arguments of VideoResNet")
    unknown = [name for name in data if name not in _ARGUMENTS or (images and name == "temporal")]
    unknown += [name for name, value in data.items() if name not in unknown and not _fits(name, value)]
    if unknown:
        raise ValueError(f"{unknown[0]!r} in config.json, which is no argument or has no such value")
    arguments = dict(data)
    if "input_shape" in data:
        arguments["input_shape"] = tuple(data["input_shape"])
    if "blocks" in data:
        arguments["blocks"] = {
            stage: {_index(index): _maker(block) for index, block in row.items()}
            for stage, row in data["blocks"].items()
        }
    return arguments


def _fits(name, value):
    """Returns whether a value has the type of its argument; a bool is no int, and an int is a float."""
    if name == "input_shape":
        return isinstance(value, list) and all(side is None or _is_count(side) for side in value)
    if name == "blocks":
        return isinstance(value, dict) and all(isinstance(row, dict) for row in value.values())
    kind = _ARGUMENTS[name]
    if kind is int or kind == int | None:
        return _is_count(value) or (value is None and kind is not int)
    if kind is float:
        return type(value) in (int, float) and 0 <= value < 1
    return isinstance(value, kind)


def _is_count(value):
    return type(value) is int and 0 < value < 2**16


def _index(text):
    if not text.isdecimal() or len(text) > 3:
        raise ValueError(f"the place {text!r} in config.json, which is no residual block")
    return int(text)


def _maker(data):
    """Returns a function that makes a block, which is checked all the way down."""
    _check_block(data, 0)
    return lambda name: _made(data, name)


def _check_block(data, depth):
    if not isinstance(data, dict) or data.keys() != {"class", "arguments"} or depth > _DEEPEST:
        raise ValueError("a block in config.json that is not of a class and its arguments")
    if data["class"] not in BLOCKS:
        raise ValueError(f"the class {data['class']!r} in config.json, which is none of {', '.join(BLOCKS)}")
    if not isinstance(data["arguments"], dict):
        raise ValueError(f"a {data['class']} in config.json without arguments")
    for name, value in data["arguments"].items():
        if name in _NO_DATA or name.endswith(_START):
            raise ValueError(f"{name!r} of a {data['class']} in config.json, which is no argument of a block")
        if isinstance(value, dict):
            _check_block(value, depth + 1)
            continue
        for item in value if isinstance(value, list) else [value]:
            if type(item) not in _PLAIN or (isinstance(item, (int, float)) and not abs(item) < _LARGEST):
                raise ValueError(f"{name!r} of a {data['class']} in config.json, which is no plain value")


def _made(data, name):
    arguments = {
        key: _made(value, key)
        if isinstance(value, dict)
        else tuple(value)
        if isinstance(value, list)
        else value
        for key, value in data["arguments"].items()
    }
    return BLOCKS[data["class"]](name=name, **arguments)
