"""The scores of the videos of a split, as a file that is read again without the model."""

import dataclasses
import os
import zipfile

import numpy as np

from pipelines.whole_files import whole_file
from savedmodels.loading import one_line
from train.scoring import measures

_FILE = "a file that python -m train or python -m train.evaluate wrote, whole"


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a model says of the V videos of a split that can be read.

    Attributes:
        logits: float [V, K], of all views of a video together, see `train.scoring.measures.pooled`.
        labels: int [V], or bool [V, K] where a video has several labels or none.
        paths: The V paths, as in the manifest.
        classes: The K names of the classes.
    """

    logits: np.ndarray
    labels: np.ndarray
    paths: tuple
    classes: tuple

    @property
    def multi_label(self):
        """Whether a video may have several labels or none."""
        return self.labels.ndim == 2

    @property
    def probabilities(self):
        """float64 [V, K]: the softmax of the logits, or where a video may have several labels, sigmoids."""
        return np.exp(measures.LOG_PROBABILITIES["sigmoid" if self.multi_label else "softmax"](self.logits))

    def save(self, path):
        """Writes an `.npz` file, whole or not at all."""
        with whole_file(os.fspath(path)) as partial, open(partial, "wb") as file:
            np.savez(file, **dataclasses.asdict(self))

    @classmethod
    def load(cls, path):
        """Reads what `save` wrote, without running anything that may be in the file.

        Raises:
            ValueError: The file is damaged, or something else.
            OSError: It cannot be opened.
        """
        with one_line(path, "scores of videos", _FILE):
            if not os.path.isfile(path):  # Whoever opens a pipe waits for ever.
                raise FileNotFoundError("no such file")
            with np.load(path, allow_pickle=False) as arrays:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in arrays.zip.infolist()):
                    raise ValueError("compressed arrays, whose size nobody knows before")
                logits, labels, paths, classes = (arrays[field.name] for field in dataclasses.fields(cls))
            _check(logits, labels, paths, classes)
            return cls(logits, labels, tuple(paths.tolist()), tuple(classes.tolist()))


def _check(logits, labels, paths, classes):
    """Raises ValueError unless arrays of a file go together."""
    if logits.ndim != 2 or logits.dtype.kind != "f" or not logits.size or not np.isfinite(logits).all():
        raise ValueError(f"logits {logits.dtype} {logits.shape}, which are no finite table")
    videos, count = logits.shape
    is_one_each = labels.shape == (videos,) and labels.dtype.kind == "i"
    if is_one_each and not (labels.min() >= 0 and labels.max() < count):
        raise ValueError(f"labels outside [0, {count})")
    if not is_one_each and not (labels.shape == logits.shape and labels.dtype == bool):
        raise ValueError(f"labels {labels.dtype} {labels.shape} for logits {logits.shape}")
    for name, array, length in (("paths", paths, videos), ("classes", classes, count)):
        if array.shape != (length,) or array.dtype.kind != "U":
            raise ValueError(f"{name} {array.dtype} {array.shape} for logits {logits.shape}")


def summary(scores):
    """Returns what is measured of `Scores`, ready for JSON.

    Returns:
        A dictionary. Where each video has one label: `top1`, `top5` if there are more than 5 classes, and
        `mean_class_accuracy`, in [0, 1]; `loss`, the mean cross-entropy in nats, which is the negative
        log-likelihood; `calibration_error`, with 15 bins, in [0, 1], and `brier`, in [0, 2]; and the count of
        `videos`. Where a video may have several labels: `mAP`, in [0, 1], the mean of the average precisions
        of the classes that have videos, or None if none has; `loss`, the mean binary cross-entropy of their
        sigmoids over videos and classes, in nats; the count of these `classes_with_videos`, of `videos`, and
        of `videos_without_label`, which count for the loss alone.
    """
    logits, labels = scores.logits, scores.labels
    if scores.multi_label:
        precisions = measures.average_precisions(logits, labels)
        known = precisions[~np.isnan(precisions)]
        return {
            "mAP": float(known.mean()) if len(known) else None,
            "loss": measures.binary_cross_entropy(logits, labels),
            "classes_with_videos": len(known),
            "videos": len(labels),
            "videos_without_label": int((~labels.any(axis=1)).sum()),
        }
    top5 = {"top5": measures.accuracy(logits, labels, 5)} if len(scores.classes) > 5 else {}
    return {
        "top1": measures.accuracy(logits, labels, 1),
        **top5,
        "mean_class_accuracy": measures.mean_class_accuracy(measures.confusion_matrix(logits, labels)),
        "loss": measures.cross_entropy(logits, labels),
        "calibration_error": measures.calibration_error(scores.probabilities, labels),
        "brier": measures.brier_score(scores.probabilities, labels),
        "videos": len(labels),
    }


def ensemble(scores, names, of="probabilities"):
    """Returns the `Scores` of several models together: the mean of their probabilities, or of their logits.

    Args:
        scores: Sequence of `Scores`.
        names: What to call each of them in an error, such as its path.
        of: "probabilities", or "logits" as in RNL's ensembles of 8 and 16 frames (Huang and Bors 2020,
            Tables IV and V).

    Returns:
        `Scores` whose `probabilities` or logits are the mean of the others', to rounding; a single one is
        returned as it is. Paths are those of the first.

    Raises:
        ValueError: They are of other videos, or of another order of videos; of other classes; or of other
            labels. Folders that all videos of a file share may differ.
    """
    first = scores[0]
    for other, name in zip(scores[1:], names[1:], strict=True):
        found = _difference(first, other)
        if found:
            raise ValueError(
                f"Expected in {name} the scores of the same videos, labels and classes as in {names[0]}. "
                f"Received {found}. Try: python -m train.evaluate with the same --annotations for both."
            )
    if len(scores) == 1:
        return first
    stacked = np.stack([other.logits for other in scores])
    logits = measures.pooled(stacked, of, "sigmoid" if first.multi_label else "softmax")
    return dataclasses.replace(first, logits=logits)


def _difference(first, other):
    """Returns in which way scores are of something else than others, or an empty text."""
    if first.classes != other.classes:
        pairs = zip(first.classes, other.classes, strict=False)
        differ = [f"class {b!r} for {a!r}" for a, b in pairs if a != b]
        return differ[0] if differ else f"{len(other.classes)} classes for {len(first.classes)}"
    ours, theirs = _below(first.paths), _below(other.paths)
    if ours != theirs:
        differ = [f"{b!r} for {a!r}" for a, b in zip(ours, theirs, strict=False) if a != b]
        counts = f"{len(theirs)} videos for {len(ours)}"
        return f"{counts}, first {differ[0]}" if differ else counts
    if first.labels.shape != other.labels.shape:
        return "one label a video and several"
    (differ,) = np.nonzero(np.reshape(first.labels != other.labels, (len(ours), -1)).any(axis=1))
    return f"other labels of {len(differ)} videos, first of {other.paths[differ[0]]!r}" if len(differ) else ""


def _below(paths):
    """Returns paths without the folder that all of them share, as a data set may move as a whole."""
    # It compares characters, which the last slash turns into whole names.
    shared = os.path.commonprefix(list(paths)).rfind("/") + 1  # noqa: RUF071
    return [path[shared:] for path in paths]
