"""The equation of CompactGeneralizedNonLocal in NumPy float64, pair by pair: slow and plain on purpose."""

import math

import numpy as np
import oracles


def pairwise_value(kind, theta, phi, order, gamma):
    """f(theta, phi): the series up to `order`, or the function itself where that is None."""
    if kind == "dot_product":
        return theta * phi
    exponent = 2 * gamma * theta * phi if kind == "gaussian_rbf" else theta * phi
    factor = math.exp(-2 * gamma) if kind == "gaussian_rbf" else 1.0
    if order is None:
        return factor * np.exp(exponent)
    return factor * sum(exponent**p / math.factorial(p) for p in range(order + 1))


def project(x, w, name, groups=1):
    """A 1x1x1 convolution: each output reads the channels of its own group."""
    kernel = w[f"{name}/kernel"]
    depth, outputs = kernel.shape
    y = np.empty((*x.shape[:-1], outputs))
    for output in range(outputs):
        first = output // (outputs // groups) * depth
        y[..., output] = x[..., first : first + depth] @ kernel[:, output]
    return y + w.get(f"{name}/bias", 0.0)


def group_norm(y, w, groups, epsilon=1e-5):
    """Clip by clip and group by group to mean 0 and deviation 1, then gamma and beta."""
    result, width = np.empty_like(y), y.shape[-1] // groups
    for b in range(len(y)):
        for start in range(0, y.shape[-1], width):
            part = y[b, ..., start : start + width]
            result[b, ..., start : start + width] = (part - part.mean()) / np.sqrt(part.var() + epsilon)
    return result * w["norm/gamma"] + w["norm/beta"]


def gather(theta, phi, g, groups, scaled, function):
    """y_i = sum_j f(theta_i, phi_j) g_j; i and j run over the channels and positions of a group."""
    result, width = np.empty_like(theta), theta.shape[-1] // groups
    for b in range(len(theta)):
        for start in range(0, theta.shape[-1], width):
            part = (b, ..., slice(start, start + width))
            queries, keys, values = (a[part].ravel() for a in (theta, phi, g))
            y = np.array([function(query, keys) @ values for query in queries])
            y = y / math.sqrt(y.size) if scaled else y
            result[part] = y.reshape(theta[part].shape)
    return result


def unit(values, groups):
    """Each clip's groups with length 1."""
    result, width = np.empty_like(values), values.shape[-1] // groups
    for b in range(len(values)):
        for start in range(0, values.shape[-1], width):
            part = values[b, ..., start : start + width]
            result[b, ..., start : start + width] = part / np.linalg.norm(part.ravel())
    return result


def branch(
    x,
    w,
    groups=8,
    pairwise="dot_product",
    order=3,
    gamma=1e-4,
    scaled=False,
    grouped_out=True,
    normalize=False,
    **_,
):
    """W_z y, before the norm."""
    theta, phi, g = (project(x, w, name) for name in ("theta", "phi", "g"))
    theta, phi = (unit(a, groups) for a in (theta, phi)) if normalize else (theta, phi)
    y = gather(theta, phi, g, groups, scaled, lambda a, b: pairwise_value(pairwise, a, b, order, gamma))
    return project(y, w, "out", groups if grouped_out else 1)


def compact_generalized(x, w, groups=8, norm="batch", **arguments):
    y = branch(x, w, groups=groups, **arguments)
    if norm == "batch":
        y = oracles.batch_norm(y, w)
    elif norm == "group":
        y = group_norm(y, w, groups)
    return x + y
