"""The sections of a report, each made of what the files of a run say, or of words for what is missing."""

import collections
import math
import os

import numpy as np

from train.reporting.charts import confusion_chart, line_chart
from train.reporting.elements import element, folded, joined, legible, named, percent, picture, table
from train.reporting.page import facts, missing, section
from train.reporting.pictures import confusion_picture
from train.reporting.run_files import number
from train.scoring.measures import mean_class_accuracy, precisions, recalls
from train.scoring.tables import class_table

_MOST_DRAWN = 40  # Classes of a confusion matrix with names.
_WORST_CLASSES, _MOST_BAD = 20, 100
# What ended the training before its last epoch, as results.json has it.
_ENDED_BY = {
    "patience_epochs": " No epoch had been better for a while, so training ended before the last one.",
    "max_minutes": " Its time was over, so training ended before the last epoch.",
}


def headline(run, matrix):
    """Returns what the run was, how it ended, and how good it is."""
    title = element("h1", f"Report of {legible(os.path.basename(os.path.abspath(run.workdir)), 80)}")
    return joined(
        title, element("p", _network(run)), element("p", _end(run), class_="soft"), _facts(run, matrix)
    )


def _network(run):
    """Returns a sentence on network and data."""
    config, used = run.config, _account(run, "train").get("used")
    parts = [f"{len(run.classes)} classes"] if run.classes else []
    parts += [f"{used:,} training videos"] if isinstance(used, int) else []
    counts = ", ".join(parts)
    if config is None:
        return f"What run it was is not known, as run.flags cannot be read{'; ' if counts else ''}{counts}."
    blocks = " and ".join(config.block) if config.blocks else "no attention block"
    parts = (
        f"{config.temporal.upper()} ResNet-{config.depth} with {blocks}",
        f"{config.clip_frames} frames a clip",
    )
    text = ", ".join([*parts, *([counts] if counts else [])])
    return joined(legible(text), ", from ", element("code", named(config.data_dir, 80)), ".")


def _account(run, split):
    """Returns what results.json says of the videos of a split, or {}."""
    data = run.results.get("data")
    account = data.get(split) if isinstance(data, dict) else None
    return account if isinstance(account, dict) else {}


def _end(run):
    """Returns a sentence on how far the run came."""
    done = run.curves.get("epoch") or [0]
    planned = f" of {run.config.epochs}" if run.config and not run.config.steps else ""
    if not run.results:
        return f"The run is not done: {done[-1]}{planned} epochs are, and results.json is not there."
    seconds = number(run.results.get("train_seconds"))
    took = f" in {duration(seconds)}" if 0 <= seconds < 1e9 else ""
    epochs = f"{done[-1]}{planned} epochs" if done[-1] else "training"
    why = _ENDED_BY.get(str(run.results.get("ended_by")), "")
    kept = run.results.get("epoch")
    weights = (
        f" The weights are those of epoch {kept}."
        if isinstance(kept, int) and not isinstance(kept, bool)
        else ""
    )
    return f"The run is done: {epochs}{took}, and the evaluation.{why}{weights}"


def _facts(run, matrix):
    results, count = run.results, len(run.classes)
    top1, top5, precision, videos = (number(results.get(name)) for name in ("top1", "top5", "mAP", "videos"))
    items = []
    if math.isfinite(top1):
        low, high = interval(top1, videos)
        items.append(("top-1", percent(top1), f"{percent(low)} to {percent(high)} with 95 % confidence"))
    if math.isfinite(top5) and count > 5:
        items.append(("top-5", percent(top5), ""))
    if math.isfinite(precision):
        having = number(results.get("classes_with_videos"))
        over = f"{having:.0f}" if math.isfinite(having) else "the"
        items.append(("mAP", percent(precision), f"the mean over {over} classes that have videos"))
    if matrix is not None:
        items.append(("mean class accuracy", percent(mean_class_accuracy(matrix)), "the mean of all recalls"))
    if count and not math.isfinite(precision):
        items.append(("chance", percent(1 / count), f"of {count} classes"))
    if math.isfinite(videos):
        views = f"{results.get('clips')} clips x {results.get('crops')} crops each"
        items.append(("validation videos", f"{videos:,.0f}", legible(views, 60)))
    if not (math.isfinite(top1) or math.isfinite(precision)):
        return joined(facts(*items), missing("There are no results yet, so the page has no final accuracy."))
    return facts(*items)


def interval(fraction, count):
    """Returns Wilson's interval of 95 % for a fraction of `count` videos.

    >>> low, high = interval(0.5, 10)
    >>> f"{low:.3f} {high:.3f}"
    '0.237 0.763'
    """
    if not count > 0:
        return 0.0, 1.0
    z, fraction = 1.96, min(max(fraction, 0.0), 1.0)
    middle = (fraction + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(fraction * (1 - fraction) / count + (z / (2 * count)) ** 2)
    return max(0.0, middle - half), min(1.0, middle + half)


def duration(seconds):
    """Returns a time in words.

    >>> duration(3700)
    '1 h 2 min'
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def curves(run):
    """Returns loss, accuracies and rate by epoch."""
    found = run.curves
    if not found.get("epoch"):
        reason = run.problems.get("curves.csv", "It has no rows.")
        return section("Curves", missing(f"There are no curves. curves.csv: {legible(reason)}"))
    accuracies = {"training top-1": found["top1"], "validation top-1": found["val_top1"]}
    if not 0 < len(run.classes) <= 5:
        accuracies["validation top-5"] = found["val_top5"]
    title, measure = "Accuracy", found["val_top1"]
    if any(map(math.isfinite, found["val_mAP"])):
        title, measure = "Mean average precision", found["val_mAP"]
        accuracies = {"validation mAP": measure}
    epochs = found["epoch"]
    charts = (
        line_chart("Loss", {"training": found["loss"], "validation": found["val_loss"]}, epochs, "{:.3g}"),
        line_chart(title, accuracies, epochs, "{:.0%}"),
        line_chart("Learning rate", {"rate": found["learning_rate"]}, epochs, "{:.3g}"),
    )
    words = [
        "The validation of an epoch shows the centre clip of each video, and the final evaluation may show "
        "more views."
    ]
    good = [(value, -epoch) for value, epoch in zip(measure, epochs, strict=True) if value == value]
    if good:
        best, epoch = max(good)
        words.append(f"The best validation is that of epoch {-epoch}: {percent(best)}.")
    if len(epochs) == 1:
        words.append("There is one epoch, and so one point.")
    return section(
        "Curves", element("div", *charts, class_="charts"), element("p", " ".join(words), class_="soft")
    )


def classes(run, matrix):
    """Returns the table of classes, the worst first, and the confusion matrix where videos have one label."""
    if run.scores is not None and run.scores.multi_label:
        return _classes_of_several_labels(run.scores)
    if matrix is None:
        reason = run.problems.get("scores_val.npz", "")
        return section(
            "Classes", missing(f"There are no scores of videos. scores_val.npz: {legible(reason)}")
        )
    shares = np.stack([recalls(matrix), precisions(matrix)], axis=1)
    order = np.argsort(shares[:, 0], kind="stable")  # NaN comes last.
    columns = ["class", "videos", "recall", "precision", "most often taken for"]
    rows = table(columns, [_class_row(k, matrix, run.classes, shares[k]) for k in order], numbers=(1, 2, 3))
    told = "Recall: how many of a class are called so. Precision: how many that are called so are right."
    many = len(order) > _MOST_DRAWN
    rows = folded(f"All {len(order)} classes, the lowest recall first", rows) if many else rows
    drawn = _large_matrix(matrix, run.classes, order) if many else confusion_chart(matrix, run.classes)
    words = (
        "A row has the videos of a true class, a column those that were called so; a dark diagonal is good."
    )
    return joined(
        section("Classes", element("p", told, class_="soft"), rows),
        section("Confusion matrix", element("p", words, class_="soft"), drawn),
    )


def _classes_of_several_labels(scores):
    """Returns the table of the classes' average precisions, the worst first."""
    rows = class_table(scores)
    rows.sort(key=lambda row: math.inf if row["average_precision"] is None else row["average_precision"])
    cells = [
        [named(row["class"]), row["videos"], "-" if not row["videos"] else percent(row["average_precision"])]
        for row in rows
    ]
    shown = table(["class", "videos", "average precision"], cells, numbers=(1, 2))
    if len(rows) > _MOST_DRAWN:
        shown = folded(f"All {len(rows)} classes, the lowest average precision first", shown)
    told = (
        "Average precision: the mean of the precision at each video of a class, videos sorted by its "
        "probability. Videos without a label come behind all others."
    )
    return section("Classes", element("p", told, class_="soft"), shown)


def _class_row(k, matrix, names, shares):
    wrong = matrix[k].copy()
    wrong[k] = 0
    mistake = joined(named(names[wrong.argmax()]), f" ({wrong.max()})") if wrong.any() else ""
    return [named(names[k]), matrix[k].sum(), *("-" if x != x else percent(x) for x in shares), mistake]


def _large_matrix(matrix, names, order):
    """Returns the worst rows of a matrix of many classes in words, and all of it as a picture."""
    rows = []
    for k in order[:_WORST_CLASSES]:
        taken = [other for other in np.argsort(-matrix[k], kind="stable") if matrix[k, other] and other != k]
        shown = [joined(named(names[other]), f" ({matrix[k, other]})") for other in taken[:3]]
        words = [part for name in shown for part in (", ", name)][1:]
        rows.append([named(names[k]), f"{matrix[k, k]} of {matrix[k].sum()}", joined(*words)])
    alt = f"Confusion matrix of {len(names)} classes; the classes are in the order of their labels"
    return joined(
        table(["the worst classes", "right", "most often taken for"], rows, numbers=(1,)),
        element("h3", "All classes"),
        element("p", "From above and from left the classes are in the order of their labels.", class_="soft"),
        picture(confusion_picture(matrix, names), "png", alt, class_="matrix"),
    )


def skipped(run):
    """Returns how many videos of each split were used, and which were skipped, and why."""
    rows, parts = [], []
    for name, split in (("train", "training"), ("val", "validation")):
        if account := _account(run, name):
            counts = [account.get(key, "-") for key in ("videos", "used", "skipped", "never_read")]
            rows.append([split, *(legible(count, 20) for count in counts)])
        if name in run.bad:
            parts.append(bad_videos(split, run.bad[name]))
        else:
            file = f"bad_videos_{name}.csv"
            words = f"It is not known which {split} videos were bad. {file}: {legible(run.problems[file])}"
            parts.append(missing(words))
    columns = ["split", "videos", "used", "skipped", "never read"]
    counts = [table(columns, rows, numbers=range(1, 5))] if rows else []
    return section("Data, and what was skipped", *counts, *parts)


def bad_videos(split, bad):
    """Returns how many videos of a split are bad for which reasons, and which, from [(path, reason), ...]."""
    if not bad:
        return element("p", f"No {split} video was bad.")
    counts = collections.Counter(legible(reason) for _, reason in bad).most_common()
    rows = [[named(path, 100), legible(reason)] for path, reason in bad[:_MOST_BAD]]
    left_out = f" The first {_MOST_BAD} of them:" if len(bad) > _MOST_BAD else ""
    reasons = element("ul", *(element("li", f"{count} x {reason}") for reason, count in counts[:_MOST_BAD]))
    which = folded(f"Which {split} videos were bad?{left_out}", table(["file", "reason"], rows))
    return joined(
        element("p", f"{len(bad)} {split} videos could not be read, or not all of them:"), reasons, which
    )
