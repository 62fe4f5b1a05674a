"""UCF101: for each fold a list of the files to train with, and one of those to test with."""

import os

from pipelines.manifest.annotations.data_dir import check_directory, find, one_of, to_manifest
from pipelines.manifest.annotations.tables import lines, malformed, numbered_class_names
from pipelines.manifest.files import Listings
from pipelines.manifest.rows import Label, Video


def read_ucf101(data_dir, split, fold=1, annotations="ucfTrainTestlist", videos="UCF-101", keep_bad=False):
    """UCF101, one of its three ways to split.

    `classInd.txt` has the classes in their order, and `trainlist0<fold>.txt` and `testlist0<fold>.txt` have
    the files as `<class>/<file>`. A file may be a re-encoded .mp4, .mkv, .webm or .avi.

    Args:
        data_dir: Directory of the data set.
        split: "train" or "test".
        fold: Which of the splits: 1, 2 or 3.
        annotations: Directory of the lists, absolute or relative to `data_dir`.
        videos: Directory of the class folders, absolute or relative to `data_dir`.
        keep_bad: Whether rows without a file stay in `videos`.

    Returns:
        A `Manifest`.

    Raises:
        FileNotFoundError: A directory or file is missing.
        ValueError: A line is malformed, or none of the videos exists.
    """
    check_directory(data_dir)
    lists = os.path.join(data_dir, annotations)
    classes = numbered_class_names(os.path.join(lists, "classInd.txt"))
    numbers = {name: number for number, name in enumerate(classes)}
    table = os.path.join(lists, f"{one_of(split, 'train test')}list{one_of(fold, '1 2 3'):0>2}.txt")
    listings, rows = Listings(), []
    for line, text in lines(table):
        path, _, number = text.partition(" ")
        folder, name = os.path.split(path)
        if folder not in numbers or not name or number not in ("", str(numbers[folder] + 1)):
            expected = "<class>/<file>, and the number of that class if any,"
            raise malformed(expected, table, line, text)
        found = find(listings, [os.path.join(data_dir, videos, folder)], name)
        rows.append(Video(found, (Label(numbers[folder]),), split=split))
    return to_manifest(table, rows, classes, keep_bad)
