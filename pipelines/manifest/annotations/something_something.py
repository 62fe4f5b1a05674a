"""Something-Something V1 and V2, whose classes tell left from right."""

import os
import re

from pipelines.manifest.annotations.data_dir import check_directory, find, one_of, to_manifest
from pipelines.manifest.annotations.format import Flag, Format
from pipelines.manifest.annotations.tables import (
    class_names,
    class_names_of_json,
    json_content,
    lines,
    malformed,
)
from pipelines.manifest.files import Listings
from pipelines.manifest.rows import Label, Video

_SPLITS = "train validation test"
_SPLIT = Flag("split", '"train", "validation", or "test", which has no labels.')
_OTHER_SIDE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}


def read_something_something_v1(data_dir, split, videos="20bn-something-something-v1", keep_bad=False):
    """Reads a split of Something-Something V1, which has a folder of JPEGs for each video.

    `<data_dir>/something-something-v1-<split>.csv` has lines `id;label`, `...-labels.csv` has the classes in
    their order, and `<data_dir>/<videos>/<id>/` has the frames.

    Args:
        data_dir: Directory of the annotation files.
        split: "train", "validation", or "test", which has no labels.
        videos: Directory of the folders of frames, absolute or relative to `data_dir`.
        keep_bad: Whether rows without a folder stay in `videos`.

    Returns:
        A directional `Manifest`.

    Raises:
        FileNotFoundError: A directory or file is missing.
        ValueError: A line is malformed, or none of the folders exists.
    """
    check_directory(data_dir)
    classes = class_names(os.path.join(data_dir, "something-something-v1-labels.csv"))
    class_of = {name: class_ for class_, name in enumerate(classes)}
    table = os.path.join(data_dir, f"something-something-v1-{one_of('split', split, _SPLITS)}.csv")
    rows = []
    for line, text in lines(table):
        video, _, label = text.partition(";")
        labels = () if split == "test" and not label else (Label(class_of.get(label, -1)),)
        if not video or Label(-1) in labels:
            raise malformed("an id, a semicolon and one of the labels", table, line, text)
        rows.append(Video(os.path.join(data_dir, videos, video), labels, split=split))
    return to_manifest(table, rows, classes, keep_bad, folders=True, **_sides(classes))


def read_something_something_v2(data_dir, split, videos="20bn-something-something-v2", keep_bad=False):
    """Reads a split of Something-Something V2, which has WebM files.

    `<data_dir>/something-something-v2-<split>.json` lists objects with `id` and `template`, which without
    its square brackets is the label; `...-labels.json` has the class number of each label; the videos are
    `<data_dir>/<videos>/<id>.webm`, or another copy's .mp4, .mkv or .avi.

    Args:
        data_dir: Directory of the annotation files.
        split: "train", "validation", or "test", which has no labels.
        videos: Directory of the videos, absolute or relative to `data_dir`.
        keep_bad: Whether rows without a file stay in `videos`.

    Returns:
        A directional `Manifest`.

    Raises:
        FileNotFoundError: A directory or file is missing.
        ValueError: An entry is malformed, or none of the videos exists.
    """
    check_directory(data_dir)
    classes = class_names_of_json(os.path.join(data_dir, "something-something-v2-labels.json"))
    class_of = {name: class_ for class_, name in enumerate(classes)}
    table = os.path.join(data_dir, f"something-something-v2-{one_of('split', split, _SPLITS)}.json")
    listings, rows = Listings(), []
    for place, entry in enumerate(json_content(table, list), 1):
        entry = entry if isinstance(entry, dict) else {}
        video, template = str(entry.get("id", "")), entry.get("template")
        label = re.sub(r"[\[\]]", "", template) if isinstance(template, str) else None
        labels = () if split == "test" and label is None else (Label(class_of.get(label, -1)),)
        if not video or Label(-1) in labels:
            raise malformed(
                "an id and a template that is one of the labels", table, place, entry, unit="entry"
            )
        path = find(listings, [os.path.join(data_dir, videos)], f"{video}.webm")
        rows.append(Video(path, labels, split=split))
    return to_manifest(table, rows, classes, keep_bad, **_sides(classes))


SOMETHING_SOMETHING_V1 = Format(
    read_something_something_v1,
    help="Something-Something V1: a folder of JPEGs for each video.",
    data_dir="Directory of the annotation files.",
    split=_SPLIT,
    options=(
        Flag(
            "videos",
            "Directory of the folders of frames, absolute or relative to --data_dir.",
            "20bn-something-something-v1",
        ),
    ),
)

SOMETHING_SOMETHING_V2 = Format(
    read_something_something_v2,
    help="Something-Something V2: WebM files.",
    data_dir="Directory of the annotation files.",
    split=_SPLIT,
    options=(
        Flag(
            "videos",
            "Directory of the videos, absolute or relative to --data_dir.",
            "20bn-something-something-v2",
        ),
    ),
)


def mirrored_classes(classes):
    """Returns for each class, by its number, the class whose name has "left" and "right" exchanged.

    This is the class itself if there is no such name.

    >>> mirrored_classes(("Turning left", "Turning right", "Leaving what is left"))
    (1, 0, 2)
    """
    class_of = {name: class_ for class_, name in enumerate(classes)}
    swapped = (re.sub(r"\b[Ll]eft\b|\b[Rr]ight\b", lambda m: _OTHER_SIDE[m[0]], name) for name in classes)
    return tuple(class_of.get(name, class_) for class_, name in enumerate(swapped))


def _sides(classes):
    return {"directional": True, "mirrored": mirrored_classes(classes)}
