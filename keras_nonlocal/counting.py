"""What a model costs, layer by layer: parameters and multiply-adds, as in the papers and as executed."""

import math
from typing import NamedTuple

import keras

from keras_nonlocal.attention_chain import AttentionChain
from keras_nonlocal.costs import Cost, cost_of, released_surplus
from keras_nonlocal.frame_wise import FrameWise


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
    """Count the parameters and multiply-adds of a model, layer by layer, for one clip or image.

    The layers are only asked for the shapes of their outputs: nothing is computed, and the model stays as
    it is.

    Args:
        model: a functional or a built Sequential keras.Model. Models inside it, FrameWise,
            keras.layers.TimeDistributed and AttentionChain are counted by the layers that they hold.
        input_shape: shape of the input without the batch, or a structure of shapes as the model's
            inputs have it; all sides known. None means the model's own.

    Returns:
        A `Count`. Weights that are used twice count in the first row. A layer that is unknown here has a
        row with its parameters alone, and its name is in `uncounted`.

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
    calls, seen, rows = [], set(), []
    _follow(model, "", calls, _inputs(model, input_shape))
    for name, layer, x, y in calls:
        cost = cost_of(layer, x, y)
        weights = [w for w in getattr(layer, "trainable_weights", ()) if id(w) not in seen]
        seen.update(map(id, weights))
        parameters = sum(math.prod(w.shape) for w in weights)
        released = parameters + (released_surplus(layer) if weights else 0)
        full = (cost or Cost())._replace(parameters=parameters, released_parameters=released)
        rows.append(Row(name, type(layer).__name__, y, full, cost is not None))
    return Count(tuple(rows), sum((row.cost for row in rows), Cost()))


def format_count(counted):
    """Return a `Count` as a text: a line for each layer that costs something, then the sums by convention."""
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
    if total.released_parameters != total.parameters:
        yield f"           {total.released_parameters:>15,}    as the authors' code has them, kernel and mask"
    for convention, figure, meaning in (
        ("MAC", total.macs, "convolutions and fully connected layers"),
        ("products", total.products, "of attention, in the paper's order"),
        ("executed", total.executed, "all together, as this library does it"),
        ("thop A", total.thop_a, "FLOPs of the BAT paper's images: no F_theta, no products"),
        ("thop B", total.thop_b, "FLOPs of the RNL paper: no F_theta, no products"),
        ("thop C", total.thop_c, "FLOPs of the BAT paper's videos: no F_theta, no products"),
    ):
        yield f"{convention:<10} {figure / 1e9:>15,.4f} G  {meaning}"
    if counted.uncounted:
        yield f"not in the sums, as unknown: {', '.join(counted.uncounted)}"


def _inputs(model, input_shape):
    """Return symbolic inputs for a batch of one, in a flat list."""
    if not _has_graph(model):
        raise ValueError(
            "count: Expected a functional or a built Sequential model, whose layers can be walked. "
            f"Received {model!r}. Try keras.Model(x, model.call(x)) with x = keras.Input(...)."
        )
    own = [tuple(x.shape[1:]) for x in model.inputs]
    shapes = own
    if input_shape is not None:
        shapes = []
        keras.tree.map_shape_structure(lambda shape: shapes.append(tuple(shape)), input_shape)
    if len(shapes) != len(own) or any(None in shape for shape in shapes):
        raise ValueError(
            f"count: Expected a shape without unknown sides for each input of {own}. "
            f"Received input_shape={input_shape!r}. Try count(model, (8, 224, 224, 3)), without the batch."
        )
    return [keras.KerasTensor((1, *s), x.dtype) for s, x in zip(shapes, model.inputs, strict=True)]


def _has_graph(layer):
    return isinstance(layer, keras.Model) and hasattr(layer, "outputs")


def _follow(layer, name, calls, *args, **kwargs):
    """Append (name, layer, input shape, output shape) of each call of a layer; return the outputs."""
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
        calls.append((name, layer, x.shape, y.shape))
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
