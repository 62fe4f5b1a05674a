"""Writes tests/fixtures/scikit_learn.json: what scikit-learn measures of random and of degenerate scores.

python tests/scikit_learn_cases.py, in an environment with scikit-learn, which the tests do not need.
"""

import json
import pathlib
import warnings

import numpy as np
import sklearn
from sklearn import metrics
from sklearn.calibration import calibration_curve

# (videos, fraction of positives, different scores or 0 for any).
RANDOM = [(1, 1, 9), (2, 0.5, 9), (7, 0.3, 0), (40, 0.2, 0), (40, 0.2, 4), (40, 0.5, 2), (200, 0.05, 30)]
DEGENERATE = [
    ([1, 1, 1, 1], [0, 1, 0, 1]),
    ([3, 2, 1], [1, 1, 1]),
    ([3, 2, 1], [0, 0, 1]),
    ([3, 2, 1], [0, 0, 0]),
    ([-1e30, 0, 1e30], [1, 0, 1]),
    ([0.0, -0.0, 1], [1, 0, 0]),
    ([2, 2, 1, 1, 0], [0, 1, 1, 0, 1]),
]
# (videos, classes, spread of the logits). scikit-learn takes probabilities below 2e-16 for that.
SINGLE = [(1, 3, 1), (30, 4, 0.5), (60, 7, 3), (60, 6, 8), (25, 2, 1), (20, 4, 0)]


def average_precision(scores, positives):
    scores, positives = np.array(scores, float), np.array(positives, int)
    found = metrics.average_precision_score(positives, scores) if positives.any() else None
    return {"scores": scores.tolist(), "positives": positives.tolist(), "expected": found}


def single(logits, labels):
    every = list(range(logits.shape[1]))
    probabilities = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    confidence, taken = probabilities.max(axis=1), probabilities.argmax(axis=1)
    right, mean = calibration_curve(taken == labels, confidence, n_bins=15, strategy="uniform")
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, 16)[1:-1], confidence))
    found = {
        "calibration_error": float((np.abs(right - mean) * counts[counts > 0]).sum() / len(labels)),
        "loss": metrics.log_loss(labels, probabilities, labels=every),
        "brier": metrics.brier_score_loss(labels, probabilities, labels=every, scale_by_half=False),
        "mean_class_accuracy": metrics.balanced_accuracy_score(labels, taken),
        "top1": metrics.accuracy_score(labels, taken),
        "confusion": metrics.confusion_matrix(labels, taken, labels=every).tolist(),
    }
    if len(every) > 5:
        found["top5"] = float(metrics.top_k_accuracy_score(labels, logits, k=5, labels=every))
    return {"logits": logits.tolist(), "labels": labels.tolist()} | found


def main():
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    drawn = [
        (rng.integers(levels, size=n) if levels else rng.normal(size=n).round(3), rng.random(n) < fraction)
        for n, fraction, levels in RANDOM
    ]
    cases = [
        ((spread * rng.normal(size=(n, k))).round(3), rng.integers(k, size=n)) for n, k, spread in SINGLE
    ]
    cases[2][1][cases[2][1] == 3] = 0  # A class without videos.
    found = {
        "scikit-learn": sklearn.__version__,
        "average_precision": [average_precision(*case) for case in (*drawn, *DEGENERATE)],
        "single": [single(*case) for case in cases],
    }
    path = pathlib.Path(__file__).parent / "fixtures" / "scikit_learn.json"
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
