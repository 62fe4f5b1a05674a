"""How good a model is: clips x crops per video, scores averaged, and the accuracies."""

import time

import numpy as np

from train.data import evaluation_clips


def video_logits(model, source, config, account):
    """Returns the logits of each readable video, averaged over its clips and crops.

    Args:
        model: Model from clips to logits.
        source: Where the videos come from, see `pipelines.dataset`.
        config: A `Config`; its `test_*` fields, sampling and normalisation are used.
        account: The `Account` of the source's manifest, which receives the unreadable ones.

    Returns:
        (float array [videos, classes], int array [videos] of labels), in the manifest's order without
        the bad ones.
    """
    videos = source.manifest.videos
    views = evaluation_clips(config, source, account)
    scores = model.predict(views.map(lambda clips, labels, weights: clips))  # [videos * views, classes]
    scores = scores.reshape(len(videos), config.test_clips * config.test_crops, -1).mean(axis=1)
    good = [row for row in range(len(videos)) if row not in account]
    return scores[good], np.array([videos[number].label for number in good], int)


def evaluate(model, source, config, account):
    """Evaluates a model on all videos of a source.

    Returns:
        A dictionary: `top1` and `top5` in [0, 1], the number of `videos`, of `clips` and `crops` per
        video, and `seconds_per_video`, decoding included.

    Raises:
        TooManyBadVideos: Not one video can be read, or more of them are bad than the account allows.
    """
    start = time.monotonic()
    logits, labels = video_logits(model, source, config, account)
    account.check()
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
