"""What one call of a layer costs: a short function for each kind, in MACs, one multiply-add each."""

import functools
import math
import operator
from typing import NamedTuple

from keras import layers

from keras_nonlocal.affinity import ROWS_PER_PART
from keras_nonlocal.bilinear import matrix_sides
from keras_nonlocal.bilinear_transform import BilinearAttentionTransform
from keras_nonlocal.compact_generalized import CompactGeneralizedNonLocal
from keras_nonlocal.conv_block_attention import ConvBlockAttention
from keras_nonlocal.depthwise_conv3d import DepthwiseConv3D
from keras_nonlocal.global_context import GlobalContext
from keras_nonlocal.grouped_conv2d import GroupedConv2D, groups_together
from keras_nonlocal.non_local import NonLocal
from keras_nonlocal.plain_residual import PlainResidual
from keras_nonlocal.positions import window_of
from keras_nonlocal.region_non_local import RegionNonLocal
from keras_nonlocal.squeeze_excite import SqueezeExcite

CONVOLUTIONS = layers.Conv1D | layers.Conv2D | layers.Conv3D | layers.DepthwiseConv1D | layers.DepthwiseConv2D
# These layers have weights, but no multiply-adds.
NORMS = layers.BatchNormalization | layers.LayerNormalization | layers.GroupNormalization
NORMS |= layers.RMSNormalization | layers.Normalization
# These layers have no weights, but they multiply, or may do anything.
UNKNOWN = ("Matmul", "Einsum", "Dot", "Tensordot", "Vdot", "Inner", "DotProductAttention", "Lambda")
UNKNOWN += ("Attention", "AdditiveAttention", "Conv", "ConvTranspose", "DepthwiseConv", "SeparableConv")


class Cost(NamedTuple):
    """What one clip or image costs. Costs can be added.

    parameters: how many numbers train.
    macs: multiply-adds of convolutions and fully connected layers, as their equations have them.
    products: multiply-adds of attention, of the matrices in the paper's order.
    executed: all multiply-adds that this library executes.
    """

    parameters: int = 0
    macs: int = 0
    products: int = 0
    executed: int = 0

    def __add__(self, other):
        return Cost(*map(operator.add, self, other))


@functools.singledispatch
def cost_of(layer, x, y):
    """Returns the `Cost` of one call, without the parameters.

    Args:
        layer: a layer or operation of Keras or of this library.
        x: shape of its first input, with the batch.
        y: shape of its first output, with the batch.

    Returns:
        A `Cost`, or None where it is unknown: for layers of other libraries, for layers of Keras that have
        weights and no function here, and for those that multiply without weights.
    """
    known = type(layer).__module__.partition(".")[0] in ("keras", "keras_nonlocal")
    known = known and type(layer).__name__ not in UNKNOWN
    return Cost() if known and not getattr(layer, "weights", ()) else None


@cost_of.register
def _without_products(layer: NORMS | layers.PReLU | layers.Embedding, x, y):
    return Cost()


@cost_of.register
def _convolution(layer: CONVOLUTIONS | layers.Dense | DepthwiseConv3D, x, y):
    return _convolve(layer, _positions(y))


@cost_of.register
def _grouped_convolution(layer: GroupedConv2D, x, y):
    # Without a GPU, TensorFlow executes several groups at once, as one kernel with zeros off its diagonal.
    cost = _convolve(layer, _positions(y))
    return cost._replace(executed=cost.macs * groups_together(layer.groups, x[-1] // layer.groups))


@cost_of.register
def _non_local(layer: NonLocal, x, y):
    # y_i = sum_j f(q_i, k_j) v_j: N M (D + E) in each part of the map that sees itself.
    positions, keys, parts = _positions(x), _pooled_positions(x, layer.pool_window()), _parts(layer, x)
    sources = keys if layer.pool_order == "before" else positions
    cost = _convolve(layer.g, sources) + _convolve(layer.out, positions)
    width = x[-1]
    if layer.pairwise != "gaussian":
        cost += _convolve(layer.theta, positions) + _convolve(layer.phi, sources)
        width = layer.theta.units
    if layer.pairwise == "concatenation":
        cost += Cost(executed=_folded_macs(layer, x[-1], positions, sources, keys))
        width = 2 * width  # w_f . [theta_i, phi_j]
    return cost + _attend(parts, positions // parts, keys // parts, width, layer.g.units, layer.pairwise)


@cost_of.register
def _region_non_local(layer: RegionNonLocal, x, y):
    # u = W_g x, p = F_theta(u), y_i = sum_j f(p_i, p_j) u_j: N M 2 d
    positions, keys, width = _positions(x), _pooled_positions(x, layer.subsample or (1, 1, 1)), layer.g.units
    cost = _convolve(layer.g, positions) + _convolve(layer.out, positions)
    if layer.region == "convolution":
        cost += _convolve(layer.f_theta, positions)
    pairwise = "relu" if layer.relu else layer.pairwise
    return cost + _attend(x[0], positions // x[0], keys // x[0], width, width, pairwise)


@cost_of.register
def _compact_generalized(layer: CompactGeneralizedNonLocal, x, y):
    # c_p = sum_j phi_j^p g_j, y_i = sum_p c_p theta_i^p: 2 N d for each power p. The dot product has
    # p = 1, a series has p = 0 to P, and p = 0 is executed without products.
    positions = _positions(x)
    cost = Cost()
    for child in (layer.theta, layer.phi, layer.g, layer.out):
        cost += _convolve(child, positions)
    powers = 1 if layer.pairwise == "dot_product" else layer.order
    each = 2 * positions * layer.g.units
    products = each * (1 if layer.pairwise == "dot_product" else layer.order + 1)
    return cost + Cost(products=products, executed=each * powers)


@cost_of.register
def _bilinear(layer: BilinearAttentionTransform, x, y):
    # Y = T (P X Q): H + W + T for each entry of X, but m + m' + r on the view in blocks.
    batch, frames, height, width, channels = x if len(x) == 5 else (x[0], 1, *x[1:])
    positions, units, small = _positions(x), layer.reduce.units, layer.transform == "downsampling"
    rows, columns = layer.map_size or matrix_sides(layer.size, layer.matrix_size, (height, width))
    inner = batch * frames * rows * columns if small else positions
    cost = _convolve(layer.reduce, positions) + _convolve(layer.mix, inner) + _convolve(layer.out, positions)
    if layer.context is not None:
        cost += _convolve(layer.context, positions)
    if layer.p is not None:
        sides = (rows, columns) if small else (height, width)
        executed = inner * units * (rows + columns)
        for maker, side in ((layer.p, rows), (layer.q, columns)):
            size, windows = maker.kernel_size[0], side - maker.kernel_size[0] + 1
            cost += _convolve(maker, batch * frames * windows)
            if windows > 1:  # Products place the windows' predictions along the diagonal.
                placed = batch * frames * layer.spatial_groups * size * (size + side)
                executed += windows * side * (placed + side)
        cost += Cost(products=inner * units * sum(sides), executed=executed)
    if layer.t is not None:
        cost += _convolve(layer.t, batch)
        cost += Cost(products=inner * units * frames, executed=inner * units * layer.temporal_size)
    if small:  # The last convolution goes before the interpolation, which is a product with two matrices.
        cost += Cost(executed=(inner - positions) * _size(layer.out.kernel))
        cost += Cost(executed=batch * frames * channels * columns * height * (rows + width))
    return cost


@cost_of.register
def _squeeze_excite(layer: SqueezeExcite, x, y):
    return _convolve(layer.reduce, x[0]) + _convolve(layer.expand, x[0])


@cost_of.register
def _global_context(layer: GlobalContext, x, y):
    # sum_j softmax_j(W_k x) x_j: N C
    cost = _convolve(layer.mask, _positions(x))
    cost += _convolve(layer.reduce, x[0]) + _convolve(layer.expand, x[0])
    return cost + Cost(products=math.prod(x), executed=math.prod(x))


@cost_of.register
def _conv_block_attention(layer: ConvBlockAttention, x, y):
    # W_0 and W_1 see the mean and the maximum of the map.
    cost = _convolve(layer.reduce, 2 * x[0]) + _convolve(layer.expand, 2 * x[0])
    return cost + _convolve(layer.conv, _positions(x))


@cost_of.register
def _plain_residual(layer: PlainResidual, x, y):
    return _convolve(layer.reduce, _positions(x)) + _convolve(layer.out, _positions(x))


def _attend(parts, queries, keys, width, value_width, pairwise):
    """Returns the products of `parts` matrices of queries and keys, and those that are executed."""
    products = executed = queries * keys * (width + value_width)
    if pairwise == "dot_product":
        executed = min(products, (queries + keys) * width * value_width)
    elif pairwise == "concatenation":  # It takes two running sums over the sorted keys, in blocks.
        blocks = math.ceil((keys + 1) / ROWS_PER_PART)
        executed = 2 * blocks * math.ceil((keys + 1) / blocks) ** 2 * value_width
    return Cost(products=parts * products, executed=parts * executed)


def _folded_macs(layer, channels, positions, sources, keys):
    """Returns how many more multiply-adds w_f . theta(x) and w_f . phi(x) take than theta and phi."""
    units = layer.theta.units
    fold = (channels + 1) * units  # w_f is multiplied with kernel and bias.
    theta = fold + positions * channels * (1 - units)
    phi = keys * units if layer._pools_after() else fold + sources * channels * (1 - units)
    return theta + phi


def _parts(layer, x):
    """Returns into how many parts that do not see each other the reach cuts a batch of maps."""
    if layer.reach == "time":
        return _positions(x) // (layer.window_frames or x[1])
    if layer.reach == "space" and len(x) == 5:
        return x[0] * x[1]
    return x[0] * (x[1] // layer.window_frames if layer.window_frames else 1)


def _pooled_positions(x, window):
    sides = (side // size for side, size in zip(x[1:-1], window_of(window, x), strict=True))
    return x[0] * math.prod(sides)


def _convolve(layer, positions):
    """Returns the cost of a convolution or dense layer: each output position takes the whole kernel once."""
    macs = positions * _size(layer.kernel)
    return Cost(macs=macs, executed=macs)


def _positions(shape):
    return math.prod(shape[:-1])


def _size(variable):
    return math.prod(variable.shape)
