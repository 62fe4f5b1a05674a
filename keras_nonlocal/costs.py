"""What one call of a layer costs: a short function for each kind, in MACs, one multiply-add each."""

import functools
import math
import operator
from typing import NamedTuple

from keras import layers

from keras_nonlocal.affinity import ROWS_PER_PART
from keras_nonlocal.bilinear import matrix_side
from keras_nonlocal.bilinear_transform import BilinearAttentionTransform
from keras_nonlocal.compact_generalized import CompactGeneralizedNonLocal
from keras_nonlocal.conv_block_attention import ConvBlockAttention
from keras_nonlocal.depthwise_conv3d import DepthwiseConv3D
from keras_nonlocal.global_context import GlobalContext
from keras_nonlocal.grouped_conv2d import GroupedConv2D, groups_together
from keras_nonlocal.non_local import NonLocal
from keras_nonlocal.positions import window_of
from keras_nonlocal.region_non_local import RegionNonLocal
from keras_nonlocal.squeeze_excite import SqueezeExcite

CONVOLUTIONS = layers.Conv1D | layers.Conv2D | layers.Conv3D | layers.DepthwiseConv1D | layers.DepthwiseConv2D
AVERAGES = layers.GlobalAveragePooling1D | layers.GlobalAveragePooling2D | layers.GlobalAveragePooling3D
# With weights, but no multiply-adds.
NORMS = layers.LayerNormalization | layers.GroupNormalization | layers.RMSNormalization | layers.Normalization
# Without weights, but multiplying, or free to do anything.
UNKNOWN = ("Matmul", "Einsum", "Dot", "Tensordot", "Vdot", "Inner", "DotProductAttention", "Lambda")
UNKNOWN += ("Attention", "AdditiveAttention", "Conv", "ConvTranspose", "DepthwiseConv", "SeparableConv")


class Cost(NamedTuple):
    """What one clip or image costs. Costs can be added.

    parameters: numbers that train.
    released_parameters: the same as the authors' code counts them: RNL's depthwise kernel as the
        dense one and the mask that it is the product of.
    conv_macs: multiply-adds of convolutions, those of kernel size 1 included.
    fc_macs: multiply-adds of fully connected layers.
    functional_macs: multiply-adds of F_theta, a convolution that is no module in the authors' code.
    extra_macs: what this library executes beyond these three; negative where it is less.
    products: multiply-adds of attention, of the matrices in the paper's order.
    executed_products: multiply-adds of attention as this library executes them.
    bias_adds: outputs of convolutions with a bias.
    norm_elements: inputs of BN.
    fc_outputs: outputs of fully connected layers.
    pool_elements: inputs and outputs of averages over a whole map or equal parts of it.
    """

    parameters: int = 0
    released_parameters: int = 0
    conv_macs: int = 0
    fc_macs: int = 0
    functional_macs: int = 0
    extra_macs: int = 0
    products: int = 0
    executed_products: int = 0
    bias_adds: int = 0
    norm_elements: int = 0
    fc_outputs: int = 0
    pool_elements: int = 0

    def __add__(self, other):
        return Cost(*map(operator.add, self, other))

    @property
    def macs(self):
        """Multiply-adds of convolutions and fully connected layers, as their equations have them."""
        return self.conv_macs + self.fc_macs + self.functional_macs

    @property
    def executed(self):
        """All multiply-adds that this library executes."""
        return self.macs + self.extra_macs + self.executed_products

    @property
    def thop_a(self):
        """FLOPs of the BAT paper's images, by a tool that sees modules: no F_theta, no attention."""
        fc = 2 * self.fc_macs - self.fc_outputs
        return self.conv_macs + self.bias_adds + 4 * self.norm_elements + fc + self.pool_elements

    @property
    def thop_b(self):
        """FLOPs of the RNL paper, by another release of the tool: no F_theta, no attention."""
        fc = 2 * self.fc_macs
        return self.conv_macs + self.bias_adds + 2 * self.norm_elements + fc + self.pool_elements

    @property
    def thop_c(self):
        """FLOPs of the BAT paper's videos: as `thop_a` without averages, fc at one per multiply-add."""
        return self.conv_macs + self.bias_adds + 4 * self.norm_elements + self.fc_macs


@functools.singledispatch
def cost_of(layer, x, y):
    """Return the `Cost` of one call, parameters apart.

    Args:
        layer: a layer or operation of Keras or of this library.
        x: shape of its first input, with the batch.
        y: shape of its first output, with the batch.

    Returns:
        A `Cost`, or None where it is unknown: layers from elsewhere, those of Keras that have weights
        and no function here, and those that multiply without weights.
    """
    known = type(layer).__module__.partition(".")[0] in ("keras", "keras_nonlocal")
    known = known and type(layer).__name__ not in UNKNOWN
    return Cost() if known and not getattr(layer, "weights", ()) else None


@cost_of.register
def _elementwise(layer: NORMS | layers.PReLU | layers.Embedding, x, y):
    return Cost()


@cost_of.register
def _batch_normalization(layer: layers.BatchNormalization, x, y):
    return Cost(norm_elements=math.prod(x))


@cost_of.register
def _global_average(layer: AVERAGES, x, y):
    return Cost(pool_elements=math.prod(x) + math.prod(y))


@cost_of.register
def _dense(layer: layers.Dense, x, y):
    return _connect(layer, _positions(x))


@cost_of.register
def _convolution(layer: CONVOLUTIONS | DepthwiseConv3D, x, y):
    return _convolve(layer, _positions(y))


@cost_of.register
def _grouped_convolution(layer: GroupedConv2D, x, y):
    # As TensorFlow executes it without a GPU: some groups at once, with zeros off the diagonal.
    cost = _convolve(layer, _positions(y))
    together = groups_together(layer.groups, x[-1] // layer.groups)
    return cost._replace(extra_macs=(together - 1) * cost.conv_macs)


@cost_of.register
def _non_local(layer: NonLocal, x, y):
    # y_i = sum_j f(q_i, k_j) v_j: N M (D + E) in each part of the map that sees itself.
    positions, keys, parts = _positions(x), _pooled_positions(x, layer._pool_window()), _parts(layer, x)
    sources = keys if layer.pool_order == "before" else positions
    cost = _convolve(layer.g, sources) + _close(layer, x)
    width = x[-1]
    if layer.pairwise != "gaussian":
        cost += _convolve(layer.theta, positions) + _convolve(layer.phi, sources)
        width = layer.theta.units
    if layer.pairwise == "concatenation":
        cost += Cost(extra_macs=_folded_macs(layer, x[-1], positions, sources, keys))
        width = 2 * width  # w_f . [theta_i, phi_j]
    return cost + _attend(parts, positions // parts, keys // parts, width, layer.g.units, layer.pairwise)


@cost_of.register
def _region_non_local(layer: RegionNonLocal, x, y):
    # u = W_g x, p = F_theta(u), y_i = sum_j f(p_i, p_j) u_j: N M 2 d
    positions, keys, width = _positions(x), _pooled_positions(x, layer.subsample or (1, 1, 1)), layer.g.units
    cost = _convolve(layer.g, positions) + _close(layer, x)
    if layer.region == "convolution":
        cost += Cost(functional_macs=positions * _size(layer.f_theta.kernel))
    pairwise = "relu" if layer.relu else layer.pairwise
    return cost + _attend(x[0], positions // x[0], keys // x[0], width, width, pairwise)


@cost_of.register
def _compact_generalized(layer: CompactGeneralizedNonLocal, x, y):
    # c_p = sum_j phi_j^p g_j, y_i = sum_p c_p theta_i^p: 2 N d for each power p. The dot product has
    # p = 1, a series p = 0 to P; executed, p = 0 takes no products.
    positions = _positions(x)
    cost = _close(layer, x)
    for child in (layer.theta, layer.phi, layer.g):
        cost += _convolve(child, positions)
    powers = 1 if layer.pairwise == "dot_product" else layer.order
    each = 2 * positions * layer.g.units
    products = each * (1 if layer.pairwise == "dot_product" else layer.order + 1)
    return cost + Cost(products=products, executed_products=each * powers)


@cost_of.register
def _bilinear(layer: BilinearAttentionTransform, x, y):
    # Y = T (P X Q): H + W + T for each number, but m + m' + r on the view in blocks.
    batch, frames, height, width, channels = x if len(x) == 5 else (x[0], 1, *x[1:])
    positions, units, small = _positions(x), layer.reduce.units, layer.transform == "downsampling"
    rows, columns = layer.map_size or (matrix_side(layer.size, layer.matrix_size, height),) * 2
    inner = batch * frames * rows * columns if small else positions
    cost = _convolve(layer.reduce, positions) + _convolve(layer.mix, inner) + _convolve(layer.out, positions)
    cost += Cost(norm_elements=positions * (units + channels) + inner * units)
    if layer.context is not None:
        cost += _convolve(layer.context, positions) + Cost(norm_elements=positions * layer.context.units)
    if layer.p is not None:
        sides = (rows, columns) if small else (height, width)
        executed = inner * units * (rows + columns)
        for maker, side in ((layer.p, rows), (layer.q, columns)):
            size, windows = maker.kernel_size[0], side - maker.kernel_size[0] + 1
            cost += _convolve(maker, batch * frames * windows)
            if windows > 1:  # their predictions are placed along the diagonal by products
                placed = batch * frames * layer.spatial_groups * size * (size + side)
                executed += windows * side * (placed + side)
        cost += Cost(products=inner * units * sum(sides), executed_products=executed)
    if layer.t is not None:
        blocks = layer.temporal_size
        cost += _convolve(layer.t, batch)
        cost += Cost(pool_elements=(positions + batch * blocks) * layer.context.units)
        cost += Cost(products=inner * units * frames, executed_products=inner * units * blocks)
    if small:  # the last convolution goes before the interpolation, a product with two matrices
        cost += Cost(extra_macs=(inner - positions) * _size(layer.out.kernel))
        cost += Cost(executed_products=batch * frames * channels * columns * height * (rows + width))
    return cost


@cost_of.register
def _squeeze_excite(layer: SqueezeExcite, x, y):
    norm_elements = x[0] * layer.reduce.units if layer.norm is not None else 0
    return _connect(layer.reduce, x[0]) + _connect(layer.expand, x[0]) + Cost(norm_elements=norm_elements)


@cost_of.register
def _global_context(layer: GlobalContext, x, y):
    # sum_j softmax_j(W_k x) x_j: N C
    cost = (
        _convolve(layer.mask, _positions(x)) + _convolve(layer.reduce, x[0]) + _convolve(layer.expand, x[0])
    )
    norm_elements = x[0] * layer.reduce.units if layer.norm_kind == "batch" else 0
    products = math.prod(x)
    return cost + Cost(norm_elements=norm_elements, products=products, executed_products=products)


@cost_of.register
def _conv_block_attention(layer: ConvBlockAttention, x, y):
    # W_0 and W_1 see the mean and the maximum of the map.
    positions = _positions(x)
    cost = _connect(layer.reduce, 2 * x[0]) + _connect(layer.expand, 2 * x[0])
    return cost + _convolve(layer.conv, positions) + Cost(norm_elements=positions)


def released_surplus(layer):
    """Return how many more parameters the authors' code has: RNL's dense kernel and its mask, else none."""
    if not isinstance(layer, RegionNonLocal) or layer.region != "convolution":
        return 0
    width = layer.g.units
    group_width = width // max(width // 32, 1)
    return (2 * group_width - 1) * _size(layer.f_theta.kernel)


def _attend(parts, queries, keys, width, value_width, pairwise):
    """Return the products of `parts` matrices of queries and keys, and those that are executed."""
    products = executed = queries * keys * (width + value_width)
    if pairwise == "dot_product":
        executed = min(products, (queries + keys) * width * value_width)
    elif pairwise == "concatenation":  # two running sums over the sorted keys, in blocks
        blocks = math.ceil((keys + 1) / ROWS_PER_PART)
        executed = 2 * blocks * math.ceil((keys + 1) / blocks) ** 2 * value_width
    return Cost(products=parts * products, executed_products=parts * executed)


def _folded_macs(layer, channels, positions, sources, keys):
    """Return how much more w_f . theta(x) and w_f . phi(x) take, as one number each, than theta and phi."""
    units = layer.theta.units
    fold = (channels + 1) * units  # w_f times kernel and bias
    theta = fold + positions * channels * (1 - units)
    phi = keys * units if layer._pools_after() else fold + sources * channels * (1 - units)
    return theta + phi


def _parts(layer, x):
    """Return into how many parts that do not see each other the reach cuts a batch of maps."""
    if layer.reach == "time":
        return _positions(x) // (layer.window_frames or x[1])
    if layer.reach == "space" and len(x) == 5:
        return x[0] * x[1]
    return x[0] * (x[1] // layer.window_frames if layer.window_frames else 1)


def _pooled_positions(x, window):
    sides = (side // size for side, size in zip(x[1:-1], window_of(window, x), strict=True))
    return x[0] * math.prod(sides)


def _close(layer, x):
    """Return the cost of W_z and of the norm after it, where there is a BN."""
    norm_elements = math.prod(x) if isinstance(layer.norm, layers.BatchNormalization) else 0
    return _convolve(layer.out, _positions(x)) + Cost(norm_elements=norm_elements)


def _convolve(layer, positions):
    """Return the cost of a convolution with so many outputs: each position takes the whole kernel once."""
    bias = getattr(layer, "bias", None)
    bias_adds = 0 if bias is None else positions * _size(bias)
    return Cost(conv_macs=positions * _size(layer.kernel), bias_adds=bias_adds)


def _connect(layer, times):
    return Cost(fc_macs=times * _size(layer.kernel), fc_outputs=times * layer.units)


def _positions(shape):
    return math.prod(shape[:-1])


def _size(variable):
    return math.prod(variable.shape)
