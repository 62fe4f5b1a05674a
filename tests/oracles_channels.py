"""The channel gates' equations in NumPy float64, clip by clip: slow and plain on purpose, as in `oracles`."""

import itertools

import numpy as np
import oracles


def sigmoid(a):
    return (1 + np.tanh(a / 2)) / 2  # exp would overflow


def positions(clip):
    """The positions of one clip in a row: [..., C] -> [N, C]."""
    return clip.reshape(-1, clip.shape[-1])


def gate_of(vectors, w, norm):
    """W_2 ReLU(norm(W_1 a)) of each vector a: [B, C] -> [B, C]."""
    hidden = norm(oracles.project(vectors, w, "reduce"))
    return oracles.project(np.maximum(hidden, 0), w, "expand")


def layer_norm(y, w, epsilon=1e-5):
    centred = y - y.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + epsilon) * w["norm/gamma"] + w["norm/beta"]


def squeeze_excite(x, w, mode="add", **_):
    means = np.stack([positions(clip).mean(axis=0) for clip in x])
    norm = (lambda y: oracles.batch_norm(y, w)) if mode == "add" else (lambda y: y)
    s = gate_of(means, w, norm)
    y = np.empty_like(x)
    for b in range(len(x)):
        y[b] = x[b] + s[b] if mode == "add" else x[b] * sigmoid(s[b])
    return y


def global_context(x, w, norm="layer", **_):
    contexts = []
    for clip in x:
        logits = np.array([position @ w["mask/kernel"][:, 0] for position in positions(clip)])
        logits += w["mask/bias"]
        weights = np.exp(logits - logits.max())
        contexts.append(weights @ positions(clip) / weights.sum())
    normalise = layer_norm if norm == "layer" else oracles.batch_norm
    s = gate_of(np.stack(contexts), w, lambda y: normalise(y, w))
    return np.stack([clip + added for clip, added in zip(x, s, strict=True)])


def conv_block_attention(x, w, **_):
    y = np.empty_like(x)
    for b, clip in enumerate(x):
        mean, largest = positions(clip).mean(axis=0), positions(clip).max(axis=0)
        y[b] = clip * sigmoid(sum(gate_of(v, w, lambda hidden: hidden) for v in (mean, largest)))
    maps = np.stack([y.max(axis=-1), y.mean(axis=-1)], axis=-1)
    logits = correlate(maps, w["conv/kernel"])
    return y * sigmoid(oracles.batch_norm(logits, w) if "norm/gamma" in w else logits)


def correlate(x, kernel):
    """Correlation with a kernel [..., I, O], zeros outside the map."""
    sizes, sides = kernel.shape[:-2], x.shape[1:-1]
    result = np.zeros((*x.shape[:-1], kernel.shape[-1]))
    for at in itertools.product(*map(range, sides)):
        for tap in itertools.product(*map(range, sizes)):
            source = tuple(a + t - size // 2 for a, t, size in zip(at, tap, sizes, strict=True))
            if all(0 <= s < side for s, side in zip(source, sides, strict=True)):
                result[(slice(None), *at)] += x[(slice(None), *source)] @ kernel[tap]
    return result


def part(w, child):
    """The weights of one child, by their names inside it."""
    return {name.removeprefix(f"{child}/"): v for name, v in w.items() if name.startswith(f"{child}/")}


def attention_chain(x, w, **_):
    """The table's chain: SE, then RNL, both with their default equations."""
    return oracles.region_non_local(squeeze_excite(x, part(w, "channel")), part(w, "region"))


def gated_chain(x, w, **_):
    """The released chain: global context with batch norm, then RNL."""
    x = global_context(x, part(w, "channel"), norm="batch")
    return oracles.region_non_local(x, part(w, "region"))


def check_slow_statistics(norm, weights, prefix, values, momentum=0.99):
    """After one training step at torch's momentum 0.01, each statistic over so many `values`."""
    mean, variance = (weights[f"stats_after/{prefix}.running_{what}"] for what in ("mean", "var"))
    np.testing.assert_allclose(norm.moving_mean.numpy(), mean, atol=2e-6)
    kept = momentum * weights[f"{prefix}.running_var"]
    biased = kept + (variance - kept) * (values - 1) / values  # torch averages the unbiased variance
    np.testing.assert_allclose(norm.moving_variance.numpy(), biased, rtol=2e-5)
