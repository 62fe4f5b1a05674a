"""The files of a run, as a report needs them. Any of them may be missing, damaged or somebody else's."""

import csv
import dataclasses
import json
import math
import os
import stat
import zipfile

from savedmodels.loading import one_line, read_serving
from train.command_line import read_config
from train.scoring.scores import Scores

_LARGEST = 2**30  # Bytes of a file, or of what is packed in it.
CURVES = (
    *("loss", "top1", "top5", "learning_rate"),
    *("val_loss", "val_top1", "val_top5", "val_mAP", "seconds"),
)


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """What the files of a run say.

    Attributes:
        workdir: The directory of the run.
        config: Its `Config`, or None.
        results: The contents of results.json, or {}.
        curves: {column of curves.csv: floats, NaN where there is no number}, with "epoch": rising ints;
            or {}.
        scores: The `Scores` of the validation, or None.
        classes: The names of the classes, or ().
        bad: {"train": [(path, reason), ...], "val": ...} of the files that are there.
        problems: {name of a file: why it cannot be read}, in the order of the report.
    """

    workdir: str
    config: object
    results: dict
    curves: dict
    scores: object
    classes: tuple
    bad: dict
    problems: dict


def read_run(workdir):
    """Returns the `RunFiles` of a directory; what cannot be read is among its problems.

    Raises:
        FileNotFoundError: There is no such directory.
    """
    if not os.path.isdir(workdir):
        raise FileNotFoundError(
            f"Expected the directory of a run. Received {workdir!r}, which is none. "
            "Try: --workdir=DIR of a run of python -m train"
        )
    problems = {}

    def read(name, reader, otherwise):
        path = os.path.join(workdir, name)
        try:
            _check(path)
            with one_line(path, "a sound file of a run", "the run's own file"):
                return reader(path)
        except FileNotFoundError:
            problems[name] = "There is no such file yet."
        except (OSError, ValueError) as error:
            problems[name] = str(error)
        return otherwise

    config = read("run.flags", lambda path: read_config(workdir), None)
    results = read("results.json", _results, {})
    curves = read("curves.csv", _curves, {})
    scores = read("scores_val.npz", _scores, None)
    bad = {name: read(f"bad_videos_{name}.csv", _bad_videos, None) for name in ("train", "val")}
    classes = scores.classes if scores else tuple(read("serving.json", read_serving, {}).get("classes", ()))
    bad = {name: rows for name, rows in bad.items() if rows is not None}
    return RunFiles(workdir, config, results, curves, scores, classes, bad, problems)


def number(value):
    """Returns a value as a float if it is a number, and else NaN."""
    return float(value) if type(value) in (int, float) else math.nan


def _check(path):
    """Raises an error unless a path is a file of a size that can be read."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"Expected a file at {path!r}. Received something else. Try: the run's own file.")
    if found.st_size > _LARGEST:
        raise ValueError(
            f"Expected at most {_LARGEST:,} bytes in {path!r}. Received {found.st_size:,}. "
            "Try: the run's own file."
        )


def _results(path):
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    if not isinstance(results, dict):
        raise ValueError("no object of JSON")
    return results


def _curves(path):
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    by_epoch = {}
    for row in rows:
        epoch = _float(row.get("epoch"))
        if not (1 <= epoch < 1e9 and epoch == int(epoch)):
            raise ValueError(f"the epoch {str(row.get('epoch'))[:40]!r}")
        by_epoch[int(epoch)] = row
    curves = {"epoch": sorted(by_epoch)}
    return curves | {
        name: [_float(by_epoch[epoch].get(name)) for epoch in curves["epoch"]] for name in CURVES
    }


def _float(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _scores(path):
    with zipfile.ZipFile(path) as file:  # Packed zeros take hardly a byte.
        if sum(item.file_size for item in file.infolist()) > _LARGEST:
            raise ValueError(f"more than {_LARGEST:,} bytes")
    return Scores.load(path)


def _bad_videos(path):
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [(row[0], row[1]) for row in list(csv.reader(file))[1:] if len(row) > 1]
