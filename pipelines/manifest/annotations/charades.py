"""Charades: a video shows any number of actions, each with its time span."""

import os
import re

from pipelines.manifest.annotations.data_dir import check_directory, find, one_of, to_manifest
from pipelines.manifest.annotations.format import Flag, Format
from pipelines.manifest.annotations.tables import csv_rows, lines, malformed
from pipelines.manifest.files import Listings
from pipelines.manifest.rows import Label, Video

_NUM_CLASSES = 157


def read_charades(data_dir, split, videos="Charades_v1_480", keep_bad=False):
    """Reads a split of Charades, whose videos show any number of actions, each with its time span.

    `<data_dir>/Charades_v1_<split>.csv` has among others the columns `id` and `actions`
    (`c092 11.90 21.20;c147 0.00 12.60`: class, start and end in seconds); the videos are
    `<data_dir>/<videos>/<id>.mp4`. The 157 classes are named as in `Charades_v1_classes.txt`, if it is there,
    else c000 to c156.

    Args:
        data_dir: Directory of the annotation files.
        split: "train" or "test".
        videos: Directory of the videos, absolute or relative to `data_dir`.
        keep_bad: Whether rows without a file stay in `videos`.

    Returns:
        A `Manifest`.

    Raises:
        FileNotFoundError: A directory or file is missing.
        ValueError: A line is malformed, or none of the videos exists.
    """
    check_directory(data_dir)
    table = os.path.join(data_dir, f"Charades_v1_{one_of('split', split, 'train test')}.csv")
    listings, rows = Listings(), []
    for line, row in csv_rows(table, ("id", "actions")):
        try:
            labels = tuple(_action(text) for text in row["actions"].split(";") if text)
            if not row["id"]:
                raise ValueError
        except (AttributeError, ValueError):
            expected = "an id, and actions as `c092 11.90 21.20;c147 0.00 12.60`,"
            raise malformed(expected, table, line, [row["id"], row["actions"]]) from None
        path = find(listings, [os.path.join(data_dir, videos)], f"{row['id']}.mp4")
        rows.append(Video(path, labels, split=split))
    return to_manifest(table, rows, _classes(data_dir), keep_bad)


CHARADES = Format(
    read_charades,
    help="Charades: any number of actions a video, each with its time span.",
    data_dir="Directory of the annotation files.",
    split=Flag("split", '"train" or "test".'),
    options=(
        Flag("videos", "Directory of the videos, absolute or relative to --data_dir.", "Charades_v1_480"),
    ),
)


def _action(text):
    """Returns the `Label` of `c092 11.90 21.20`."""
    code, start, end = text.split()
    class_, start, end = int(code.removeprefix("c")), float(start), float(end)
    if not (re.fullmatch(r"c\d{3}", code) and class_ < _NUM_CLASSES and 0 <= start <= end < float("inf")):
        raise ValueError
    return Label(class_, start, end)


def _classes(data_dir):
    """Returns the names of the classes, which are their codes if there is no file that names them."""
    codes = [f"c{class_:03d}" for class_ in range(_NUM_CLASSES)]
    table = os.path.join(data_dir, "Charades_v1_classes.txt")
    if not os.path.isfile(table):
        return codes
    names = dict(text.partition(" ")[::2] for _, text in lines(table))
    if list(names) != codes or not all(names.values()):
        raise ValueError(
            f"Expected a name for each of c000 to c156 in {table}. Received {len(names)} codes. "
            "Try: remove the file, or take it from the release."
        )
    return list(names.values())
