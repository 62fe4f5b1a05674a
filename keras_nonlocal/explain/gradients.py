"""Grad-CAM: the maps that speak for a class, by the gradient of its score."""

from functools import partial

import keras
import numpy as np
from keras import ops

from keras_nonlocal.arguments import closest
from keras_nonlocal.explain.finding import call_in, checked_clip, graph_of


def grad_cam(model, clip, class_index, layer=None):
    """Returns how much each position of a layer's map speaks for a class.

    Selvaraju et al., "Grad-CAM", ICCV 2017, equations 1 and 2, with the frames among the positions j:

        L_i = ReLU(sum_c alpha_c A_ic),  alpha_c = mean_j d score / d A_jc

    The score is that before a softmax or sigmoid at the end of the model.

    Args:
        model: A functional keras.Model of one input with an output [B, K], or a built keras.Sequential.
        clip: [T, H, W, C], normalised as for the model, or an image [H, W, C].
        class_index: The class, from 0 to K - 1.
        layer: The name of a layer with a map [B, T', H', W', D] or [B, H', W', D]; None means the last one.

    Returns:
        float32 [T', H', W'] or [H', W'], at least 0, not scaled. `upsample` brings it to the input's size.

    Cost:
        The model, and the gradient of the layers behind the map.

    Raises:
        ValueError: As `block_input`; there is no such class, layer or map.
        NotImplementedError: The Keras backend is none of TensorFlow, JAX and torch.
    """
    graph, clip = graph_of(model), checked_clip(model, clip)
    layer = _map_layer(graph, layer)
    map_tensor = call_in(graph, layer).outputs[0]
    _check_class(graph, class_index)
    scores, finish = _before_activation(graph)
    values = _run(graph, {id(graph.inputs[0]): clip})
    a = values[id(map_tensor)]
    behind = _depend_on(graph, map_tensor)
    values = {key: value for key, value in values.items() if key not in behind}
    if id(scores) in values:
        raise ValueError(
            f"grad_cam: Expected a map that the scores depend on. Received that of {layer.name!r}. "
            "Try: layer=None, the last map."
        )

    def score(a):
        found = _run(graph, values | {id(map_tensor): a})[id(scores)]
        return ops.sum(ops.cast(finish(found), "float32")[:, class_index])

    gradient = ops.convert_to_numpy(ops.cast(_gradient(score, a), "float32"))[0]
    a = ops.convert_to_numpy(ops.cast(a, "float32"))[0]
    alpha = gradient.mean(axis=tuple(range(gradient.ndim - 1)))  # [D]
    return np.maximum(a @ alpha, 0)


def _map_layer(graph, name):
    rank = len(graph.inputs[0].shape)
    maps = {x.name: x for x in graph.layers if not isinstance(x, keras.layers.InputLayer)}
    maps = {key: x for key, x in maps.items() if len(getattr(x.output, "shape", ())) == rank >= 4}
    if name is None and maps:
        return list(maps.values())[-1]
    if name not in maps:
        raise ValueError(
            f"grad_cam: Expected a layer of {graph.name} whose output is a map. Received {name!r}. "
            f"Try: {closest(name, maps) or 'layer=None, the last map, of a model with one'}."
        )
    return maps[name]


def _check_class(graph, class_index):
    shape = graph.outputs[0].shape
    if len(graph.outputs) != 1 or len(shape) != 2:
        raise ValueError(
            f"grad_cam: Expected a model with one score for each class, [B, K]. Received {graph.name} with "
            f"{[tuple(x.shape) for x in graph.outputs]}. Try: include_top=True."
        )
    is_int = isinstance(class_index, int | np.integer) and not isinstance(class_index, bool)
    if not is_int or not 0 <= class_index < shape[1]:
        raise ValueError(
            f"grad_cam: Expected a class from 0 to {shape[1] - 1}. Received {class_index!r}. "
            "Try: int(np.argmax(scores)), the likeliest class."
        )


def _before_activation(graph):
    """Returns the tensor that makes the scores, and how: the last activation is left out."""
    last = graph.outputs[0]._keras_history.operation
    x = call_in(graph, last).input_tensors[0]
    if isinstance(last, keras.layers.Softmax | keras.layers.Activation):
        return x, lambda y: y
    if isinstance(last, keras.layers.Dense) and last.activation is not keras.activations.linear:

        def finish(y):
            y = ops.matmul(y, last.kernel)
            return y + last.bias if last.use_bias else y

        return x, finish
    return graph.outputs[0], lambda y: y


def _nodes(graph):
    """Yields the calls of a graph in the order of the data, but for its inputs."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        yield from (node for node in graph._nodes_by_depth[depth] if not node.is_input)


def _run(graph, values):
    """Returns {id of a symbolic tensor: tensor} of a whole graph; what is in `values` is not computed again.

    A keras.Model from a map to the scores would do it, but to make one changes the layers' own graph, and the
    model cannot be saved any more.
    """
    values = dict(values)
    for node in _nodes(graph):
        if any(id(y) not in values for y in node.outputs):
            given = node.arguments.args, node.arguments.kwargs
            args, kwargs = keras.tree.map_structure(partial(_value, values), given)
            found = keras.tree.flatten(node.operation(*args, **kwargs))
            values.update(zip(map(id, node.outputs), found, strict=True))
    return values


def _value(values, x):
    return values[id(x)] if isinstance(x, keras.KerasTensor) else x


def _depend_on(graph, tensor):
    """Returns the ids of a symbolic tensor and of all that are computed from it."""
    found = {id(tensor)}
    for node in _nodes(graph):
        if any(id(x) in found for x in node.input_tensors):
            found |= {id(y) for y in node.outputs}
    return found


def _gradient(function, x):
    """Returns the gradient of a scalar function at x."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)
    if backend == "jax":
        import jax

        return jax.grad(function)(x)
    if backend == "torch":
        import torch

        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(function(x), x)[0]
    raise NotImplementedError(
        f"grad_cam: Expected a backend that differentiates. Received {backend!r}. "
        "Try: KERAS_BACKEND=tensorflow, jax or torch."
    )
