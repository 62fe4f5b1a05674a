"""How good a model is: clips x crops per video, scores averaged, and the accuracies."""

import time

import numpy as np

from pipelines.clips import SAMPLING
from pipelines.dataset import evaluation_views


def video_logits(model, manifest, config, bad_videos):
    """Returns the logits of each readable video, averaged over its clips and crops.

    Args:
        model: Model from clips to logits.
        manifest: The videos.
        config: A `Config`; its `test_*` fields, sampling and normalisation are used.
        bad_videos: A `BadVideos`, which receives the unreadable ones.

    Returns:
        (float array [videos, classes], int array [videos] of labels), in the manifest's order without
        the bad ones.
    """
    views = evaluation_views(
        manifest,
        config.test_format(),
        choose=SAMPLING[config.sampling][1],
        clips=config.test_clips,
        crops=config.test_crops,
        batch_size=config.batch_size,
        bad_videos=bad_videos,
    )
    scores = model.predict(views.map(lambda clips, labels, weights: clips))  # [videos * views, classes]
    scores = scores.reshape(len(manifest), config.test_clips * config.test_crops, -1).mean(axis=1)
    good = [number for number, video in enumerate(manifest.videos) if video.path not in bad_videos]
    return scores[good], np.array([manifest.videos[number].label for number in good], int)


def evaluate(model, manifest, config, bad_videos):
    """Evaluates a model on a manifest.

    Returns:
        A dictionary: `top1` and `top5` in [0, 1], the number of `videos`, of `clips` and `crops` per
        video, and `seconds_per_video`, decoding included.
    """
    start = time.monotonic()
    logits, labels = video_logits(model, manifest, config, bad_videos)
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
