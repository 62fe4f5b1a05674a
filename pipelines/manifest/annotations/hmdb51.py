"""HMDB51: for each class and fold a list that says what a file is for."""

import os

from pipelines.manifest.annotations.data_dir import check_directory, find, one_of, to_manifest
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
    """HMDB51, one of its three ways to split.

    Each class has a file `<class>_test_split<fold>.txt` with lines `<file> <number>`, where 1 is for
    training, 2 for testing and 0 for neither, and a folder of videos.

    Args:
        data_dir: Directory of the data set.
        split: "train" or "test".
        fold: Which of the splits: 1, 2 or 3.
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
    wanted = {"train": "1", "test": "2"}[one_of(split, "train test")]
    ending, listings, rows = f"_test_split{one_of(fold, '1 2 3')}.txt", Listings(), []
    classes = sorted(name.removesuffix(ending) for name in listings[lists] if name.endswith(ending))
    if not classes:
        raise no_file(os.path.join(lists, f"<class>{ending}"))
    for number, name in enumerate(classes):
        table = os.path.join(lists, name + ending)
        for line, text in lines(table):
            file, _, use = text.rpartition(" ")
            if not file or use not in ("0", "1", "2"):
                raise malformed("a file and 0, 1 or 2", table, line, text)
            if use == wanted:
                path = find(listings, [os.path.join(data_dir, videos, name)], file.strip())
                rows.append(Video(path, (Label(number),), split=split))
    return to_manifest(lists, rows, classes, keep_bad)
