"""The matrices of bilinear transforms, and the gates of channel and position attention."""

from typing import NamedTuple

import numpy as np
from keras import ops

from keras_nonlocal.bilinear import matrix_sides, shrink
from keras_nonlocal.bilinear_transform import BilinearAttentionTransform
from keras_nonlocal.conv_block_attention import ConvBlockAttention
from keras_nonlocal.explain.finding import call_of
from keras_nonlocal.global_context import GlobalContext
from keras_nonlocal.squeeze_excite import SqueezeExcite


class Matrices(NamedTuple):
    """What a `BilinearAttentionTransform` multiplies by, Y = T (P X Q); None where it has no such groups.

    Attributes:
        p: float32 [T, k, m, m]: how each frame's rows are mixed, for each of k groups of channels.
        q: float32 [T, k, m', m']: how its columns are mixed.
        t: float32 [k_t, r, r]: how the frames are mixed; row i has the weights of frame i's sum.
    """

    p: np.ndarray | None
    q: np.ndarray | None
    t: np.ndarray | None


class Gates(NamedTuple):
    """What a block does to channels and positions.

    Attributes:
        channels: float32 [C]: what each channel is multiplied by, or gets added in a `GlobalContext` and a
            `SqueezeExcite` that adds. [T, C] of a block in a `FrameWise`, which sees frame by frame.
        positions: None of a `SqueezeExcite`. float32 [T', H', W'], without T' of an image: of a
            `GlobalContext` the weights, of sum 1, with which it takes the mean of all positions; of a
            `ConvBlockAttention` what each position is multiplied by.
    """

    channels: np.ndarray
    positions: np.ndarray | None


def bilinear_matrices(model, clip, block):
    """Returns the `Matrices` of a `BilinearAttentionTransform` for a clip.

    A matrix that is smaller than its axis stands for its Kronecker product with an identity: it moves whole
    blocks of H / m rows, W / m' columns or T / r frames. P is normalised along its last axis, and Q along
    its first.

    Args:
        model, clip, block: As for `attention_rows`; the block is a `BilinearAttentionTransform`.

    Cost:
        The layers before the block, its first projection and its matrices.

    Raises:
        ValueError: As `block_input`; the block is of another kind.
    """
    layer, x = _bilinear(model, clip, block, "bilinear_matrices")
    return Matrices(*(None if a is None else _array(a)[0] for a in layer.matrices(layer.narrow(x))))


def bilinear_maps(model, clip, block):
    """Returns how much each position weighs in what a `BilinearAttentionTransform` makes of a frame.

        W = P^T A Q^T, with A all ones

    Chi, Yuan, Mu, Wang, CVPR 2020, equation 8: the sum of all entries of P X Q is that of W times X, entry by
    entry. The temporal matrices, which the equation leaves out, are `bilinear_matrices(...).t`.

    Args:
        model, clip, block: As for `attention_rows`; the block is a `BilinearAttentionTransform` with spatial
            groups.

    Returns:
        float32 [T, k, H', W'], of the map's sides or, of a "downsampling" block, of the averaged map; T is 1
        for an image. The paper scales each to 0 ... 255 for its figure 4.

    Raises:
        ValueError: As `bilinear_matrices`; the block has no spatial groups.
    """
    layer, x = _bilinear(model, clip, block, "bilinear_maps")
    u = layer.narrow(x)
    p, q, _ = layer.matrices(u)
    if p is None:
        raise ValueError(
            f"{block}: Expected a block with spatial groups, whose P and Q make the map. Received "
            "spatial_groups=0. Try: bilinear_matrices, which has its temporal matrices."
        )
    height, width = u.shape[2:4]
    if layer.transform == "downsampling":
        height, width = shrink(u, *matrix_sides(layer.size, layer.matrix_size, (height, width))).shape[2:4]
    rows, columns = _array(p)[0].sum(axis=-2), _array(q)[0].sum(axis=-1)  # P^T 1: [T, k, m], Q 1: [T, k, m']
    rows = np.repeat(rows, height // rows.shape[-1], axis=-1)  # [T, k, H']
    columns = np.repeat(columns, width // columns.shape[-1], axis=-1)  # [T, k, W']
    return rows[..., :, None] * columns[..., None, :]


def gates(model, clip, block):
    """Returns the `Gates` of a `SqueezeExcite`, a `GlobalContext` or a `ConvBlockAttention` for a clip.

    Args:
        model, clip, block: As for `attention_rows`; the block is of one of these kinds.

    Cost:
        The layers before the block, and the block.

    Raises:
        ValueError: As `block_input`; the block is of another kind.
    """
    layer, x = call_of(model, clip, block, (SqueezeExcite, GlobalContext, ConvBlockAttention), "gates")
    sides = tuple(x.shape[1:-1])
    if isinstance(layer, SqueezeExcite):
        found = _array(layer.gate(x)).reshape(x.shape[0], -1)
        return Gates(found if x.shape[0] > 1 else found[0], None)
    if isinstance(layer, GlobalContext):
        return Gates(_array(layer.offsets(x)).ravel(), _array(layer.weights_of(x)).reshape(sides))
    channels = layer.channel_gate(x)
    return Gates(_array(channels).ravel(), _array(layer.position_gate(x * channels)).reshape(sides))


def _bilinear(model, clip, block, asked):
    return call_of(model, clip, block, (BilinearAttentionTransform,), asked)


def _array(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))
