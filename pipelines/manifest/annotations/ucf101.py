"""UCF101: a list for each fold and split names its files."""

import os

from pipelines.manifest.annotations.data_dir import check_directory, find, one_of, to_manifest
from pipelines.manifest.annotations.format import Flag, Format
from pipelines.manifest.annotations.tables import lines, malformed, numbered_class_names
from pipelines.manifest.files import Listings
from pipelines.manifest.rows import Label, Video


def read_ucf101(data_dir, split, fold=1, annotations="ucfTrainTestlist", videos="UCF-101", keep_bad=False):
    """Reads a split of UCF101, in one of its three folds.

    `classInd.txt` has the classes in their order, and `trainlist0<fold>.txt` and `testlist0<fold>.txt` have
    the files as `<class>/<file>`. A file may be a re-encoded .mp4, .mkv, .webm or .avi.

    Args:
        data_dir: Directory of the data set.
        split: "train" or "test".
        fold: Which of the three ways to split: 1, 2 or 3.
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
    class_of = {name: class_ for class_, name in enumerate(classes)}
    table = one_of("split", split, "train test") + f"list0{one_of('fold', fold, '1 2 3')}.txt"
    table = os.path.join(lists, table)
    listings, rows = Listings(), []
    for line, text in lines(table):
        path, _, class_id = text.partition(" ")
        folder, name = os.path.split(path)
        if folder not in class_of or not name or class_id not in ("", str(class_of[folder] + 1)):
            expected = "<class>/<file>, and the id of that class if any,"
            raise malformed(expected, table, line, text)
        found = find(listings, [os.path.join(data_dir, videos, folder)], name)
        rows.append(Video(found, (Label(class_of[folder]),), split=split))
    return to_manifest(table, rows, classes, keep_bad)


UCF101 = Format(
    read_ucf101,
    help="UCF101, one of its three ways to split.",
    data_dir="Directory of the data set.",
    split=Flag("split", '"train" or "test".'),
    options=(
        Flag("fold", "Which of the three ways to split: 1, 2 or 3.", 1),
        Flag(
            "annotations", "Directory of the lists, absolute or relative to --data_dir.", "ucfTrainTestlist"
        ),
        Flag("videos", "Directory of the class folders, absolute or relative to --data_dir.", "UCF-101"),
    ),
)
