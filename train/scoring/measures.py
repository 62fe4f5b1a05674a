"""What is measured of scores: accuracies, losses, confusions, calibration and average precision.

Everything is NumPy in float64. N is the count of videos and K that of classes; logits are float [N, K], and
probabilities are, too. Labels are int [N] in [0, K), or bool [N, K] where a video has several labels or none.
"""

import numpy as np

CALIBRATION_BINS = 15


def log_softmax(logits):
    """Returns the logarithms of the probabilities, where each video shows one class: float64 [..., K]."""
    logits = logits.astype(np.float64)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def log_sigmoid(logits):
    """Returns the logarithms of the probabilities, each class by itself: float64 [..., K]."""
    return -np.logaddexp(0, -logits.astype(np.float64))


# What makes probabilities of logits -> function (logits [N, K]) -> their logarithms [N, K].
LOG_PROBABILITIES = {"softmax": log_softmax, "sigmoid": log_sigmoid}


def pooled(logits, pooling, activation):
    """Returns the logits of what several views, or models, say together.

    Args:
        logits: float [C, ..., K] of C views.
        pooling: "logits", the mean of the logits; "probabilities", the logits of the mean of the
            probabilities; or "max", those of the largest probability of each class. The softmax of the last
            gives these probabilities back in proportion, as they do not add up to 1.
        activation: "softmax", or "sigmoid" where classes do not exclude each other: which probabilities.

    Returns:
        float64 [..., K]. Nothing is rounded to 0 on the way: logarithms are added up.
    """
    if pooling == "logits":
        return logits.astype(np.float64).mean(axis=0)
    if pooling == "max":
        return (log_softmax(logits) if activation == "softmax" else logits.astype(np.float64)).max(axis=0)
    # The mean's common factor, the count, makes no difference to a quotient of two probabilities.
    if activation == "sigmoid":
        return np.logaddexp.reduce(log_sigmoid(logits)) - np.logaddexp.reduce(log_sigmoid(-logits))
    return np.logaddexp.reduce(log_softmax(logits)) - np.log(len(logits))


def cross_entropy(logits, labels):
    """Returns the mean over rows of -log softmax(logits)[label], in nats: the negative log-likelihood."""
    return float(-np.take_along_axis(log_softmax(logits), labels[:, None], axis=1).mean())


def binary_cross_entropy(logits, labels):
    """Returns the mean over rows and classes of -log sigmoid(x), in nats; x is -logit for what is no label.

    Args:
        logits: float [N, K].
        labels: bool [N, K].
    """
    return float(-log_sigmoid(np.where(labels, logits, -logits)).mean())


def accuracy(logits, labels, k):
    """Returns the fraction of rows whose label is among the k largest logits."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())


def confusion_matrix(logits, labels):
    """Returns int [K, K]: how many videos of each class (row) were taken for each class (column).

    The class with the largest logit counts, and the first of several that are equal.
    """
    classes = logits.shape[1]
    pairs = labels * classes + logits.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def recalls(confusion):
    """Returns the fraction of each class's videos that were taken for it, float [K]; NaN without videos."""
    return _quotients(confusion.diagonal(), confusion.sum(axis=1))


def precisions(confusion):
    """Returns the fraction of what was taken for each class that shows it, float [K]; NaN if nothing was."""
    return _quotients(confusion.diagonal(), confusion.sum(axis=0))


def mean_class_accuracy(confusion):
    """Returns the mean of the recalls of those classes that have videos."""
    return float(np.nanmean(recalls(confusion)))


def calibration_error(probabilities, labels, bins=CALIBRATION_BINS):
    """Returns the expected calibration error, in [0, 1] (Guo et al. 2017, eq. 3).

    The videos are put in bins of equal width by the largest probability of each, its confidence. A bin holds
    its upper end. The error is the mean over the videos of |accuracy - mean confidence| of their bin.
    """
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    bin_of = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    return float(np.abs(np.bincount(bin_of, is_right - confidence)).sum() / len(labels))


def brier_score(probabilities, labels):
    """Returns the mean over rows of the sum over classes of (probability - truth)^2, in [0, 2]."""
    of_labels = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    return float(((probabilities**2).sum(axis=1) - 2 * of_labels + 1).mean())


def average_precision(scores, positives):
    """Returns the area under the steps of precision over recall, in [0, 1]; NaN without positives.

    It is the sum over the different scores s, from the largest on, of the recall gained at s times the
    precision among the videos of a score of s or more. Videos of equal scores come together, so that their
    order does not matter. Without equal scores it is the mean of the precision at each positive.

    Args:
        scores: float [N].
        positives: bool [N].
    """
    if not positives.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    scores, positives = scores[order], positives[order]
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # The last video of each score.
    found = np.cumsum(positives)[ends]
    return float((np.diff(found, prepend=0) * found / (ends + 1)).sum() / found[-1])


def average_precisions(logits, labels):
    """Returns the average precision of each class over the videos, float [K], as Charades is evaluated.

    Videos without a label are left out: the data set's own program gives them the score of minus infinity,
    so that they come after all others and count for nothing. A class without positives has NaN. There, the
    data set's program would divide by 0; means are taken over the other classes.

    Args:
        logits: float [N, K].
        labels: bool [N, K].
    """
    has_label = labels.any(axis=1)
    columns = zip(logits[has_label].T, labels[has_label].T, strict=True)
    return np.array([average_precision(*column) for column in columns])


def _quotients(counts, totals):
    return np.divide(counts, totals, out=np.full(len(totals), np.nan), where=totals > 0)
