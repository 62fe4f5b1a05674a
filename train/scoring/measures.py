"""What is measured of scores: accuracies and losses."""

import numpy as np


def cross_entropy(logits, labels):
    """Returns the mean over rows of -log softmax(logits)[label], in nats."""
    logits = logits.astype(np.float64)
    of_labels = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return float((np.logaddexp.reduce(logits, axis=1) - of_labels).mean())


def accuracy(logits, labels, k):
    """Returns the fraction of rows whose label is among the k largest logits."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())
