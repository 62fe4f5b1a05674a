"""What is measured of scores: accuracies, losses and confusions."""

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


def _quotients(counts, totals):
    return np.divide(counts, totals, out=np.full(len(totals), np.nan), where=totals > 0)
