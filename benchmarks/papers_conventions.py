"""How four papers count a network: RNL and BAT by what their tool sees of the authors' code.

The tool, thop, knows modules of PyTorch. It does not see the products of attention, nor F_theta of RNL: they
are functions in the authors' code.
"""

import functools
import math
import operator
from typing import NamedTuple

from keras import layers

from keras_nonlocal import (
    BilinearAttentionTransform,
    CompactGeneralizedNonLocal,
    ConvBlockAttention,
    DepthwiseConv3D,
    GlobalContext,
    NonLocal,
    PlainResidual,
    RegionNonLocal,
    SqueezeExcite,
)
from keras_nonlocal.bilinear import matrix_sides
from keras_nonlocal.costs import CONVOLUTIONS
from keras_nonlocal.counting import calls_of, count
from keras_nonlocal.positions import window_of

AVERAGES = layers.GlobalAveragePooling1D | layers.GlobalAveragePooling2D | layers.GlobalAveragePooling3D


class Modules(NamedTuple):
    """What the tool sees of a network. Modules can be added.

    conv_macs: multiply-adds of convolutions, those of kernel size 1 included.
    bias_adds: outputs of convolutions with a bias.
    norm_elements: inputs of BN.
    fc_macs: multiply-adds of fully connected layers.
    fc_outputs: outputs of fully connected layers.
    pool_elements: inputs and outputs of averages over a whole map or equal parts of it.
    """

    conv_macs: int = 0
    bias_adds: int = 0
    norm_elements: int = 0
    fc_macs: int = 0
    fc_outputs: int = 0
    pool_elements: int = 0

    def __add__(self, other):
        return Modules(*map(operator.add, self, other))

    @property
    def thop_a(self):
        """FLOPs of the BAT paper's images, by the tool as it was in the autumn of 2019."""
        fc = 2 * self.fc_macs - self.fc_outputs
        return self.conv_macs + self.bias_adds + 4 * self.norm_elements + fc + self.pool_elements

    @property
    def thop_b(self):
        """FLOPs of the RNL paper, by the tool as it was from January to March 2020."""
        fc = 2 * self.fc_macs
        return self.conv_macs + self.bias_adds + 2 * self.norm_elements + fc + self.pool_elements

    @property
    def thop_c(self):
        """FLOPs of the BAT paper's videos: thop A where the average is a function and fc a convolution."""
        return self.conv_macs + self.bias_adds + 4 * self.norm_elements + self.fc_macs


def figures_of(model):
    """Counts a model by every convention.

    Args:
        model: as for `keras_nonlocal.counting.count`, with known sides.

    Returns:
        A dict of the convention's name -> its figure: how many parameters, MAC or FLOPs it makes.

    Raises:
        ValueError: the model has a layer whose multiply-adds are unknown.
    """
    calls, counted = calls_of(model), count(model)
    if counted.uncounted:
        raise ValueError(
            "figures_of: Expected a model whose layers are all known to `count`. "
            f"Received one with {', '.join(counted.uncounted)}. Try: a function for them in costs.py."
        )
    cost = counted.total
    seen = sum((modules_of(call.layer, call.input_shape, call.output_shape) for call in calls), Modules())
    of_nl = sum(row.cost.products for row in counted.rows if row.kind == "NonLocal")
    distinct = {id(call.layer): call.layer for call in calls}.values()
    return {
        "parameters": cost.parameters,
        "parameters, released": cost.parameters + sum(map(released_surplus, distinct)),
        "kernels": sum(map(kernel_parameters, distinct)),
        "MAC": cost.macs,
        "products": cost.products,
        "MAC + products": cost.macs + cost.products,
        "executed": cost.executed,
        "thop A": seen.thop_a,
        "thop A + 2 NL": seen.thop_a + 2 * of_nl,
        "thop A + 2 products": seen.thop_a + 2 * cost.products,
        "thop B": seen.thop_b,
        "thop C + 2 NL": seen.thop_c + 2 * of_nl,
    }


def released_surplus(layer):
    """Returns how many more parameters the authors' code has: RNL's dense kernel and its mask, else none.

    The depthwise kernel is the product of these two there.
    """
    if not isinstance(layer, RegionNonLocal) or layer.region != "convolution":
        return 0
    width = layer.g.units
    group_width = width // max(width // 32, 1)
    return (2 * group_width - 1) * math.prod(layer.f_theta.kernel.shape)


def kernel_parameters(layer):
    """Returns how many of a layer's parameters are kernels, as the NL paper's code counts them."""
    weights = getattr(layer, "trainable_weights", ())
    return sum(math.prod(w.shape) for w in weights if w.name == "kernel")


@functools.singledispatch
def modules_of(layer, x, y):
    """Returns the `Modules` of one call of a layer.

    Args:
        layer: a layer or operation; one that has no function here is nothing to the tool.
        x: shape of its first input, with the batch.
        y: shape of its first output, with the batch.
    """
    return Modules()


@modules_of.register
def _batch_normalization(layer: layers.BatchNormalization, x, y):
    return Modules(norm_elements=math.prod(x))


@modules_of.register
def _global_average(layer: AVERAGES, x, y):
    return Modules(pool_elements=math.prod(x) + math.prod(y))


@modules_of.register
def _dense(layer: layers.Dense, x, y):
    return _connect(layer, _positions(x))


@modules_of.register
def _convolution(layer: CONVOLUTIONS | DepthwiseConv3D, x, y):
    return _convolve(layer, _positions(y))


@modules_of.register
def _non_local(layer: NonLocal, x, y):
    positions = _positions(x)
    sources = positions
    if layer.pool_order == "before":
        window = window_of(layer.pool_window(), x)
        sources = x[0] * math.prod(side // size for side, size in zip(x[1:-1], window, strict=True))
    seen = _convolve(layer.g, sources) + _close(layer, x)
    if layer.pairwise != "gaussian":
        seen += _convolve(layer.theta, positions) + _convolve(layer.phi, sources)
    return seen


@modules_of.register
def _region_non_local(layer: RegionNonLocal, x, y):
    return _convolve(layer.g, _positions(x)) + _close(layer, x)


@modules_of.register
def _compact_generalized(layer: CompactGeneralizedNonLocal, x, y):
    children = layer.theta, layer.phi, layer.g
    return sum((_convolve(child, _positions(x)) for child in children), _close(layer, x))


@modules_of.register
def _bilinear(layer: BilinearAttentionTransform, x, y):
    batch, frames, height, width, channels = x if len(x) == 5 else (x[0], 1, *x[1:])
    positions, units, small = _positions(x), layer.reduce.units, layer.transform == "downsampling"
    rows, columns = layer.map_size or matrix_sides(layer.size, layer.matrix_size, (height, width))
    inner = batch * frames * rows * columns if small else positions
    seen = _convolve(layer.reduce, positions) + _convolve(layer.mix, inner) + _convolve(layer.out, positions)
    seen += Modules(norm_elements=positions * (units + channels) + inner * units)
    if layer.context is not None:
        seen += _convolve(layer.context, positions) + Modules(norm_elements=positions * layer.context.units)
    if layer.p is not None:
        for maker, side in ((layer.p, rows), (layer.q, columns)):
            seen += _convolve(maker, batch * frames * (side - maker.kernel_size[0] + 1))
    if layer.t is not None:
        pool_elements = (positions + batch * layer.temporal_size) * layer.context.units
        seen += _convolve(layer.t, batch) + Modules(pool_elements=pool_elements)
    return seen


@modules_of.register
def _squeeze_excite(layer: SqueezeExcite, x, y):
    norm_elements = x[0] * layer.reduce.units if layer.norm is not None else 0
    # The mean is a module in BAT's code, whose SE multiplies, and a function where RNL's SE adds.
    pool_elements = math.prod(x) + x[0] * x[-1] if layer.mode == "multiply" else 0
    seen = _connect(layer.reduce, x[0]) + _connect(layer.expand, x[0])
    return seen + Modules(norm_elements=norm_elements, pool_elements=pool_elements)


@modules_of.register
def _global_context(layer: GlobalContext, x, y):
    seen = _convolve(layer.mask, _positions(x))
    if layer.norm_kind == "batch":  # RNL's channel gate has fully connected layers.
        seen += _connect(layer.reduce, x[0]) + _connect(layer.expand, x[0])
        return seen + Modules(norm_elements=x[0] * layer.reduce.units)
    return seen + _convolve(layer.reduce, x[0]) + _convolve(layer.expand, x[0])


@modules_of.register
def _conv_block_attention(layer: ConvBlockAttention, x, y):
    positions = _positions(x)
    seen = _connect(layer.reduce, 2 * x[0]) + _connect(layer.expand, 2 * x[0])
    return seen + _convolve(layer.conv, positions) + Modules(norm_elements=positions * layer.batch_norm)


@modules_of.register
def _plain_residual(layer: PlainResidual, x, y):
    positions = _positions(x)
    seen = _convolve(layer.reduce, positions) + Modules(norm_elements=positions * layer.reduce.units)
    return seen + _close(layer, x)


def _close(layer, x):
    """Returns the modules of W_z and of the norm after it, where that is a BN."""
    norm_elements = math.prod(x) if isinstance(layer.norm, layers.BatchNormalization) else 0
    return _convolve(layer.out, _positions(x)) + Modules(norm_elements=norm_elements)


def _convolve(layer, positions):
    """Returns a convolution with so many outputs, each of which takes the whole kernel once."""
    bias = getattr(layer, "bias", None)
    bias_adds = 0 if bias is None else positions * math.prod(bias.shape)
    return Modules(conv_macs=positions * math.prod(layer.kernel.shape), bias_adds=bias_adds)


def _connect(layer, times):
    return Modules(fc_macs=times * math.prod(layer.kernel.shape), fc_outputs=times * layer.units)


def _positions(shape):
    return math.prod(shape[:-1])
