"""What the library claims to save: each claim has a case that shows it, which blocks.py measures.

A case returns the program of this library as "ours" and the one that it is compared with as "theirs".
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import naive_forms
import numpy as np
import tensorflow as tf
from keras import ops
from measure import PASSES, function_program, layer_program, random, randomised

from keras_nonlocal import CompactGeneralizedNonLocal, DepthwiseConv3D, NonLocal, affinity, bilinear
from keras_nonlocal.positions import flatten_reach, restore_reach

# res3 of an 8-frame clip, where blocks are most expensive, and the positions of that map.
MAP, WIDTH = (1, 8, 28, 28, 512), 256
POSITIONS = MAP[1] * MAP[2] * MAP[3]
QUERIES_PER_TILE = 128


class Claim(NamedTuple):
    """What is compared with what, and by how much less it must take."""

    what: str
    against: str
    case: Callable
    least: dict  # by what factor the other program must need more: {"forward": 15, "memory": 8}


class Growth(NamedTuple):
    """What must not grow faster than the positions."""

    what: str
    sizes: tuple  # one twice the other
    case: Callable  # takes the size
    most: dict  # by what factor twice the size may need more


def aggregation(ours, theirs, queries_are_keys=False):
    """Returns both programs for attention of N positions to N others, or, as in regions, to themselves."""
    queries, keys, values = (random((1, POSITIONS, WIDTH), seed, 0.25) for seed in range(3))
    if not queries_are_keys:
        inputs = queries, keys, values
        return {"ours": function_program(ours, *inputs), "theirs": function_program(theirs, *inputs)}
    return {
        "ours": function_program(lambda p, u: ours(p, p, u), queries, values),
        "theirs": function_program(lambda p, u: theirs(p, p, u), queries, values),
    }


def whole_block(pairwise, theirs):
    """Returns both programs for a NonLocal block without sub-sampling, with its projections and its norm."""
    x = random(MAP, scale=0.3)
    layer = randomised(NonLocal(pairwise=pairwise, subsample=None), MAP)
    call = partial(naive_forms.non_local, layer, theirs)
    return {"ours": layer_program(layer, x), "theirs": layer_program(layer, x, call)}


def concatenation(positions=POSITIONS):
    """Returns both programs for sums of two terms for each pair: without the pairs, with a matrix of them."""
    inputs = *(random((1, positions), seed) for seed in range(2)), random((1, positions, WIDTH), 2)
    ours, theirs = affinity.concatenation_aggregate, naive_forms.concatenation_aggregate
    return {"ours": function_program(ours, *inputs), "theirs": function_program(theirs, *inputs)}


def concatenated_pairs():
    """Returns the same from theta and phi of one sub-sampled frame: a tensor of more pairs would not fit."""

    def ours(theta, phi, values, weight):
        of_theta, of_phi = ops.split(weight, 2, axis=0)  # [D, 1] each
        terms = ops.matmul(theta, of_theta)[..., 0], ops.matmul(phi, of_phi)[..., 0]
        return affinity.concatenation_aggregate(*terms, values)

    inputs = [random((1, count, WIDTH), seed) for seed, count in enumerate((784, 196, 196))]
    inputs.append(random((2 * WIDTH, 1), 3, 0.1))
    theirs = naive_forms.concatenated_pairs_aggregate
    return {"ours": function_program(ours, *inputs), "theirs": function_program(theirs, *inputs)}


def reach(axes):
    """Returns both programs for attention in a frame or along a pixel: maps cut up, a mask on all pairs."""
    inputs = [random((*MAP[:-1], WIDTH), seed, 0.2) for seed in range(3)]
    places = np.arange(POSITIONS)
    pixels = MAP[2] * MAP[3]
    group = places // pixels if axes == "space" else places % pixels
    seen = tf.constant(group[:, None] == group)

    def ours(*maps):
        return restore_reach(
            affinity.softmax_aggregate(*(flatten_reach(x, axes) for x in maps)), maps[0], axes
        )

    def theirs(*maps):
        flat = (ops.reshape(x, (1, POSITIONS, WIDTH)) for x in maps)
        return ops.reshape(naive_forms.masked_softmax_aggregate(*flat, seen), maps[0].shape)

    return {"ours": function_program(ours, *inputs), "theirs": function_program(theirs, *inputs)}


def depthwise():
    """Returns DepthwiseConv3D with 3x7x7 kernels on 256 channels, and Keras's convolution in 256 groups."""
    x = random((*MAP[:-1], WIDTH))
    layer = randomised(DepthwiseConv3D((3, 7, 7)), x.shape)
    return {
        "ours": layer_program(layer, x),
        "theirs": layer_program(naive_forms.grouped_conv3d(layer.kernel), x),
    }


def depthwise_torch():
    """Returns DepthwiseConv3D and PyTorch's grouped convolution, which has channels first."""
    x = random((*MAP[:-1], WIDTH))
    layer = randomised(DepthwiseConv3D((3, 7, 7)), x.shape)
    return {"ours": layer_program(layer, x), "theirs": naive_forms.torch_grouped_conv3d(layer.kernel, x)}


def transform():
    """Returns P X Q with 7 x 7 matrices for each of 4 groups, and with 28 x 28 Kronecker products."""
    x = random((*MAP[:-1], WIDTH))
    p, q = (tf.nn.softmax(random((1, 8, 4, 7, 7), seed)) for seed in (1, 2))
    ours, theirs = bilinear.apply_matrices, naive_forms.kronecker_transform
    return {"ours": function_program(ours, x, p, q), "theirs": function_program(theirs, x, p, q)}


def compact_dense():
    """Returns the compact block, and one with a matrix in each group, on a map small enough for it."""
    x = random((1, 2, 7, 7, 256))
    layer = randomised(CompactGeneralizedNonLocal(pairwise="gaussian_rbf", gamma=0.2), x.shape)
    call = partial(naive_forms.compact_generalized, layer)
    return {"ours": layer_program(layer, x), "theirs": layer_program(layer, x, call)}


def long_softmax(positions, rows=QUERIES_PER_TILE):
    """Returns softmax attention in tiles of `rows` queries; None leaves the tile to the library."""
    if rows:
        affinity.LOGITS_PER_TILE = rows * positions
    inputs = (random((1, positions, WIDTH), seed, 0.25) for seed in range(3))
    return {"ours": function_program(affinity.softmax_aggregate, *inputs)}


def long_concatenation(positions):
    """Returns the sums of two terms for each pair."""
    return {"ours": concatenation(positions)["ours"]}


def long_compact(positions):
    """Returns the compact block with a series of P = 3."""
    x = random((1, positions // 784, 28, 28, 512))
    layer = randomised(CompactGeneralizedNonLocal(pairwise="gaussian_rbf"), x.shape)
    return {"ours": layer_program(layer, x)}


def _for_both_blocks(name, ours, theirs, least):
    """Returns the claims on an aggregation for NL and for RNL, where queries and keys are the same."""
    what = f"{name}, {{}}, N = M = {POSITIONS}, d = {WIDTH}"
    return [
        Claim(what.format(block), "N x M matrix", partial(aggregation, ours, theirs, block == "RNL"), least)
        for block in ("NL", "RNL")
    ]


LINEAR = {"forward": 15, "with backward": 15, "memory": 8}
TILED = {"forward": 1 / 1.1, "with backward": 1 / 1.2, "memory": 4}
FASTER = {"forward": 1, "with backward": 1}
LESS = {"forward": 1, "with backward": 1, "memory": 1}

CLAIMS = [
    *_for_both_blocks(
        "dot product", affinity.dot_product_aggregate, naive_forms.dot_product_aggregate, LINEAR
    ),
    Claim(
        "dot product, the block around it",
        "N x M matrix",
        partial(whole_block, "dot_product", naive_forms.dot_product_aggregate),
        LESS,
    ),
    *_for_both_blocks("softmax", affinity.softmax_aggregate, naive_forms.softmax_aggregate, TILED),
    Claim(
        "softmax, the block around it",
        "N x M matrix",
        partial(whole_block, "embedded_gaussian", naive_forms.softmax_aggregate),
        TILED | {"memory": 1},
    ),
    _for_both_blocks("ReLU of the cosine", affinity.relu_aggregate, naive_forms.relu_aggregate, TILED)[1],
    Claim(f"concatenation, N = M = {POSITIONS}", "N x M matrix", concatenation, LESS),
    Claim(
        f"concatenation, N = M = {2 * POSITIONS}",
        "N x M matrix",
        partial(concatenation, 2 * POSITIONS),
        LESS,
    ),
    Claim("concatenation, N = 784, M = 196", "N x M x 2d tensor of pairs", concatenated_pairs, LESS),
    Claim(
        "depthwise 3x7x7, [1, 8, 28, 28, 256]", "`Conv3D(groups=256)`", depthwise, dict.fromkeys(PASSES, 50)
    ),
    Claim(
        "depthwise 3x7x7, [1, 8, 28, 28, 256]", "PyTorch, groups=256", depthwise_torch, {"with backward": 2}
    ),
    Claim("BAT's P X Q, H = W = 28, s = 7", "Kronecker products", transform, FASTER | {"multiply-adds": 3}),
    Claim(
        "softmax, reach in space",
        "mask on the N x M matrix",
        partial(reach, "space"),
        LESS | {"multiply-adds": 8},
    ),
    Claim(
        "softmax, reach in time",
        "mask on the N x M matrix",
        partial(reach, "time"),
        LESS | {"multiply-adds": 784},
    ),
    Claim("CGNL, P = 3, [1, 2, 7, 7, 256]", "matrix in each group", compact_dense, LESS),
]

LONG = 16 * 28 * 28, 32 * 28 * 28  # res3 of a clip of 64 and of 128 frames

GROWTHS = [
    Growth(
        f"softmax, tile of {QUERIES_PER_TILE} queries",
        LONG,
        long_softmax,
        {"memory": 2.2, "gigabytes": 24},
    ),
    Growth(
        "softmax, default tile",
        LONG,
        partial(long_softmax, rows=None),
        {"memory": 2.2, "gigabytes": 24},
    ),
    Growth("concatenation", LONG, long_concatenation, {"time": 2.4, "memory": 2.2}),
    Growth("CGNL, P = 3, the block", LONG, long_compact, {"time": 2.4, "memory": 2.2}),
]
