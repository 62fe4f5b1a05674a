"""The network of a configuration, and its attention blocks, which are described in text."""

import ast
import dataclasses
import functools
import inspect
import re
import shlex

import keras

from keras_nonlocal import (
    AttentionChain,
    BilinearAttentionTransform,
    CompactGeneralizedNonLocal,
    ConvBlockAttention,
    GlobalContext,
    ImageResNet,
    NonLocal,
    RegionNonLocal,
    SqueezeExcite,
    VideoResNet,
)
from keras_nonlocal.architecture import (
    DEPTHS,
    IMAGES,
    PLACEMENTS,
    TEMPORAL_KINDS,
    TOPOLOGIES,
    placement,
    stage_maps,
)
from keras_nonlocal.resnet_arguments import block_makers
from keras_nonlocal.weights import lasting
from train.fields import as_flags
from train.origin import origin

BLOCKS = {
    "NonLocal": NonLocal,
    "RegionNonLocal": RegionNonLocal,
    "CompactGeneralizedNonLocal": CompactGeneralizedNonLocal,
    # As in the released video code: it takes the maps of 224 pixels in training and of 256 in tests.
    "BilinearAttentionTransform": functools.partial(
        BilinearAttentionTransform, normalization="softmax", matrix_size="fitted"
    ),
    "SqueezeExcite": SqueezeExcite,
    "AttentionChain": AttentionChain,
    "GlobalContext": GlobalContext,
    "ConvBlockAttention": ConvBlockAttention,
}

# Fields that must agree between weights and run; as do the blocks that --block and --blocks describe.
_BUILDS = (
    "depth",
    "temporal",
    "topology",
    "groups",
    "group_width",
    "squeeze_excite_ratio",
    "blocks",
    "mean",
    "std",
)

_PLACE = re.compile(r"(res[2-5])_(0|[1-9]\d*)")
_TARGET = re.compile(r"res[2-5](_(0|[1-9]\d*))?")
_DESCRIPTION = re.compile(r"(?:(\w+)\s*=)?\s*(.*)", re.DOTALL)


class NetworkError(ValueError):
    """A configuration describes no network, or the weights that it starts from do not fit it."""


def check_network(config):
    """Builds each block for each map that it will meet, so that a wrong one ends the run before it begins.

    Raises:
        NetworkError: --block and --blocks describe no blocks, or a block refuses its arguments or a map.
    """
    depth = DEPTHS[config.depth]
    topology = TOPOLOGIES[config.topology or TEMPORAL_KINDS[config.temporal].topology]
    makers = _makers(config)
    for name in ("crop", "test_size"):
        side = getattr(config, name)
        maps = stage_maps(depth, topology, config.clip_frames, side, side)
        for stage, indices in makers.items():
            for make in set(indices.values()):
                try:
                    make(name=stage).build((None, *maps[stage]))
                except ValueError as error:
                    raise NetworkError(f"--block refuses the map of --{name}={side}: {error}") from None


def build_network(config, num_classes, images=False):
    """Returns the network of a configuration, for clips of any height and width.

    Args:
        config: A `Config`; its network fields go to the arguments of `VideoResNet` with their names.
        num_classes: The width of the logits.
        images: Whether to build the network for images, which have no temporal kind.

    Raises:
        NetworkError: The fields describe no network, or its weights are those of another one.
    """
    if config.weights:
        _check_origin(config, num_classes, images)
    arguments = _arguments(config) | {"blocks": _makers(config), "num_classes": num_classes}
    try:
        if images:
            del arguments["temporal"]
            return ImageResNet(input_shape=(None, None, 3), **arguments)
        return VideoResNet(input_shape=(config.clip_frames, None, None, 3), **arguments)
    except (ValueError, OSError) as error:
        raise NetworkError(str(error).replace("`weights`", "`weights` (--weights)")) from error


def network_fields(config):
    """Returns the values of the fields that describe the network, by name."""
    fields = [field for field in dataclasses.fields(config) if field.metadata["heading"] == "network"]
    return {field.name: getattr(config, field.name) for field in fields}


def _arguments(config):
    """Returns the arguments of `VideoResNet` that a configuration has a network field for."""
    nothing = {field.name for field in dataclasses.fields(config) if field.metadata["none"]}
    fields = network_fields(config)
    names = fields.keys() & inspect.signature(VideoResNet).parameters
    return {name: None if name in nothing and not fields[name] else fields[name] for name in names}


def _check_origin(config, num_classes, images):
    """Raises NetworkError if what stands beside the weights tells of another network or preprocessing."""
    try:
        found = origin(config.weights)
        if found is None:
            return
        told = {name: value for name, value in found.fields.items() if name in (*_BUILDS, "block")}
        theirs = dataclasses.replace(config, **told)
        here, there = _essence(config, images), _essence(theirs, found.images)
    except (ValueError, TypeError, OSError) as error:
        raise NetworkError(f"--weights={config.weights}: {error}") from None
    names = [name for name in here if here[name] != there[name]]
    if found.images or images:  # Images have no temporal kind, and of a topology the stride alone.
        strides = {TOPOLOGIES[essence["topology"]].strided_conv for essence in (here, there)}
        names = [name for name in names if name != "temporal" and (name != "topology" or len(strides) > 1)]
    names += ["block"] if "blocks" in names else []
    expected, received = (_flags(run, names, essence) for run, essence in ((theirs, there), (config, here)))
    remedy = expected
    if not names:
        if found.num_classes in (None, num_classes):
            return
        expected, received = f"{found.num_classes} classes", f"{num_classes} classes"
        remedy = f"weights of train.convert --ignore_head --num_classes={num_classes}"
    raise NetworkError(
        f"Expected {expected}, which {found.path} says of --weights={config.weights}. Received {received}. "
        f"Try: {remedy}"
    )


def _essence(config, images):
    """Returns what must agree between weights and run, by the names of the fields; most has no shape."""
    kind = IMAGES if images else TEMPORAL_KINDS[config.temporal]
    return {name: getattr(config, name) for name in _BUILDS} | {
        "topology": config.topology or kind.topology,
        "blocks": {
            f"{stage}_{index}": lasting(keras.saving.serialize_keras_object(make(name="block")))
            for stage, indices in _makers(config).items()
            for index, make in indices.items()
        },
    }


def _flags(config, names, essence):
    fields = {field.name: field for field in dataclasses.fields(config)}
    values = {name: getattr(config, name) for name in names}
    if "topology" in values:
        values["topology"] = essence["topology"]
    return shlex.join(flag for name, value in values.items() for flag in as_flags(fields[name], value))


def _makers(config):
    """Returns the blocks as `VideoResNet` takes them: {"res3": {0: make, ...}, ...}."""
    try:
        makers = blocks_from_text(config.blocks, config.block, config.depth)
        return block_makers("VideoResNet", config.depth, makers, None)
    except ValueError as error:
        raise NetworkError(f"--block and --blocks: {error}") from None


def blocks_from_text(places, blocks, depth):
    """Returns blocks that were described in text as `VideoResNet` takes them.

    A block is a name of `BLOCKS`, with keyword arguments in brackets where they are not the
    defaults: Python literals, or blocks again, which are named as their argument unless `name` is
    given. "res4=..." describes the blocks of a stage and "res4_0=..." that of a place; the more
    specific description wins.

    Args:
        places: Texts: residual blocks, 0-based, such as ("res3_0", "res3_2"), or a single name
            of `architecture.PLACEMENTS`.
        blocks: Texts, such as ("NonLocal(scaled=True)", "res4=RegionNonLocal").
        depth: The depth of the ResNet, between which placements differ.

    Returns:
        {"res3": {0: make, 2: make}, ...}; make(name="res3_0_block") builds new layers each time.
        Without places it is {}.

    Raises:
        ValueError: A text is no such place or block, a block refuses its arguments, a place stands there
            twice, two descriptions are for the same, no place uses one, or a place has none; or what
            `architecture.placement` raises.

    Example:
        >>> makers = blocks_from_text(("res3_0", "res4_2"), ("NonLocal", "res4=GlobalContext(ratio=4)"), 50)
        >>> makers["res3"][0](name="first").name, makers["res4"][2](name="second").ratio
        ('first', 4)
    """
    makers = {}
    for text in blocks:
        target, maker = _described(text)
        if target in makers:
            raise ValueError(
                f"Expected one block for {target or 'all places'} in `blocks`. "
                f"Received {text!r} as a second one. Try: one of them, or a place such as res3_0=..."
            )
        makers[target] = maker
    used, found = set(), {}
    for stage, index in _places(places, depth):
        targets = [t for t in (f"{stage}_{index}", stage, None) if t in makers]
        if not targets:
            raise ValueError(
                f"Expected a block for {stage}_{index} in `blocks`. Received {tuple(blocks)!r}. "
                "Try: a block without a target, such as 'RegionNonLocal', which is for all others."
            )
        used.add(targets[0])
        found.setdefault(stage, {})[index] = makers[targets[0]]
    unused = [target or "all others" for target in makers if target not in used]
    if found and unused:
        raise ValueError(
            f"Expected every block of `blocks` to have a place. Received one for {' and for '.join(unused)}, "
            f"which none of the places {tuple(places)!r} uses. Try: leaving it out."
        )
    return found


def _places(places, depth):
    """Returns the (stage, index) pairs that `places` means."""
    if len(places) == 1 and not _PLACE.fullmatch(places[0]):
        return [(stage, i) for stage, indices in placement(places[0], depth).items() for i in indices]
    wrong = [place for place in places if not _PLACE.fullmatch(place) or places.count(place) > 1]
    if wrong:
        raise ValueError(
            "Expected `places` to be residual blocks, each once, or one placement among "
            f"{', '.join(PLACEMENTS)}. Received {wrong[0]!r} in {tuple(places)!r}. Try: res3_0,res3_2."
        )
    return [(match[1], int(match[2])) for match in map(_PLACE.fullmatch, places)]


def _described(text):
    """Returns (target or None, maker) of a description, of which a layer is made on trial."""
    target, block = _DESCRIPTION.fullmatch(text.strip()).groups()
    try:
        if target is not None and not _TARGET.fullmatch(target):
            raise ValueError(f"{target} is no stage, as res3 is, and no place, as res3_0 is")
        node = ast.parse(block, mode="eval").body
        if any(keyword.arg == "name" for keyword in getattr(node, "keywords", ())):
            raise ValueError("the name comes from the place")
        _build(node, name="block")
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(
            "Expected a block such as NonLocal or res4=RegionNonLocal(kernel_size=(3, 3, 3)), one of "
            f"{', '.join(BLOCKS)}. Received {text!r}. Try: another in view of this: {error}"
        ) from None
    return target, functools.partial(_build, node)


def _build(node, name):
    """Returns the layer that a syntax tree describes; nothing but `BLOCKS` can be called."""
    called = node.func if isinstance(node, ast.Call) else node
    if not isinstance(called, ast.Name) or called.id not in BLOCKS:
        raise ValueError(f"{ast.unparse(called)} is no block")
    keywords = node.keywords if isinstance(node, ast.Call) else []
    names = [keyword.arg for keyword in keywords]
    if getattr(node, "args", None) or None in names or len(set(names)) < len(names):
        raise ValueError(f"{ast.unparse(node)} has arguments that are not keywords, each once")
    return BLOCKS[called.id](**{"name": name} | {k.arg: _argument(k.value, k.arg) for k in keywords})


def _argument(node, name):
    if isinstance(node, ast.Name | ast.Call):
        return _build(node, name)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{name}={ast.unparse(node)} is neither a literal nor a block") from None
