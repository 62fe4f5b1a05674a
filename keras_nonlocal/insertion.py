"""Where blocks go: the papers' places, blocks described in text, and blocks for any functional model."""

import ast
import difflib
import functools
import re

import keras

from keras_nonlocal.attention_chain import AttentionChain
from keras_nonlocal.bilinear_transform import BilinearAttentionTransform
from keras_nonlocal.compact_generalized import CompactGeneralizedNonLocal
from keras_nonlocal.conv_block_attention import ConvBlockAttention
from keras_nonlocal.global_context import GlobalContext
from keras_nonlocal.non_local import NonLocal
from keras_nonlocal.region_non_local import RegionNonLocal
from keras_nonlocal.squeeze_excite import SqueezeExcite

# Name -> depth -> stage -> 0-based residual blocks after which a block stands.
PLACEMENTS = {
    # Every other residual block of res3 and res4: Wang et al. 2018, section 4.1. Depths 50 and 101 as in
    # its code and in that of BAT (Chi et al. 2020), which has 152 too.
    "nl5": {
        50: {"res3": (1, 3), "res4": (1, 3, 5)},
        101: {"res3": (1, 3), "res4": (6, 13, 20)},
        152: {"res3": (3, 7), "res4": (11, 23, 35)},
    },
    # TSM's code for its NL-5 (Lin et al. 2019), and RNL-5 and [SE+RNL]-5 after it (Huang and Bors 2020).
    "tsm_nl5": {50: {"res3": (0, 2), "res4": (0, 2, 4)}},
    # Every residual block of res3 and res4: Wang et al. 2018, section 4.1.
    "nl10": {50: {"res3": (0, 1, 2, 3), "res4": (0, 1, 2, 3, 4, 5)}},
    # Before the last residual block of res4: Wang et al. 2018, table 2a; CGNL's code (Yue et al. 2018).
    "nl1": {50: {"res4": (4,)}, 101: {"res4": (21,)}, 152: {"res4": (34,)}},
    # Before the last residual block of each stage: Wang et al. 2018, table 2b.
    "nl1_res2": {50: {"res2": (1,)}},
    "nl1_res3": {50: {"res3": (2,)}},
    "nl1_res4": {50: {"res4": (4,)}},
    "nl1_res5": {50: {"res5": (1,)}},
    # layer2.1 and layer3.1 of BAT's image code.
    "bat_resnet18": {18: {"res3": (1,), "res4": (1,)}},
}

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

_PLACE = re.compile(r"(res[2-5])_(0|[1-9]\d*)")
_TARGET = re.compile(r"res[2-5](_(0|[1-9]\d*))?")
_DESCRIPTION = re.compile(r"(?:(\w+)\s*=)?\s*(.*)", re.DOTALL)
_GRAPHS = (keras.Function, keras.Sequential)


def placement(name, depth):
    """Return where a paper puts its blocks.

    Args:
        name: of `PLACEMENTS`.
        depth: of the ResNet.

    Returns:
        {"res3": (1, 3), ...}: stage -> 0-based residual blocks after which a block stands.

    Raises:
        ValueError: an unknown name, or a depth for which no paper and no code says where.

    Example:
        >>> placement("nl5", 101)
        {'res3': (1, 3), 'res4': (6, 13, 20)}
    """
    if name not in PLACEMENTS:
        raise ValueError(
            f"Expected a placement among {', '.join(PLACEMENTS)}. Received {name!r}. "
            f"Try {_closest(name, PLACEMENTS) or repr('nl5')}, or the places themselves."
        )
    if depth not in PLACEMENTS[name]:
        depths = tuple(PLACEMENTS[name])
        raise ValueError(
            f"Expected a depth for which placement {name!r} is published, {' or '.join(map(str, depths))}. "
            f"Received {depth!r}. Try depth={depths[0]}, or the places themselves."
        )
    return dict(PLACEMENTS[name][depth])


def blocks_from_text(places, blocks, depth):
    """Return blocks that were described in text as `VideoResNet` takes them.

    A block is a name of `BLOCKS`, with keyword arguments in brackets where they are not the
    defaults: Python literals, or blocks again, which are named as their argument unless `name` is
    given. "res4=..." describes the blocks of a stage and "res4_0=..." that of a place; the more
    specific description wins.

    Args:
        places: strings: residual blocks, 0-based, such as ("res3_0", "res3_2"), or a single name
            of `PLACEMENTS`.
        blocks: strings, such as ("NonLocal(scaled=True)", "res4=RegionNonLocal").
        depth: of the ResNet; a placement differs between depths.

    Returns:
        {"res3": {0: make, 2: make}, ...}; make(name="res3_0_block") builds new layers each time.
        {} where there are no places.

    Raises:
        ValueError: text that is no such place or block, arguments that a block refuses, the same
            place twice, two descriptions for the same, one that no place uses, a place without
            one; what `placement` raises.

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
                f"Received {text!r} as a second one. Try one of them, or a place such as res3_0=..."
            )
        makers[target] = maker
    used, found = set(), {}
    for stage, index in _places(places, depth):
        targets = [t for t in (f"{stage}_{index}", stage, None) if t in makers]
        if not targets:
            raise ValueError(
                f"Expected a block for {stage}_{index} in `blocks`. Received {tuple(blocks)!r}. "
                "Try a block without a target, such as 'RegionNonLocal', which is for all others."
            )
        used.add(targets[0])
        found.setdefault(stage, {})[index] = makers[targets[0]]
    unused = [target or "all others" for target in makers if target not in used]
    if found and unused:
        raise ValueError(
            f"Expected every block of `blocks` to have a place. Received one for {' and for '.join(unused)}, "
            f"which none of the places {tuple(places)!r} uses. Try leaving it out."
        )
    return found


def insert_blocks(model, after):
    """Return a copy of a functional model with blocks after some of its layers.

    Every layer of the copy has the weights, the name, the dtype policy and the trainable flag of
    the original one; the model is left as it was and shares nothing with its copy. The copy as a
    whole is trainable, so that blocks in a frozen model learn, and it is not compiled.

    Args:
        model: a functional keras.Model, or a keras.Sequential that is built.
        after: {name of a layer: block}; a block is a layer class or any callable, called as
            make(name="<name of the layer>_block"), or a layer, which is used itself. It keeps the
            shape that it is given; its dtype policy is its own.

    Returns:
        A functional keras.Model with the inputs and outputs of the original one. Variables that
        are not a layer's own weights, as an optimizer's or the state of a seed, start anew.

    Raises:
        ValueError: a model that is no graph of layers; a layer that is not in it, that lies in a
            model inside it, that it calls more than once, or that has several outputs; a block that
            is no layer, changes the shape, comes twice or has a name that the model has already; what
            Keras raises for a layer that its configuration cannot make again, such as a Lambda.

    Example:
        >>> import keras
        >>> from keras_nonlocal import NonLocal, insert_blocks
        >>> images = keras.Input((32, 32, 3))
        >>> maps = keras.layers.Conv2D(8, 3, strides=2, name="conv")(images)
        >>> logits = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(maps))
        >>> model = insert_blocks(keras.Model(images, logits), after={"conv": NonLocal})
        >>> model.get_layer("conv_block").output.shape
        (None, 15, 15, 8)
    """
    graph = _graph(model)
    blocks = _named_blocks(graph, after)
    copies, placed = {}, set()

    def clone(layer):
        if id(layer) not in copies:
            if isinstance(layer, _GRAPHS):
                copy = keras.models.clone_model(layer, _new_inputs(layer), clone)
            else:
                copy = layer.from_config(layer.get_config())
            copies[id(layer)] = (layer, copy)
        return copies[id(layer)][1]

    def call(layer, *args, **kwargs):
        y = layer(*args, **kwargs)
        if layer.name not in blocks:
            return y
        z = _with_block(blocks[layer.name], layer, y, again=layer.name in placed)
        placed.add(layer.name)
        return z

    new = keras.models.clone_model(graph, _new_inputs(graph), clone, call)
    for layer, copy in reversed(copies.values()):  # models before their layers, whose flags they set
        _copy_state(layer, copy)
    return new


def _places(places, depth):
    """The (stage, index) pairs that `places` means."""
    if len(places) == 1 and not _PLACE.fullmatch(places[0]):
        return [(stage, i) for stage, indices in placement(places[0], depth).items() for i in indices]
    wrong = [place for place in places if not _PLACE.fullmatch(place) or places.count(place) > 1]
    if wrong:
        raise ValueError(
            "Expected `places` to be residual blocks, each once, or one placement among "
            f"{', '.join(PLACEMENTS)}. Received {wrong[0]!r} in {tuple(places)!r}. Try res3_0, res3_2."
        )
    return [(match[1], int(match[2])) for match in map(_PLACE.fullmatch, places)]


def _described(text):
    """Return (target or None, maker) of a description, made once on trial: what a layer refuses comes out."""
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
            f"{', '.join(BLOCKS)}. Received {text!r}. Try another in view of this: {error}"
        ) from None
    return target, functools.partial(_build, node)


def _build(node, name):
    """Build the layer that a syntax tree describes; nothing but `BLOCKS` can be called."""
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


def _graph(model):
    """Return the model as a graph of layers that carries nothing else, such as an optimizer."""
    if isinstance(model, keras.Model) and isinstance(model, keras.Function):
        return keras.Model(model.input, model.output, name=model.name)
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    raise ValueError(
        "insert_blocks: Expected a functional keras.Model or a built keras.Sequential, whose layers form a "
        f"graph. Received {model!r}. Try keras.Model(inputs, outputs); a keras.Sequential has "
        "build(input_shape)."
    )


def _new_inputs(graph):
    """Return inputs such as the graph's, which keep their names; a keras.Sequential sees to its own."""
    if isinstance(graph, keras.Sequential):
        return None
    inputs = [layer for layer in graph.layers if isinstance(layer, keras.layers.InputLayer)]
    new = {id(layer.output): layer.from_config(layer.get_config()).output for layer in inputs}
    return keras.tree.map_structure(lambda x: new[id(x)], graph.input)


def _named_blocks(graph, after):
    """Return {name of a layer: block layer} after checking all that can be known before they are called."""
    names = {operation.name for operation in graph.operations}
    blocks = {}
    for place, make in after.items():
        _check_name(graph, place)
        if not callable(make):
            raise ValueError(
                f"insert_blocks: Expected a layer class, a callable or a layer after {place!r}. "
                f"Received {make!r}. Try NonLocal."
            )
        block = make if isinstance(make, keras.layers.Layer) else make(name=f"{place}_block")
        if not isinstance(block, keras.layers.Layer):
            raise ValueError(
                f"insert_blocks: Expected {make!r} to make a keras.layers.Layer. Received {block!r}. "
                "Try a layer class such as NonLocal."
            )
        if block.name in names:
            raise ValueError(
                f"insert_blocks: Expected blocks with names of their own. Received {block.name!r} after "
                f"{place!r}, a name that is taken. Try one layer for each place, made with another `name`."
            )
        names.add(block.name)
        blocks[place] = block
    return blocks


def _check_name(graph, name):
    names = [layer.name for layer in graph.layers if not isinstance(layer, keras.layers.InputLayer)]
    if name in names:
        return
    owners = [layer.name for layer in graph.layers if isinstance(layer, _GRAPHS) and _holds(layer, name)]
    remedy = _closest(name, names) or "a name that model.summary() shows"
    if owners:
        remedy = f"model.get_layer({owners[0]!r}), which holds it, and a new model around what that gives"
    raise ValueError(
        f"insert_blocks: Expected a layer of {graph.name} that is not an input. Received {name!r}. "
        f"Try {remedy}."
    )


def _holds(model, name):
    return any(
        layer.name == name or (isinstance(layer, _GRAPHS) and _holds(layer, name)) for layer in model.layers
    )


def _with_block(block, layer, y, again):
    """Return what the block makes of the layer's output."""
    if again or not isinstance(y, keras.KerasTensor):
        raise ValueError(
            "insert_blocks: Expected a layer that is called once and returns one tensor. Received "
            f"{layer.name!r}, {'called again' if again else 'which returns several'}. "
            "Try a layer before or after it."
        )
    z = block(y)
    if not isinstance(z, keras.KerasTensor) or not _may_be_equal(z.shape, y.shape):
        raise ValueError(
            f"insert_blocks: Expected {block.name} to keep the shape {y.shape}. "
            f"Received {getattr(z, 'shape', z)}. Try a block that returns as many channels as it takes."
        )
    return z


def _may_be_equal(shape, other):
    """A size that only one of two shapes knows is no difference."""
    return len(shape) == len(other) and all(
        a == b or None in (a, b) for a, b in zip(shape, other, strict=True)
    )


def _copy_state(layer, copy):
    """Give the copy what its configuration does not tell."""
    if not isinstance(layer, keras.layers.Layer):
        return  # an operation such as keras.ops.add
    if copy.trainable != layer.trainable:
        copy.trainable = layer.trainable
    if not isinstance(layer, _GRAPHS):
        copy.set_weights(layer.get_weights())
    if isinstance(layer, keras.layers.Normalization):
        copy.finalize_state()  # it computes with what it made of its weights when they were adapted


def _closest(name, names):
    return " or ".join(map(repr, difflib.get_close_matches(str(name), names)))
