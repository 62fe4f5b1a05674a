"""Finds a block in a model, and the map that it sees of a clip."""

import keras
import numpy as np
from keras import ops

from keras_nonlocal.arguments import closest
from keras_nonlocal.attention_chain import AttentionChain
from keras_nonlocal.bilinear_transform import BilinearAttentionTransform
from keras_nonlocal.compact_generalized import CompactGeneralizedNonLocal
from keras_nonlocal.conv_block_attention import ConvBlockAttention
from keras_nonlocal.frame_wise import FrameWise
from keras_nonlocal.global_context import GlobalContext
from keras_nonlocal.non_local import NonLocal
from keras_nonlocal.positions import fold_frames
from keras_nonlocal.region_non_local import RegionNonLocal
from keras_nonlocal.squeeze_excite import SqueezeExcite

# What shows a block of each kind.
SHOWN_BY = {
    NonLocal: "attention_rows",
    RegionNonLocal: "attention_rows",
    CompactGeneralizedNonLocal: "element_rows",
    BilinearAttentionTransform: "bilinear_matrices or bilinear_maps",
    SqueezeExcite: "gates",
    GlobalContext: "gates",
    ConvBlockAttention: "gates",
}


def blocks_of(model):
    """Returns the attention blocks of a model, {name: layer}, in the order of the data.

    A block inside an `AttentionChain`, a `FrameWise` or a model has the name of that before its own, as in
    "res3_0_block/region".

    Raises:
        ValueError: The model is no graph of layers.

    Example:
        >>> from keras_nonlocal import AttentionChain, VideoResNet
        >>> model = VideoResNet(18, blocks={"res3": (0,)}, make_block=AttentionChain, num_classes=2)
        >>> {name: type(layer).__name__ for name, layer in blocks_of(model).items()}
        {'res3_0_block/channel': 'SqueezeExcite', 'res3_0_block/region': 'RegionNonLocal'}
    """
    return {name: way[-1] for name, way in _ways(model).items() if isinstance(way[-1], tuple(SHOWN_BY))}


def block_input(model, clip, block):
    """Returns the map that a block, or any other layer, sees of a clip: [1, T', H', W', C], a tensor.

    Args:
        model: A functional keras.Model of one input, or a keras.Sequential that is built.
        clip: [T, H, W, C], or an image [H, W, C]; a batch of one may stand before it.
        block: A name of `blocks_of`, or of any other layer.

    Cost:
        That of the layers before the block. In a `FrameWise` the frames stand in the place of the batch.

    Raises:
        ValueError: The model is no graph of layers or has several inputs; the clip is not one that it takes,
            or has values that are no numbers; there is no such layer, or it is called several times.
    """
    return _follow(_way(model, block), checked_clip(model, clip))


def call_of(model, clip, block, kinds, asked):
    """Returns a block, which must be of one of `kinds`, and its `block_input`."""
    layer = _way(model, block)[-1]
    if not isinstance(layer, kinds):
        names = [name for name, other in blocks_of(model).items() if isinstance(other, kinds)]
        inner = [name for name in names if name.startswith(f"{block}/")]
        remedy = repr((inner or names)[0]) if inner or names else "grad_cam, which shows any map"
        if type(layer) in SHOWN_BY:
            remedy = f"{SHOWN_BY[type(layer)]} for this block" + (f", or {remedy}" if names else "")
        raise ValueError(
            f"{asked}: Expected the name of a {' or '.join(kind.__name__ for kind in kinds)}. "
            f"Received {block!r}, which is of the class {type(layer).__name__}. Try: {remedy}."
        )
    return layer, block_input(model, clip, block)


def checked_clip(model, clip):
    """Returns a clip as a batch of one, after every check."""
    graph = graph_of(model)
    if len(graph.inputs) != 1:
        raise ValueError(
            f"explain: Expected a model of one input, which takes the clip. Received {model.name} of "
            f"{len(graph.inputs)}. Try: a model around the part of one input."
        )
    expected, clip = graph.inputs[0].shape, np.asarray(clip)
    batch = clip[None] if clip.ndim == len(expected) - 1 else clip
    fits = batch.ndim == len(expected) and batch.shape[0] == 1
    fits = fits and all(b in (None, a) for a, b in zip(batch.shape[1:], expected[1:], strict=True))
    if not fits or 0 in batch.shape or batch.dtype.kind not in "iuf" or not np.isfinite(batch).all():
        fault = "" if not fits or 0 in batch.shape else " with values that are no finite numbers"
        raise ValueError(
            f"explain: Expected one clip of finite numbers, of shape {tuple(expected[1:])}. "
            f"Received shape {clip.shape} of {clip.dtype}{fault}. "
            "Try: one clip of a batch, such as clips[0], with the sides of the model's input."
        )
    return ops.convert_to_tensor(batch.astype("float32"), graph.inputs[0].dtype)


def graph_of(model):
    """Returns the graph of a model's layers."""
    if isinstance(model, keras.Model) and _is_graph(model):
        return keras.Model(model.inputs, model.outputs, name=model.name)
    raise ValueError(
        "explain: Expected a functional keras.Model or a built keras.Sequential, whose layers form a graph. "
        f"Received {model!r}. Try: keras.Model(inputs, outputs), or build(input_shape) of a keras.Sequential."
    )


def call_in(graph, layer):
    """Returns the one node of a graph in which it calls a layer."""
    nodes = [node for depth in graph._nodes_by_depth.values() for node in depth if node.operation is layer]
    if len(nodes) != 1:
        raise ValueError(
            f"explain: Expected a layer that is called once. Received {layer.name!r}, which {graph.name} "
            f"calls {len(nodes)} times. Try: a layer before or after it."
        )
    return nodes[0]  # Keras has no public way from a layer to its call in one of several models.


def _is_graph(layer):
    return isinstance(layer, keras.Function) or (isinstance(layer, keras.Sequential) and layer.built)


def _held(layer):
    """Returns the layers that a layer applies."""
    if _is_graph(layer):
        return layer.layers
    if isinstance(layer, AttentionChain):
        return [layer.channel, layer.region]
    return [layer.layer] if isinstance(layer, FrameWise) else []


def _ways(model):
    """Returns {name: [model, ..., layer]} of all layers of a model, each behind those that hold it."""
    graph_of(model)
    ways = {}

    def collect(way, prefix):
        for layer in _held(way[-1]):
            ways[f"{prefix}{layer.name}"] = [*way, layer]
            collect([*way, layer], f"{prefix}{layer.name}/")

    collect([model], "")
    return ways


def _way(model, block):
    ways = _ways(model)
    if block not in ways:
        names = list(blocks_of(model)) or list(ways)
        inner = [repr(name) for name in ways if name.endswith(f"/{block}")]
        remedy = inner[0] if inner else closest(block, names) or closest(block, list(ways))
        raise ValueError(
            f"explain: Expected a layer of {model.name}. Received {block!r}. Try: {remedy or repr(names[0])}."
        )
    return ways[block]


def _follow(way, x):
    """Returns what the last layer of a way sees of x, which the first one gets."""
    if len(way) == 1:
        return x
    holder, layer = way[:2]
    if isinstance(holder, AttentionChain):
        x = holder.channel(x, training=False) if layer is holder.region else x
    elif isinstance(holder, FrameWise):
        x = fold_frames(x) if len(x.shape) == 5 else x
    else:
        graph = graph_of(holder)
        x = keras.Model(graph.inputs, call_in(graph, layer).input_tensors[0])([x], training=False)
    return _follow(way[1:], x)
