"""The equations of the blocks with every matrix written out: the library is compared with these.

They are stateless functions on queries [B, N, D], keys [B, M, D] and values [B, M, E], and calls of layers.
"""

import keras
import numpy as np
from keras import ops
from measure import random


def softmax_aggregate(queries, keys, values):
    """Returns softmax(Q K^T) V, with an N x M matrix."""
    return ops.matmul(ops.softmax(_similarities(queries, keys)), values)  # [B, N, E]


def dot_product_aggregate(queries, keys, values):
    """Returns (Q K^T / M) V, with an N x M matrix."""
    return ops.matmul(_similarities(queries, keys) / keys.shape[1], values)  # [B, N, E]


def relu_aggregate(queries, keys, values):
    """Returns (ReLU(Q K^T) / M) V, with an N x M matrix."""
    return ops.matmul(ops.relu(_similarities(queries, keys)) / keys.shape[1], values)  # [B, N, E]


def concatenation_aggregate(query_terms, key_terms, values):
    """Returns (ReLU(a_i + b_j) / M) V, with an N x M matrix of the sums of terms [B, N] and [B, M]."""
    weights = ops.relu(query_terms[:, :, None] + key_terms[:, None]) / values.shape[1]  # [B, N, M]
    return ops.matmul(weights, values)  # [B, N, E]


def concatenated_pairs_aggregate(theta, phi, values, weight):
    """Returns (ReLU([theta_i, phi_j] w) / M) V, with an N x M x 2D tensor of all pairs; w is [2D, 1]."""
    batch, positions, width = theta.shape
    others = phi.shape[1]
    left = ops.broadcast_to(theta[:, :, None], (batch, positions, others, width))
    right = ops.broadcast_to(phi[:, None], (batch, positions, others, width))
    pairs = ops.concatenate([left, right], axis=-1)  # [B, N, M, 2D]
    return ops.matmul(ops.relu(ops.matmul(pairs, weight))[..., 0] / others, values)  # [B, N, E]


def masked_softmax_aggregate(queries, keys, values, seen):
    """Returns softmax(Q K^T) V over the keys that `seen`, [N, M], marks; the others' logits are -1e9."""
    logits = ops.where(seen, _similarities(queries, keys), -1e9)  # [B, N, M]
    return ops.matmul(ops.softmax(logits), values)  # [B, N, E]


def kronecker_transform(x, p, q):
    """Returns P X Q for every frame and channel, with P and Q expanded to H x H and W x W.

    Shapes: x [B, T, H, W, d], p [B, T, k, m, m], q the same -> as x.
    """
    batch, frames, height, width, channels = x.shape
    groups = p.shape[2]
    y = ops.reshape(x, (batch, frames, height, width, groups, channels // groups))
    y = ops.transpose(y, (0, 1, 4, 5, 2, 3))  # [B, T, k, d/k, H, W]
    rows, columns = _expand(p, height)[:, :, :, None], _expand(q, width)[:, :, :, None]  # [B, T, k, 1, H, H]
    y = ops.matmul(ops.matmul(rows, y), columns)  # [B, T, k, d/k, H, W]
    return ops.reshape(ops.transpose(y, (0, 1, 4, 5, 2, 3)), x.shape)


def _expand(matrices, side):
    """Returns the Kronecker product with an identity: [..., m, m] -> [..., side, side]."""
    small = matrices.shape[-1]
    identity = ops.eye(side // small)
    expanded = matrices[..., :, None, :, None] * identity[:, None, :]  # [..., m, side/m, m, side/m]
    return ops.reshape(expanded, (*matrices.shape[:-2], side, side))


def non_local(layer, aggregate, x, training):
    """Returns the output of a NonLocal block without sub-sampling, with another aggregation."""
    flat = ops.reshape(x, (x.shape[0], -1, x.shape[-1]))  # [B, N, C]
    y = aggregate(layer.theta(flat), layer.phi(flat), layer.g(flat))  # [B, N, d]
    y = ops.reshape(layer.out(y), x.shape)
    return x + layer.norm(y, training=training)


def compact_generalized(layer, x, training):
    """Returns a CompactGeneralizedNonLocal block's output, Gaussian RBF, with a matrix in each group."""
    theta, phi, g = (_in_groups(child(x), layer.groups) for child in (layer.theta, layer.phi, layer.g))
    products = theta[..., :, None] * phi[..., None, :]  # [B, G, N*d/G, N*d/G]
    gamma = 2 * layer.gamma
    kernel, term = ops.ones_like(products), ops.ones_like(products)
    for power in range(1, layer.order + 1):
        term = term * products * (gamma / power)
        kernel = kernel + term
    kernel = kernel * ops.exp(-ops.convert_to_tensor(gamma, x.dtype))
    y = ops.matmul(kernel, g[..., None])[..., 0]  # [B, G, N*d/G]
    y = ops.reshape(y, (x.shape[0], layer.groups, -1, layer.theta.units // layer.groups))
    y = ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (*x.shape[:-1], layer.theta.units))  # [B, ..., d]
    return x + layer.norm(layer.out(y), training=training)


def _in_groups(x, groups):
    x = ops.reshape(x, (x.shape[0], -1, groups, x.shape[-1] // groups))
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (x.shape[0], groups, -1))  # [B, G, N*d/G]


def grouped_conv3d(kernel):
    """Returns keras.layers.Conv3D with a group for each channel and the kernel of a built DepthwiseConv3D."""
    *sides, channels, _ = kernel.shape
    layer = keras.layers.Conv3D(channels, sides, padding="same", groups=channels, use_bias=False)
    layer.build((None, None, None, None, channels))
    layer.kernel.assign(ops.transpose(kernel, (0, 1, 2, 4, 3)))
    return layer


def torch_grouped_conv3d(kernel, x):
    """Returns the program of PyTorch's convolution with a group for each channel, channels first."""
    import torch  # an extra, which the other functions do not need

    weight = torch.tensor(
        np.moveaxis(kernel.numpy(), (3, 4), (0, 1)), requires_grad=True
    )  # [C, 1, kt, kh, kw]
    clip = torch.tensor(np.moveaxis(x.numpy(), -1, 1), requires_grad=True)  # [B, C, T, H, W]
    upstream = torch.tensor(np.moveaxis(random(x.shape, seed=9).numpy(), -1, 1))

    def convolve():
        return torch.nn.functional.conv3d(clip, weight, padding="same", groups=len(weight))

    def forward():
        with torch.no_grad():
            return convolve().permute(0, 2, 3, 4, 1)

    def backward():
        y = convolve()
        of_clip, of_weight = torch.autograd.grad(y, (clip, weight), upstream)
        y, of_clip = (clips.detach().permute(0, 2, 3, 4, 1) for clips in (y, of_clip))
        return y, of_clip, of_weight.permute(2, 3, 4, 0, 1)

    return {"forward": forward, "with backward": backward}


def _similarities(queries, keys):
    return ops.matmul(queries, ops.transpose(keys, (0, 2, 1)))  # [B, N, M]
