"""The network of a configuration, and its attention blocks, which are described in text."""

import ast
import contextlib
import dataclasses
import functools
import inspect
import re

import keras

from keras_nonlocal import ImageResNet, VideoResNet
from keras_nonlocal.architecture import (
    DEPTHS,
    PLACEMENTS,
    STAGE_NAMES,
    TEMPORAL_KINDS,
    TOPOLOGIES,
    placement,
    stage_maps,
)
from keras_nonlocal.described import BLOCKS
from keras_nonlocal.moves import MOVES, lasting
from keras_nonlocal.resnet_arguments import block_makers, check_branches, checked_topology
from keras_nonlocal.weights import load_weights
from train.config.fields import in_flags, nearest, quoted
from train.origin import NetworkError, check_origin, check_start

_PLACE = re.compile(r"(res[2-5])_(0|[1-9]\d*)")
_TARGET = re.compile(r"res[2-5](_(0|[1-9]\d*))?")
_DESCRIPTION = re.compile(r"(?:(\w+)\s*=)?\s*(.*)", re.DOTALL)
_WRONG = (SyntaxError, TypeError, ValueError)  # What a description raises that is no block's.


def check_network(config):
    """Builds each block for each map that it will meet, so that a wrong one ends the run before it begins.

    Raises:
        NetworkError: Blocks or backbone do not exist, a block refuses a map, or --adapt lacks --weights.
    """
    check_start(config)
    depth, kind = DEPTHS[config.depth], TEMPORAL_KINDS[config.temporal]
    topology = TOPOLOGIES[config.topology or kind.topology]
    try:
        check_branches("VideoResNet", depth, kind, config.groups, config.group_width)
        checked_topology("VideoResNet", topology, (config.clip_frames, None, None, 3), images=False)
    except ValueError as error:
        raise _network_error(error, config) from None
    for name, most in (("crop", config.short_side or 512), ("test_size", 512)):
        side = getattr(config, name)
        if error := refused(config, side, side):
            sides = sorted(range(32, most + 1, 32), key=lambda other: abs(other - side))
            fits = (other for other in sides if not refused(config, other, other))
            text, _, remedy = str(error).rpartition(" Try: ")
            remedy = f"--{name}={found}" if (found := next(fits, None)) else remedy
            raise NetworkError(f"--block refuses the map of --{name}={side}: {text} Try: {remedy}")


def refused(config, height, width):
    """Returns the error with which a block refuses its map for clips of a size, or None."""
    topology = TOPOLOGIES[config.topology or TEMPORAL_KINDS[config.temporal].topology]
    maps = stage_maps(DEPTHS[config.depth], topology, config.clip_frames, height, width)
    for stage, indices in _makers(config).items():
        for make in set(indices.values()):
            try:
                make(name=stage).build((None, *maps[stage]))
            except ValueError as error:
                return error
    return None


def build_network(config, num_classes, images=False):
    """Returns the network of a configuration, for clips of any height and width, and prints what it loads.

    Args:
        config: A `Config`; its network fields go to the arguments of `VideoResNet` with their names.
        num_classes: The width of the logits.
        images: Whether it is the network for images.

    Raises:
        NetworkError: The fields describe no network, or its weights are those of another one.
    """
    model, found = network_and_report(config, num_classes, images)
    if found:
        print(f"--weights={config.weights}: {found}")
    return model


def network_and_report(config, num_classes, images=False):
    """Returns the network of `build_network` and the `Report` of its weights, which is empty without."""
    if config.weights:
        check_origin(config, num_classes, images, _serialised)
    arguments = _arguments(config) | {"blocks": _makers(config), "num_classes": num_classes, "weights": None}
    if images:
        del arguments["temporal"]
    frames, build = ((), ImageResNet) if images else ((config.clip_frames,), VideoResNet)
    try:
        model = build(input_shape=(*frames, None, None, 3), **arguments)
        adapt = [name for name in config.adapt if name in MOVES]
        return model, config.weights and load_weights(model, config.weights, build.__name__, adapt)
    except (ValueError, OSError) as error:
        raise _network_error(error, config) from error


def _network_error(error, config):
    text = str(error).replace("`weights`", "`weights` (--weights)")
    if text.startswith(("VideoResNet: ", "ImageResNet: ")):  # A block speaks of arguments of its own.
        text = in_flags(text, [field.name for field in dataclasses.fields(config)])
    return NetworkError(text.removesuffix("."))


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


def _serialised(config):
    """Returns {place: what its block is} of a configuration."""
    return {
        f"{stage}_{index}": lasting(keras.saving.serialize_keras_object(make(name="block")))
        for stage, indices in _makers(config).items()
        for index, make in indices.items()
    }


def _makers(config):
    """Returns the blocks as `VideoResNet` takes them: {"res3": {0: make, ...}, ...}."""
    try:
        makers = blocks_from_text(config.blocks, config.block, config.depth)
        return block_makers("VideoResNet", config.depth, makers, None)
    except ValueError as error:
        raise NetworkError(f"--block and --blocks: {in_flags(error, ['depth'])}") from None


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
        {"res3": {0: make, 2: make}, ...}, {} without places; make(name="res3_0_block") builds new layers.

    Raises:
        ValueError: A text is no such place or block, a block refuses its arguments, a place stands there
            twice, two descriptions are for the same, no place uses one, or a place has none; or what
            `architecture.placement` raises. The errors speak of flags.

    Example:
        >>> makers = blocks_from_text(("res3_0", "res4_2"), ("NonLocal", "res4=GlobalContext(ratio=4)"), 50)
        >>> makers["res3"][0](name="first").name, makers["res4"][2](name="second").ratio
        ('first', 4)
    """
    makers = {}
    for text in blocks:
        target, maker = _described(text, depth)
        if target in makers:
            raise ValueError(
                f"Expected one block for {target or 'all places'}. Received {text!r} as a second one. "
                f"Try: leaving out {quoted(f'--block={text}')}, or res3_0=... for the place res3_0 alone"
            )
        makers[target] = maker
    used, found = set(), {}
    for stage, index in _places(places, depth):
        targets = [t for t in (f"{stage}_{index}", stage, None) if t in makers]
        if not targets:
            raise ValueError(
                f"Expected a block for {stage}_{index}. Received {tuple(blocks)!r}. "
                "Try: one that is for all other places beside them, as in --block=RegionNonLocal"
            )
        used.add(targets[0])
        found.setdefault(stage, {})[index] = makers[targets[0]]
    unused = [text for text, target in zip(blocks, makers, strict=True) if target not in used]
    if found and unused:
        raise ValueError(
            f"Expected every --block to have a place among {','.join(places)}. Received {unused[0]!r}, which "
            f"none of them uses. Try: leaving out {quoted(f'--block={unused[0]}')}"
        )
    return found


def _places(places, depth):
    """Returns the (stage, index) pairs that `places` means."""
    if len(places) == 1 and places[0] in PLACEMENTS:
        return [(stage, i) for stage, indices in placement(places[0], depth).items() for i in indices]
    here = _places_at(depth)
    wrong = [place for place in places if place not in here or places.count(place) > 1]
    if wrong:
        published = [name for name in PLACEMENTS if depth in PLACEMENTS[name]] or ["those of other depths"]
        meant = [place if place in here else _nearest_place(place, here) for place in places]
        remedy = nearest(wrong[0], published) if len(places) == 1 else None
        remedy = remedy or ",".join(dict.fromkeys(filter(None, meant))) or "res3_0,res4_0"
        raise ValueError(
            f"Expected residual blocks of --depth={depth}, {here[0]} to {here[-1]}, each once, or one "
            f"placement among {', '.join(published)}. Received {wrong[0]!r} in {','.join(places)}. "
            f"Try: --blocks={remedy}"
        )
    return [(stage, int(index)) for stage, index in (place.split("_") for place in places)]


def _places_at(depth):
    counts = zip(STAGE_NAMES, DEPTHS[depth].block_counts, strict=True)
    return [f"{stage}_{index}" for stage, count in counts for index in range(count)]


def _nearest_place(place, here):
    """Returns the last block of a stage for one beyond it, and else what is spelt most alike, or None."""
    of_stage = [other for other in here if _PLACE.fullmatch(place) and other[:4] == place[:4]]
    return of_stage[-1] if of_stage else nearest(place, here)


def _described(text, depth):
    """Returns (target or None, maker) of a description, of which a layer is made on trial."""
    target, block = _DESCRIPTION.fullmatch(text.strip()).groups()
    try:
        return _tried(target, block)
    except _WRONG as error:
        remedy = f"another in view of this: {error}"
    with contextlib.suppress(*_WRONG):
        respelt = _respelt(target, block, depth)
        _tried(*_DESCRIPTION.fullmatch(respelt).groups())
        remedy = quoted(f"--block={respelt}")
    raise ValueError(
        "Expected a block such as NonLocal or res4=RegionNonLocal(kernel_size=(3, 3, 3)), one of "
        f"{', '.join(BLOCKS)}. Received {text!r}. Try: {remedy}"
    )


def _tried(target, block):
    if target is not None and not _TARGET.fullmatch(target):
        raise ValueError(f"{target} is no stage, as res3 is, and no place, as res3_0 is")
    node = ast.parse(block, mode="eval").body
    if any(keyword.arg == "name" for keyword in getattr(node, "keywords", ())):
        raise ValueError("the name comes from the place")
    _build(node, name="block")
    return target, functools.partial(_build, node)


def _respelt(target, block, depth):
    """Returns a description in which each unknown name has given way to the nearest known one."""
    name = nearest(block, BLOCKS) if block.isidentifier() else None  # As nonlocal is a word of Python's.
    tree = ast.parse(name or block, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = nearest(node.id, BLOCKS) or node.id
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BLOCKS:
            known = inspect.signature(BLOCKS[node.func.id]).parameters
            for keyword in node.keywords:
                keyword.arg = nearest(keyword.arg or "", known) or keyword.arg
    if target is not None and not _TARGET.fullmatch(target):
        target = nearest(target, [*STAGE_NAMES, *_places_at(depth)]) or target
    return f"{target}={ast.unparse(tree)}" if target else ast.unparse(tree)


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
