"""Mixup and CutMix: every clip of a batch is blended with another one, and its label too.

A clip's partner is the one at the same place in the reversed batch, as the order in the batch is random
already. Each clip draws a share `kept` of its own from Beta(alpha, alpha). (The authors' code draws one share
and one permutation for a whole batch.)

Clips are float [B, T, H, W, 3], and labels are float [B, K], one-hot or multi-hot.
"""

import tensorflow as tf


def mix(clips, labels, seed, mixup_alpha=0.8, cutmix_alpha=1.0, switch_probability=0.5, among=None):
    """Applies either mixup or CutMix to the whole batch, at random.

    Args:
        clips: float [B, T, H, W, 3].
        labels: float [B, K].
        seed: Integer tensor [2].
        mixup_alpha: Parameter of mixup, at least 0; 0 leaves CutMix alone.
        cutmix_alpha: Parameter of CutMix, at least 0; 0 leaves mixup alone. With both 0, the batch
            stays as it is.
        switch_probability: How often CutMix is taken if both alphas are above 0, in [0, 1].
        among: (places, size) if the clips are a part of a batch of `size`: their places in it, int [B]. The
            i-th of them from the front and from the back must be as far from the front and from the back of
            the batch. Each clip is then mixed as it would be in the whole batch.

    Returns:
        (clips, labels) of the same shapes and types.

    Raises:
        ValueError: An argument is outside its range.
    """
    if min(mixup_alpha, cutmix_alpha) < 0 or not 0 <= switch_probability <= 1:
        raise ValueError(
            "Expected alphas of at least 0 and a probability in [0, 1]. Received "
            f"mixup_alpha={mixup_alpha}, cutmix_alpha={cutmix_alpha}, switch_probability="
            f"{switch_probability}. Try: mixup_alpha=0.8, cutmix_alpha=1.0, switch_probability=0.5."
        )
    if mixup_alpha == cutmix_alpha == 0:
        return clips, labels
    if mixup_alpha == 0:
        return cutmix(clips, labels, seed, cutmix_alpha, among)
    if cutmix_alpha == 0:
        return mixup(clips, labels, seed, mixup_alpha, among)
    switch_seed, mixing_seed = tf.unstack(tf.random.split(seed, 2))
    return tf.cond(
        tf.random.stateless_uniform([], switch_seed) < switch_probability,
        lambda: cutmix(clips, labels, mixing_seed, cutmix_alpha, among),
        lambda: mixup(clips, labels, mixing_seed, mixup_alpha, among),
    )


def mixup(clips, labels, seed, alpha=0.8, among=None):
    """Blends clips and labels: kept * x + (1 - kept) * partner (Zhang et al. 2018).

    Args:
        clips: float [B, T, H, W, 3].
        labels: float [B, K].
        seed: Integer tensor [2].
        alpha: Parameter of Beta(alpha, alpha), above 0.
        among: As for `mix`.

    Returns:
        (clips, labels) of the same shapes and types.

    Raises:
        ValueError: `alpha` is not positive.
    """
    places, size = among or _whole(clips)
    kept = tf.gather(beta_draws(seed, size, alpha), places)
    weights = tf.cast(kept, clips.dtype)[:, None, None, None, None]
    return weights * clips + (1 - weights) * clips[::-1], _blend_labels(labels, kept)


def cutmix(clips, labels, seed, alpha=1.0, among=None):
    """Replaces a box, the same in all frames, by the partner's; labels mix by its area (Yun et al. 2019).

    Args:
        clips: float [B, T, H, W, 3].
        labels: float [B, K].
        seed: Integer tensor [2].
        alpha: Parameter of Beta(alpha, alpha), above 0.
        among: As for `mix`.

    Returns:
        (clips, labels) of the same shapes and types; labels are weighted with the area that was replaced.

    Raises:
        ValueError: `alpha` is not positive.
    """
    shape = tf.shape(clips)[2:4]
    places, size = among or _whole(clips)
    low, high = (tf.gather(ends, places) for ends in cutmix_boxes(shape, seed, size, alpha))
    rows, columns = tf.range(shape[0])[:, None], tf.range(shape[1])
    inside = (rows >= low[:, 0, None, None]) & (rows < high[:, 0, None, None])
    inside &= (columns >= low[:, 1, None, None]) & (columns < high[:, 1, None, None])  # [B, H, W]
    replaced = tf.reduce_prod(high - low, axis=1) / tf.reduce_prod(shape)
    mixed = tf.where(inside[:, None, :, :, None], clips[::-1], clips)
    return mixed, _blend_labels(labels, 1 - replaced)


def cutmix_boxes(shape, seed, count, alpha=1.0):
    """Draws the boxes of `cutmix` in frames of `shape` (height, width).

    With the share `kept`, each side is floor(side of the frame * sqrt(1 - kept)) pixels long. The middle is
    uniform over the frame, and the box is cut off at the frame's edges.

    Returns:
        (low, high): int32 [count, 2] each, (top, left) and (bottom, right), the latter exclusive.
    """
    share_seed, place_seed = tf.unstack(tf.random.split(seed, 2))
    kept = beta_draws(share_seed, count, alpha)
    sides = tf.cast(shape, tf.float32)
    extents = tf.cast(sides * tf.sqrt(1 - kept)[:, None], tf.int32)  # [count, 2]
    middles = tf.cast(tf.random.stateless_uniform([count, 2], place_seed) * sides, tf.int32)
    low = middles - extents // 2
    return tf.maximum(low, 0), tf.minimum(low + extents, shape)


def beta_draws(seed, count, alpha):
    """Draws `count` numbers in [0, 1] from Beta(alpha, alpha).

    Raises:
        ValueError: `alpha` is not positive.
    """
    if alpha <= 0:
        raise ValueError(f"Expected alpha above 0. Received alpha={alpha}. Try: alpha=0.8.")
    gamma_seed, uniform_seed = tf.unstack(tf.random.split(seed, 2))
    # Gamma(alpha) = Gamma(alpha + 1) * U^(1 / alpha). Logarithms are taken, as with a small alpha the values
    # are often too small for a float.
    gammas = tf.random.stateless_gamma([2, count], gamma_seed, alpha + 1)
    uniforms = tf.random.stateless_uniform([2, count], uniform_seed)
    logarithms = tf.math.log(gammas) + tf.math.log1p(-uniforms) / alpha  # [2, count]
    return tf.sigmoid(logarithms[0] - logarithms[1])


def _whole(clips):
    size = tf.shape(clips)[0]
    return tf.range(size), size


def _blend_labels(labels, kept):
    weights = tf.cast(kept, labels.dtype)[:, None]
    return weights * labels + (1 - weights) * labels[::-1]
