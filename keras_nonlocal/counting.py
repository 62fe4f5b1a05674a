"""What a model costs, layer by layer: parameters and multiply-adds, by the equations and as executed."""

import math
from typing import NamedTuple

import keras

from keras_nonlocal.attention_chain import AttentionChain
from keras_nonlocal.costs import Cost, cost_of
from keras_nonlocal.frame_wise import FrameWise


class Call(NamedTuple):
    """One call of a layer: its name in the model, the layer, and the shapes of its first input and output."""

    name: str
    layer: keras.Operation
    input_shape: tuple
    output_shape: tuple


class Row(NamedTuple):
    """One call of a layer: its name, class and output shape, what it costs, and whether that is known."""

    name: str
    kind: str
    output_shape: tuple
    cost: Cost
    counted: bool


class Count(NamedTuple):
    """The calls of a model's layers in the order of the data, and the sum of their costs."""

    rows: tuple
    total: Cost

    @property
    def uncounted(self):
        """Names of the layers whose multiply-adds are missing from the sum, as they are unknown here."""
        return tuple(row.name for row in self.rows if not row.counted)


def count(model, input_shape=None):
    """Counts the parameters and multiply-adds of a model, layer by layer, for one clip or image.

    The layers are only asked for the shapes of their outputs: nothing is computed, and the model stays as
    it is.

    Args:
        model: a functional or a built Sequential keras.Model. Models inside it, FrameWise,
            keras.layers.TimeDistributed and AttentionChain are counted by the layers that they hold.
        input_shape: shape of the input without the batch, or a structure of shapes as the model's
            inputs have it; all sides known. None means the model's own.

    Returns:
        A `Count`. Weights that are used twice count in the first row. The row of a layer that is unknown
        here has its parameters alone, and its name is in `uncounted`.

    Raises:
        ValueError: a model whose layers cannot be walked, an unknown side, a wrong number of shapes.

    Example:
        >>> import keras
        >>> from keras_nonlocal import NonLocal
        >>> clips = keras.Input((8, None, None, 512))
        >>> total = count(keras.Model(clips, NonLocal()(clips)), (8, 28, 28, 512)).total
        >>> total.parameters, total.macs, total.products
        (526592, 3288334336, 5035261952)
    """
    seen, rows = set(), []
    for name, layer, x, y in calls_of(model, input_shape):
        cost = cost_of(layer, x, y)
        weights = [w for w in getattr(layer, "trainable_weights", ()) if id(w) not in seen]
        seen.update(map(id, weights))
        full = (cost or Cost())._replace(parameters=sum(math.prod(w.shape) for w in weights))
        rows.append(Row(name, type(layer).__name__, y, full, cost is not None))
    return Count(tuple(rows), sum((row.cost for row in rows), Cost()))


def calls_of(model, input_shape=None):
    """Returns the calls of a model's layers for one clip or image, to count them by a rule of one's own.

    Args:
        model: as for `count`.
        input_shape: as for `count`.

    Returns:
        A tuple of `Call`, in the order of the data. Their shapes have the batch, which is 1 at the input;
        where a layer runs on each frame, the frames are in it.

    Raises:
        ValueError: as `count` does.

    Example:
        >>> import keras
        >>> x = keras.Input((None, None, 3))
        >>> model = keras.Model(x, keras.layers.Conv2D(8, 3, strides=2)(x))
        >>> [(call.layer.kernel_size, call.output_shape) for call in calls_of(model, (33, 33, 3))]
        [((3, 3), (1, 16, 16, 8))]
    """
    calls = []
    _follow(model, "", calls, _inputs(model, input_shape))
    return tuple(calls)


def format_count(counted):
    """Returns a `Count` as a text: a line for each layer that costs something, then the sums."""
    table = [("layer", "kind", "output", "parameters", "MAC M", "products M", "executed M")]
    for name, kind, shape, cost, known in counted.rows:
        if known and not cost.parameters + cost.macs + cost.products:
            continue
        sides = "x".join(map(str, shape[1:] if shape[0] == 1 else shape))
        figures = cost.macs, cost.products, cost.executed
        millions = (f"{figure / 1e6:,.3f}" if known else "?" for figure in figures)
        table.append((name, kind, sides, f"{cost.parameters:,}", *millions))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = zip(row, "<<<>>>>", widths, strict=True)
        lines.append("  ".join(f"{cell:{side}{width}}" for cell, side, width in cells).rstrip())
    return "\n".join([*lines, "", *_sums(counted)])


def _sums(counted):
    total = counted.total
    yield f"parameters {total.parameters:>15,}    that train"
    for name, figure, meaning in (
        ("MAC", total.macs, "convolutions and fully connected layers"),
        ("products", total.products, "of attention, in the paper's order"),
        ("executed", total.executed, "all together, as this library does it"),
    ):
        yield f"{name:<10} {figure / 1e9:>15,.4f} G  {meaning}"
    if counted.uncounted:
        yield f"not in the sums, as unknown: {', '.join(counted.uncounted)}"


def _inputs(model, input_shape):
    """Returns symbolic inputs for a batch of one, in a flat list."""
    if not _has_graph(model):
        raise ValueError(
            "count: Expected a functional or a built Sequential model, whose layers can be walked. "
            f"Received {model!r}. Try: keras.Model(x, model.call(x)) with x = keras.Input(...)."
        )
    own = [tuple(x.shape[1:]) for x in model.inputs]
    shapes = own
    if input_shape is not None:
        shapes = []
        keras.tree.map_shape_structure(lambda shape: shapes.append(tuple(shape)), input_shape)
    if len(shapes) != len(own) or any(None in shape for shape in shapes):
        raise ValueError(
            f"count: Expected a shape without unknown sides for each input of {own}. "
            f"Received input_shape={input_shape!r}. Try: count(model, (8, 224, 224, 3)), without the batch."
        )
    return [keras.KerasTensor((1, *s), x.dtype) for s, x in zip(shapes, model.inputs, strict=True)]


def _has_graph(layer):
    return isinstance(layer, keras.Model) and hasattr(layer, "outputs")


def _follow(layer, name, calls, *args, **kwargs):
    """Appends the `Call`s that one call of a layer consists of, and returns its outputs."""
    prefix = f"{name}/" if name else ""
    tensors = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
    if _has_graph(layer):
        return _follow_graph(layer, prefix, calls, tensors)
    outputs = layer.compute_output_spec(*args, **kwargs)
    x, y = tensors[0], keras.tree.flatten(outputs)[0]
    if isinstance(layer, AttentionChain):
        _follow(layer.channel, prefix + layer.channel.name, calls, x)
        _follow(layer.region, prefix + layer.region.name, calls, x)
    elif isinstance(layer, FrameWise | keras.layers.TimeDistributed):
        if not (isinstance(layer, FrameWise) and len(x.shape) == 4):  # an image has no frames
            x = keras.KerasTensor((x.shape[0] * x.shape[1], *x.shape[2:]), x.dtype)
        _follow(layer.layer, prefix + layer.layer.name, calls, x)
    else:
        calls.append(Call(name, layer, tuple(x.shape), tuple(y.shape)))
    return outputs


def _follow_graph(model, prefix, calls, tensors):
    def record(layer, *args, **kwargs):
        outputs = _follow(layer, prefix + layer.name, calls, *args, **kwargs)
        return _StandIn(outputs)(*args, **kwargs)

    inputs = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in tensors]
    graph = keras.Model(model.inputs, model.outputs)  # what a compiled or subclassed model adds stays out
    return keras.models.clone_model(graph, inputs, lambda layer: layer, record).outputs


class _StandIn(keras.Operation):
    """Takes the place of a layer in a copy of its graph, so that the layer itself gets no new node."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def compute_output_spec(self, *args, **kwargs):
        return keras.tree.map_structure(lambda y: keras.KerasTensor(y.shape, y.dtype), self.outputs)
