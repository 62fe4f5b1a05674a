"""HMDB51: a list for each class and fold says what a file is for."""

import os

from pipelines.manifest.annotations.data_dir import check_directory, find, one_of, to_manifest
from pipelines.manifest.annotations.format import Flag, Format
from pipelines.manifest.annotations.tables import lines, malformed, no_file
from pipelines.manifest.files import Listings
from pipelines.manifest.rows import Label, Video


def read_hmdb51(
    data_dir,
    split,
    fold=1,
    annotations="testTrainMulti_7030_splits",
    videos="hmdb51_org",
    keep_bad=False,
):
    """Reads a split of HMDB51, in one of its three folds.

    Each class has a file `<class>_test_split<fold>.txt` with lines `<file> <use>`, where the use is 1 for
    training, 2 for testing and 0 for neither, and a folder of videos.

    Args:
        data_dir: Directory of the data set.
        split: "train" or "test".
        fold: Which of the three ways to split: 1, 2 or 3.
        annotations: Directory of the lists, absolute or relative to `data_dir`.
        videos: Directory of the class folders, absolute or relative to `data_dir`.
        keep_bad: Whether rows without a file stay in `videos`.

    Returns:
        A `Manifest`; classes are the sorted names.

    Raises:
        FileNotFoundError: A directory or all lists are missing.
        ValueError: A line is malformed, or none of the videos exists.
    """
    check_directory(data_dir)
    lists = os.path.join(data_dir, annotations)
    wanted = {"train": "1", "test": "2"}[one_of("split", split, "train test")]
    ending, listings, rows = f"_test_split{one_of('fold', fold, '1 2 3')}.txt", Listings(), []
    classes = sorted(name.removesuffix(ending) for name in listings[lists] if name.endswith(ending))
    if not classes:
        raise no_file(os.path.join(lists, f"<class>{ending}"))
    for class_, name in enumerate(classes):
        table = os.path.join(lists, name + ending)
        for line, text in lines(table):
            file, _, use = text.rpartition(" ")
            if not file or use not in ("0", "1", "2"):
                raise malformed("a file and 0, 1 or 2", table, line, text)
            if use == wanted:
                path = find(listings, [os.path.join(data_dir, videos, name)], file.strip())
                rows.append(Video(path, (Label(class_),), split=split))
    return to_manifest(lists, rows, classes, keep_bad)


HMDB51 = Format(
    read_hmdb51,
    help="HMDB51, one of its three ways to split.",
    data_dir="Directory of the data set.",
    split=Flag("split", '"train" or "test".'),
    options=(
        Flag("fold", "Which of the three ways to split: 1, 2 or 3.", 1),
        Flag(
            "annotations",
            "Directory of the lists, absolute or relative to --data_dir.",
            "testTrainMulti_7030_splits",
        ),
        Flag("videos", "Directory of the class folders, absolute or relative to --data_dir.", "hmdb51_org"),
    ),
)
