"""Evaluates a model: averages its logits over clips x crops per video, and computes the accuracies."""

import time

import numpy as np

from train.data import evaluation_clips


def video_logits(model, source, config, account):
    """Returns the logits of each readable video, averaged over its clips and crops.

    Args:
        model: Model from clips to logits.
        source: The source of the videos, see `pipelines.dataset`.
        config: The `Config` of the run; its fields say which views there are.
        account: The `Account` of the source's manifest, in which unreadable videos are entered.

    Returns:
        (logits, labels): float [videos, classes] and int [videos], in the manifest's order without the
        videos that cannot be read.

    Raises:
        FloatingPointError: A logit is infinite or NaN.
        tf.errors.OpError: More videos are bad than the account allows.
    """
    videos = source.manifest.videos
    views = evaluation_clips(config, source, account)
    scores = model.predict(views.map(lambda clips, labels, weights: clips))  # [videos * views, classes]
    scores = scores.reshape(len(videos), config.test_clips * config.test_crops, -1).mean(axis=1)
    good = [row for row in range(len(videos)) if row not in account]
    if not np.isfinite(scores[good]).all():
        raise FloatingPointError(
            f"Expected finite scores. Received infinity or NaN for {videos[good[0]].path} or another video. "
            "Try: a lower --learning_rate, or --dtype_policy=float32, in a new --workdir."
        )
    return scores[good], np.array([videos[row].label for row in good], int)


def evaluate(model, source, config, account):
    """Evaluates a model on all videos of a source.

    Returns:
        A dictionary: `top1` and `top5` in [0, 1]; the count of `videos`, and of `clips` and `crops` per
        video; and `seconds_per_video`, decoding included.

    Raises:
        FloatingPointError: A logit is infinite or NaN.
        tf.errors.OpError: More videos are bad than the account allows, or no video can be read.
    """
    start = time.monotonic()
    logits, labels = video_logits(model, source, config, account)
    seconds = time.monotonic() - start
    return {
        "top1": accuracy(logits, labels, 1),
        "top5": accuracy(logits, labels, 5),
        "videos": len(labels),
        "clips": config.test_clips,
        "crops": config.test_crops,
        "seconds_per_video": seconds / len(labels),
    }


def accuracy(logits, labels, k):
    """Returns the fraction of rows whose label is among the k largest logits."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())
