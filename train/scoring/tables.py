"""The scores of a split class by class: as rows, as CSV, and in words."""

import csv
import math

import numpy as np

from pipelines.whole_files import whole_file
from train.scoring.measures import average_precisions, confusion_matrix, precisions, recalls


def accuracies(results):
    """Returns the accuracies of a summary, in words; of 5 classes and fewer there is no top-5."""
    names = {"top1": "top-1", "top5": "top-5", "mean_class_accuracy": "mean class accuracy", "mAP": "mAP"}
    found = {words: results[name] for name, words in names.items() if name in results}
    shown = (f"{words} {value:.1%}" if value is not None else f"no {words}" for words, value in found.items())
    return ", ".join(shown)


def class_table(scores):
    """Returns a row, a dictionary, for each class of `Scores`, in the order of the labels.

    Its keys are the columns. Where each video has one label, they are `class`; `videos`, how many have that
    label; `recall` and `precision`, in [0, 1]; and `most_frequent_mistake`, the class for which most of them
    were taken, with `mistakes`, how many. Else they are `class`, `videos` and `average_precision`. What is
    not defined, such as the recall of a class without videos, is None or an empty name.
    """
    if scores.multi_label:
        counts, found = scores.labels.sum(axis=0), average_precisions(scores.logits, scores.labels)
        columns = zip(scores.classes, counts.tolist(), found, strict=True)
        return [{"class": a, "videos": b, "average_precision": _or_none(c)} for a, b, c in columns]
    confusion = confusion_matrix(scores.logits, scores.labels)
    mistakes = confusion - np.diag(confusion.diagonal())
    recall, precision = recalls(confusion), precisions(confusion)
    return [
        {
            "class": name,
            "videos": int(confusion[label].sum()),
            "recall": _or_none(recall[label]),
            "precision": _or_none(precision[label]),
            "most_frequent_mistake": scores.classes[mistakes[label].argmax()]
            if mistakes[label].any()
            else "",
            "mistakes": int(mistakes[label].max()),
        }
        for label, name in enumerate(scores.classes)
    ]


def confusions(scores, most=10):
    """Returns the most frequent confusions of two classes as sentences, most frequent first.

    Each is counted in one direction. Of equal counts, the larger fraction of the class's videos comes first.
    """
    confusion = confusion_matrix(scores.logits, scores.labels)
    videos, names = confusion.sum(axis=1), scores.classes
    pairs = [(a, b) for a, b in zip(*np.nonzero(confusion), strict=True) if a != b]
    pairs.sort(key=lambda pair: (-confusion[pair], videos[pair[0]]))
    return [
        f"{names[a]} was taken for {names[b]} in {confusion[a, b]} of {videos[a]} videos "
        f"({confusion[a, b] / videos[a]:.0%})"
        for a, b in pairs[:most]
    ]


def write_classes(path, scores):
    """Writes the class table as CSV, whole or not at all."""
    rows = class_table(scores)
    _write(path, [list(rows[0]), *(list(row.values()) for row in rows)])


def write_confusion(path, scores):
    """Writes the confusion matrix as CSV, whole or not at all: rows are the classes."""
    counts = confusion_matrix(scores.logits, scores.labels).tolist()
    rows = [[name, *row] for name, row in zip(scores.classes, counts, strict=True)]
    _write(path, [["class \\ taken for", *scores.classes], *rows])


def in_columns(rows, most=20):
    """Returns the rows of a class table as lines for a terminal.

    If there are more than `most`, these are the worst ones that have videos, by recall or average precision.
    """
    names = list(rows[0])
    if len(rows) > most:
        worth = next(name for name in names if name in ("recall", "average_precision"))
        rows = sorted((row for row in rows if row["videos"]), key=lambda row: row[worth])[:most]
    heads = [name.replace("_", " ") for name in names]
    table = [heads, *([_cell(name, row) for name in names] for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(names))]
    are_text = [name in ("class", "most_frequent_mistake") for name in names]
    return [
        "  ".join(
            cell.ljust(width) if is_text else cell.rjust(width)
            for cell, width, is_text in zip(cells, widths, are_text, strict=True)
        ).rstrip()
        for cells in table
    ]


def _cell(name, row):
    value = row[name]
    if value is None or (name == "mistakes" and not value):
        return ""
    return f"{value:.1%}" if isinstance(value, float) else str(value)


def _or_none(number):
    return None if math.isnan(number) else float(number)


def _write(path, rows):
    with (
        whole_file(path) as partial,
        open(partial, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        csv.writer(file).writerows(rows)
