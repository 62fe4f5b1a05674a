"""The bilinear attentional transform in NumPy float64, with the full H x H and W x W matrices."""

import numpy as np
from oracles import project


def bilinear_attention(x, w, **arguments):
    """The block, one clip at a time; an image is a clip of one frame."""
    clips = x if x.ndim == 5 else x[:, None]
    result = np.stack([_clip(clip, w, x.ndim == 5, **arguments) for clip in clips])
    return result.reshape(x.shape)


def _clip(
    x,
    w,
    is_video,
    transform="block_based",
    spatial_groups=4,
    temporal_groups=4,
    size=7,
    temporal_size=4,
    matrix_size=None,
    normalization="sigmoid",
    **_,
):
    u = convolve(x, w, "reduce", "reduce_norm")  # [T, H, W, d]
    frames, height, width, channels = u.shape
    rows, columns = matrix_sides(size, matrix_size, height, width)
    if transform == "full_resolution":
        rows, columns = height, width
    temporal_groups = temporal_groups if is_video else 0
    p, q, t = matrices(u, w, rows, columns, spatial_groups, temporal_groups, temporal_size, normalization)

    y = np.stack([shrink(frame, rows, columns) for frame in u]) if transform == "downsampling" else u
    y = np.stack([two_sided(y[f], p[f], q[f]) for f in range(frames)]) if spatial_groups else y
    if temporal_groups:
        mixed = np.zeros_like(y)
        for c in range(channels):
            whole = np.kron(t[c // (channels // temporal_groups)], np.eye(frames // temporal_size))
            for target, source in np.ndindex(whole.shape):
                mixed[target, ..., c] += whole[target, source] * y[source, ..., c]
        y = mixed
    y = convolve(y, w, "mix", "mix_norm")
    if transform == "downsampling":
        # Enlarged before the last convolution: the layer does so after it, which is the same.
        y = np.stack([enlarge(frame, height, width) for frame in y])
    return x + convolve(y, w, "out", "norm")


def matrix_sides(size, matrix_size, height, width):
    """The sides of P and Q."""
    if matrix_size == "fitted" and isinstance(size, int):
        return (height // (height // size),) * 2
    if matrix_size == "fitted":
        return height // (height // size[0]), width // (width // size[1])
    sides = matrix_size or size
    return (sides, sides) if isinstance(sides, int) else sides


def convolve(x, w, name, norm, epsilon=1e-5):
    """f: a 1x1x1 convolution, batch norm with running statistics, ReLU."""
    y = (project(x, w, name) - w[f"{norm}/moving_mean"]) / np.sqrt(w[f"{norm}/moving_variance"] + epsilon)
    return np.maximum(y * w[f"{norm}/gamma"] + w[f"{norm}/beta"], 0)


def matrices(u, w, rows, columns, spatial_groups, temporal_groups, temporal_size, normalization):
    """P [T][k], Q [T][k] and T [k_t] of one clip u [T, H, W, d]."""
    p, q, t = [], [], None
    if not spatial_groups and not temporal_groups:
        return p, q, t
    context = convolve(u, w, "context", "context_norm")
    for frame in context if spatial_groups else []:
        row_maxima = np.stack([part.max(axis=(0, 1)) for part in np.split(frame, rows, axis=0)])
        column_maxima = np.stack([part.max(axis=(0, 1)) for part in np.split(frame, columns, axis=1)])
        p_logits = slide(row_maxima, w["p/kernel"], w["p/bias"], spatial_groups)
        q_logits = slide(column_maxima, w["q/kernel"], w["q/bias"], spatial_groups)
        p.append([normalise(matrix, normalization) for matrix in p_logits])
        q.append([normalise(matrix.T, normalization).T for matrix in q_logits])
    if temporal_groups:
        means = np.stack([part.mean(axis=(0, 1, 2)) for part in np.split(context, temporal_size)])
        t_logits = slide(means, w["t/kernel"], w["t/bias"], temporal_groups)
        t = [normalise(matrix, normalization) for matrix in t_logits]
    return p, q, t


def slide(pooled, kernel, bias, groups):
    """Logits [groups, m, m]: predictions of all windows of pooled [m, k], averaged where they overlap."""
    side, size = len(pooled), len(kernel)
    total, count = np.zeros((groups, side, side)), np.zeros((side, side))
    for start in range(side - size + 1):
        logits = np.einsum("ac,aco->o", pooled[start : start + size], kernel) + bias
        window = slice(start, start + size)
        total[:, window, window] += logits.reshape(groups, size, size)
        count[window, window] += 1
    return total / np.maximum(count, 1)


def normalise(logits, normalization):
    """Rows that sum to 1."""
    result = np.empty_like(logits)
    for row, z in enumerate(logits):
        positive = 1 / (1 + np.exp(-z)) if normalization == "sigmoid" else np.exp(z - z.max())
        result[row] = positive / positive.sum()
    return result


def two_sided(frame, p, q):
    """P X Q for every channel of a frame [H, W, d], P and Q as large as the frame."""
    height, width, channels = frame.shape
    y = np.empty_like(frame)
    for c in range(channels):
        left, right = (m[c // (channels // len(m))] for m in (p, q))
        left = np.kron(left, np.eye(height // len(left)))
        right = np.kron(right, np.eye(width // len(right)))
        y[..., c] = left @ frame[..., c] @ right
    return y


def shrink(frame, rows, columns):
    """Mean of each of rows x columns blocks of a frame [H, W, d]."""
    parts = np.split(frame, rows, axis=0)
    return np.stack([np.stack([b.mean(axis=(0, 1)) for b in np.split(p, columns, axis=1)]) for p in parts])


def enlarge(frame, height, width):
    """Bilinear interpolation of a frame with half-pixel centres, pixel by pixel."""
    y = np.empty((height, width, frame.shape[-1]))
    for at in np.ndindex(height, width):
        (i, up), (j, right) = (
            neighbours(a, length, small)
            for a, length, small in zip(at, (height, width), frame.shape, strict=False)
        )
        below, beside = min(i + 1, len(frame) - 1), min(j + 1, frame.shape[1] - 1)
        upper = (1 - right) * frame[i, j] + right * frame[i, beside]
        lower = (1 - right) * frame[below, j] + right * frame[below, beside]
        y[at] = (1 - up) * upper + up * lower
    return y


def neighbours(at, length, small):
    """The coarse position before the centre of pixel `at`, and how far beyond it the centre lies."""
    source = max((at + 0.5) * small / length - 0.5, 0)
    before = min(int(source), small - 1)
    return before, source - before
