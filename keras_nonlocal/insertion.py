"""Inserts blocks into any functional Keras model."""

import keras

from keras_nonlocal.arguments import closest

_GRAPHS = (keras.Function, keras.Sequential)


def insert_blocks(model, after):
    """Returns a copy of a functional model with blocks after some of its layers.

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
        are not a layer's own weights, such as an optimizer's or a seed generator's, start anew.

    Raises:
        ValueError: a model that is no graph of layers; a layer that is not in it, that lies in a
            model inside it, that it calls more than once, or that has several outputs; a block that
            is no layer, changes the shape, comes twice or has a name that the model has already; a
            layer that Keras cannot make again from its configuration, such as a Lambda.

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
    for layer, copy in reversed(copies.values()):  # a model comes before its layers, whose flags it sets
        _copy_state(layer, copy)
    return new


def _graph(model):
    """Returns the model's graph of layers, without an optimizer or a loss."""
    if isinstance(model, keras.Model) and isinstance(model, keras.Function):
        return keras.Model(model.input, model.output, name=model.name)
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    raise ValueError(
        "insert_blocks: Expected a functional keras.Model or a built keras.Sequential, whose layers form a "
        f"graph. Received {model!r}. Try: keras.Model(inputs, outputs), or build(input_shape) of a "
        "keras.Sequential."
    )


def _new_inputs(graph):
    """Returns new inputs with the graph's names; None for a keras.Sequential, which makes its own."""
    if isinstance(graph, keras.Sequential):
        return None
    inputs = [layer for layer in graph.layers if isinstance(layer, keras.layers.InputLayer)]
    new = {id(layer.output): layer.from_config(layer.get_config()).output for layer in inputs}
    return keras.tree.map_structure(lambda x: new[id(x)], graph.input)


def _named_blocks(graph, after):
    """Returns {name of a layer: block layer} after every check that needs no call of a block."""
    names = {operation.name for operation in graph.operations}
    blocks = {}
    for place, make in after.items():
        _check_name(graph, place)
        if not callable(make):
            raise ValueError(
                f"insert_blocks: Expected a layer class, a callable or a layer after {place!r}. "
                f"Received {make!r}. Try: NonLocal."
            )
        block = make if isinstance(make, keras.layers.Layer) else make(name=f"{place}_block")
        if not isinstance(block, keras.layers.Layer):
            raise ValueError(
                f"insert_blocks: Expected {make!r} to make a keras.layers.Layer. Received {block!r}. "
                "Try: a layer class such as NonLocal."
            )
        if block.name in names:
            raise ValueError(
                f"insert_blocks: Expected blocks with names of their own. Received {block.name!r} after "
                f"{place!r}, a name that is taken. Try: one layer for each place, made with another `name`."
            )
        names.add(block.name)
        blocks[place] = block
    return blocks


def _check_name(graph, name):
    names = [layer.name for layer in graph.layers if not isinstance(layer, keras.layers.InputLayer)]
    if name in names:
        return
    owners = [layer.name for layer in graph.layers if isinstance(layer, _GRAPHS) and _holds(layer, name)]
    remedy = closest(name, names) or "a name that model.summary() shows"
    if owners:
        remedy = f"model.get_layer({owners[0]!r}), which holds it, and a new model around the result"
    raise ValueError(
        f"insert_blocks: Expected a layer of {graph.name} that is not an input. Received {name!r}. "
        f"Try: {remedy}."
    )


def _holds(model, name):
    return any(
        layer.name == name or (isinstance(layer, _GRAPHS) and _holds(layer, name)) for layer in model.layers
    )


def _with_block(block, layer, y, again):
    """Returns the block's output for the output `y` of a layer."""
    if again or not isinstance(y, keras.KerasTensor):
        raise ValueError(
            "insert_blocks: Expected a layer that is called once and returns one tensor. Received "
            f"{layer.name!r}, {'called again' if again else 'which returns several'}. "
            "Try: a layer before or after it."
        )
    z = block(y)
    if not isinstance(z, keras.KerasTensor) or not _may_be_equal(z.shape, y.shape):
        raise ValueError(
            f"insert_blocks: Expected {block.name} to keep the shape {y.shape}. "
            f"Received {getattr(z, 'shape', z)}. Try: a block that returns as many channels as it takes."
        )
    return z


def _may_be_equal(shape, other):
    """Returns whether two shapes agree in every side that both know."""
    return len(shape) == len(other) and all(
        a == b or None in (a, b) for a, b in zip(shape, other, strict=True)
    )


def _copy_state(layer, copy):
    """Copies what the configuration does not hold: weights and the trainable flag."""
    if not isinstance(layer, keras.layers.Layer):
        return  # an operation such as keras.ops.add
    if copy.trainable != layer.trainable:
        copy.trainable = layer.trainable
    if not isinstance(layer, _GRAPHS):
        copy.set_weights(layer.get_weights())
    if isinstance(layer, keras.layers.Normalization):
        copy.finalize_state()  # its mean and variance are made from its weights
