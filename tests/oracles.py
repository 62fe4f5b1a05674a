"""The papers' equations in NumPy float64, one position or window at a time: slow and plain on purpose.

Maps are channels last. `w` maps a weight's name inside its layer ("theta/kernel") to its array.
"""

import itertools

import numpy as np


def randomise(layer, input_shape, seed=0):
    """Build `layer` with random weights, none of them neutral; return them in float64 by name."""
    if not layer.built:
        layer.build(input_shape)
    generator, values = np.random.default_rng(seed), {}
    for variable in layer.weights:
        value = generator.standard_normal(tuple(variable.shape)) / 2
        if variable.name == "moving_variance":
            value = 0.5 + np.abs(value)
        variable.assign(value)
        # Without the layer's own name; what float32 kept of the value is what the oracle gets.
        values[variable.path.split("/", 1)[-1]] = np.asarray(variable.value, "float32").astype("float64")
    return layer, values


def project(x, w, name):
    """A 1x1x1 convolution with bias."""
    return np.einsum("...c,cd->...d", x, w[f"{name}/kernel"]) + w[f"{name}/bias"]


def batch_norm(y, w, epsilon=1e-5):
    """Batch normalisation with running statistics."""
    centred = y - w["norm/moving_mean"]
    return centred / np.sqrt(w["norm/moving_variance"] + epsilon) * w["norm/gamma"] + w["norm/beta"]


def attend(queries, keys, values, scale=1.0):
    """y_i = sum_j exp(s q_i.k_j) v_j / sum_j exp(s q_i.k_j), clip by clip, query by query."""
    result = np.empty((*queries.shape[:-1], values.shape[-1]))
    for q, k, v, y in zip(queries, keys, values, result, strict=True):
        k, v = k.reshape(-1, k.shape[-1]), v.reshape(-1, v.shape[-1])
        for position in np.ndindex(q.shape[:-1]):
            logits = scale * np.array([q[position] @ key for key in k])
            weights = np.exp(logits - logits.max())
            y[position] = weights @ v / weights.sum()
    return result


def max_pool(x, window):
    """Largest value of each window; stride = window; incomplete windows are dropped."""
    window = tuple(window)[5 - x.ndim :]
    sides = [side // size for side, size in zip(x.shape[1:-1], window, strict=True)]
    result = np.empty((x.shape[0], *sides, x.shape[-1]))
    for cell in np.ndindex(*sides):
        patch = tuple(slice(i * size, (i + 1) * size) for i, size in zip(cell, window, strict=True))
        axes = tuple(range(1, x.ndim - 1))
        result[(slice(None), *cell)] = x[(slice(None), *patch)].max(axis=axes)
    return result


def depthwise(x, kernel):
    """Correlate each channel with its own kernel [..., C, 1], zeros outside the map."""
    sizes, sides = kernel.shape[:-2], x.shape[1:-1]
    result = np.zeros_like(x)
    for at in itertools.product(*map(range, sides)):
        for tap in itertools.product(*map(range, sizes)):
            source = tuple(a + t - size // 2 for a, t, size in zip(at, tap, sizes, strict=True))
            if all(0 <= s < side for s, side in zip(source, sides, strict=True)):
                result[(slice(None), *at)] += x[(slice(None), *source)] * kernel[tap][:, 0]
    return result


def depthwise_conv3d(x, w, **_):
    return depthwise(x, w["kernel"]) + w.get("bias", 0.0)


def temporal_shift(x, w, divisor, **_):
    """First C // divisor channels from the next frame, as many more from the previous one."""
    part, frames, y = x.shape[-1] // divisor, x.shape[1], x.copy()
    for t in range(frames):
        y[:, t, ..., :part] = x[:, t + 1, ..., :part] if t + 1 < frames else 0
        y[:, t, ..., part : 2 * part] = x[:, t - 1, ..., part : 2 * part] if t > 0 else 0
    return y


def non_local(x, w, subsample=(1, 2, 2), pool_order="after", scaled=False, **_):
    window = subsample or (1, 1, 1)
    if pool_order == "before":
        pooled = max_pool(x, window)
        keys, values = project(pooled, w, "phi"), project(pooled, w, "g")
    else:
        keys, values = (max_pool(project(x, w, name), window) for name in ("phi", "g"))
    queries = project(x, w, "theta")
    y = attend(queries, keys, values, queries.shape[-1] ** -0.5 if scaled else 1.0)
    return x + batch_norm(project(y, w, "out"), w)


def region_non_local(x, w, subsample=None, **_):
    u = project(x, w, "g")
    p = depthwise(u, w["region/kernel"])
    keys, values = (max_pool(a, subsample or (1, 1, 1)) for a in (p, u))
    return x + batch_norm(project(attend(p, keys, values), w, "out"), w)


def frame_wise_conv(x, w, **_):
    """FrameWise over a 3x3 "same" convolution without bias."""
    kernel = w["layer/kernel"]
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
    y = np.zeros((*x.shape[:-1], kernel.shape[-1]))
    for i, j in np.ndindex(3, 3):
        y += padded[:, :, i : i + x.shape[2], j : j + x.shape[3]] @ kernel[i, j]
    return y
