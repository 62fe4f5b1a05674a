"""The papers' equations in NumPy float64, one position or window at a time: slow and plain on purpose.

Maps are channels last. `w` maps a weight's name inside its layer ("theta/kernel") to its array.
"""

import itertools

import numpy as np


def randomise(layer, input_shape, seed=0):
    """Builds `layer` with random weights, none of them neutral; returns them in float64 by name."""
    if not layer.built:
        layer.build(input_shape)
    generator, values = np.random.default_rng(seed), {}
    for variable in layer.weights:
        value = generator.standard_normal(tuple(variable.shape)) / 2
        if variable.name == "moving_variance":
            value = 0.5 + np.abs(value)
        variable.assign(value)
        values[path_inside(variable)] = variable.numpy().astype("float64")  # what float32 kept of it
    return layer, values


def path_inside(variable):
    """Returns a variable's path without the layer's own name."""
    return variable.path.split("/", 1)[-1]


def project(x, w, name):
    """A 1x1x1 convolution, with bias where the block has one."""
    return np.einsum("...c,cd->...d", x, w[f"{name}/kernel"]) + w.get(f"{name}/bias", 0.0)


def batch_norm(y, w, epsilon=1e-5, name="norm"):
    """Batch normalisation with running statistics."""
    centred = y - w[f"{name}/moving_mean"]
    return centred / np.sqrt(w[f"{name}/moving_variance"] + epsilon) * w[f"{name}/gamma"] + w[f"{name}/beta"]


def softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def close(y, w):
    """W_z, and batch norm where the block has one."""
    y = project(y, w, "out")
    return batch_norm(y, w) if "norm/gamma" in w else y


def attend(queries, keys, values, weigh=softmax):
    """y_i = sum_j w_ij v_j with w_i = weigh([q_i . k_j for all j]), clip by clip, query by query."""
    result = np.empty((*queries.shape[:-1], values.shape[-1]))
    for q, k, v, y in zip(queries, keys, values, result, strict=True):
        k, v = k.reshape(-1, k.shape[-1]), v.reshape(-1, v.shape[-1])
        for position in np.ndindex(q.shape[:-1]):
            y[position] = weigh(np.array([q[position] @ key for key in k])) @ v
    return result


def mean_of(function):
    """Weigh each key by a function of its logit, over the number of keys."""
    return lambda logits: function(logits) / len(logits)


def in_reach(compute, maps, reach, window_frames):
    """Apply `compute` to the parts of the clips whose positions see each other; put the results together."""
    queries, result = maps[0], None
    if reach == "space" and queries.ndim == 5:
        window_frames = 1
    windows = queries.shape[1] // window_frames if window_frames else 1
    for window in range(windows):
        parts = [np.split(a, windows, axis=1)[window] if windows > 1 else a for a in maps]
        pixels = np.ndindex(queries.shape[2:4]) if reach == "time" else [()]
        for pixel in pixels:
            sliced = [a[:, :, *pixel] if pixel else a for a in parts]
            y = compute(*sliced)
            if result is None:
                result = np.empty((*queries.shape[:-1], y.shape[-1]))
            place = np.split(result, windows, axis=1)[window] if windows > 1 else result
            place[(slice(None), slice(None), *pixel) if pixel else ...] = y
    return result


def pool(x, kernel, reduce):
    """Reduce the positions of the map that lie in a window around each position."""
    sizes, result = tuple(kernel)[5 - x.ndim :], np.empty_like(x)
    for at in np.ndindex(x.shape[1:-1]):
        region = tuple(slice(max(a - n // 2, 0), a + n // 2 + 1) for a, n in zip(at, sizes, strict=True))
        result[(slice(None), *at)] = reduce(x[(slice(None), *region)], axis=tuple(range(1, x.ndim - 1)))
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


def non_local(x, w, reach="spacetime", window_frames=None, **arguments):
    return x + close(attend_in_reach(*non_local_maps(x, w, reach, **arguments), reach, window_frames), w)


def attend_in_reach(queries, keys, values, weigh, reach="spacetime", window_frames=None):
    return in_reach(lambda *maps: attend(*maps, weigh), (queries, keys, values), reach, window_frames)


def non_local_maps(
    x,
    w,
    reach="spacetime",
    pairwise="embedded_gaussian",
    subsample=(1, 2, 2),
    pool_order="after",
    scaled=False,
    **_,
):
    """Queries, keys and values as maps, and how a query weighs the keys in its reach."""
    t, h, width = subsample or (1, 1, 1)
    window = {"spacetime": (t, h, width), "space": (1, h, width), "time": (t, 1, 1)}[reach]
    source = max_pool(x, window) if pool_order == "before" else x
    after = (lambda a: max_pool(a, window)) if pool_order == "after" else lambda a: a
    queries, keys = (
        (x, source) if pairwise == "gaussian" else (project(x, w, "theta"), project(source, w, "phi"))
    )
    keys, values, weigh = after(keys), after(project(source, w, "g")), softmax
    if pairwise == "concatenation":  # w_f . [theta, phi] as a product: of [w . theta, 1] and [1, w . phi]
        a, b = np.split(w["w_f"], 2)
        queries, keys = queries @ a, keys @ b
        queries = np.concatenate([queries, np.ones_like(queries)], axis=-1)
        keys, weigh = np.concatenate([np.ones_like(keys), keys], axis=-1), mean_of(lambda s: np.maximum(s, 0))
    elif pairwise == "dot_product":
        weigh = mean_of(lambda s: s)
    if scaled:
        queries = queries * queries.shape[-1] ** -0.5
    return queries, keys, values, weigh


def region_non_local(x, w, **arguments):
    return x + close(attend(*region_non_local_maps(x, w, **arguments)), w)


def region_non_local_maps(
    x,
    w,
    kernel_size=(3, 7, 7),
    pairwise="gaussian",
    relu=False,
    normalize=False,
    region="convolution",
    subsample=None,
    **_,
):
    """Queries, keys and values as maps, and how a query weighs the keys."""
    u = project(x, w, "g")
    p = depthwise(u, w["region/kernel"]) if region == "convolution" else None
    p = pool(u, kernel_size, {"average": np.mean, "maximum": np.max}[region]) if p is None else p
    if normalize or pairwise == "cosine":
        p = p / np.linalg.norm(p, axis=-1, keepdims=True)
    keys, values = (max_pool(a, subsample or (1, 1, 1)) for a in (p, u))
    weigh = softmax
    if pairwise != "gaussian":
        weigh = mean_of((lambda s: np.maximum(s, 0)) if relu or pairwise == "cosine" else lambda s: s)
    return p, keys, values, weigh


def plain_residual(x, w, **_):
    y = np.maximum(batch_norm(project(x, w, "reduce"), w, name="reduce_norm"), 0)
    return x + batch_norm(project(y, w, "out"), w)


def frame_wise_conv(x, w, **_):
    """FrameWise over a 3x3 "same" convolution without bias."""
    kernel = w["layer/kernel"]
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
    y = np.zeros((*x.shape[:-1], kernel.shape[-1]))
    for i, j in np.ndindex(3, 3):
        y += padded[:, :, i : i + x.shape[2], j : j + x.shape[3]] @ kernel[i, j]
    return y
