"""List files of TSN, TSM and mmaction2, which have a path and a class in each line."""

import os
import re

from pipelines.manifest.annotations.data_dir import check_directory, is_media, to_manifest
from pipelines.manifest.annotations.format import Flag, Format
from pipelines.manifest.annotations.tables import class_names, lines, malformed
from pipelines.manifest.rows import Label, Video


def read_list(data_dir, annotations, names=None, classes=None, keep_bad=False):
    """Reads a list file of TSN, TSM or mmaction2.

    A line is `path num_frames label` for a folder of frames, and `path label` or `path label label ...` for a
    video; a path may have spaces. A label is a class number from 0. The split is the word train, val,
    validation or test in the name of the list.

    Args:
        data_dir: Directory to which the paths are relative.
        annotations: The list, absolute or relative to `data_dir`.
        names: Text file with one class name a line, absolute or relative to `data_dir`; None names the
            classes 0, 1 and so on, up to the largest that occurs.
        classes: Class names in the order of the labels, instead of `names`.
        keep_bad: Whether rows without a file stay in `videos`.

    Returns:
        A `Manifest`.

    Raises:
        FileNotFoundError: The directory or a file is missing.
        ValueError: A line is malformed, a label has no name, labels without names count from 1, or none of
            the videos exists.
    """
    check_directory(data_dir)
    table = os.path.join(data_dir, annotations)
    if classes is None and names is not None:
        classes = class_names(os.path.join(data_dir, names))
    words = re.split(r"[^a-z]+", os.path.basename(table).lower())
    split = next((word for word in words if word in ("train", "val", "validation", "test")), "")
    rows = []
    for line, text in lines(table):
        path, labels = _fields(text)
        if not labels:
            raise malformed("`path num_frames label` or `path label`", table, line, text)
        if classes is not None and max(labels) >= len(classes):
            raise malformed(f"labels below {len(classes)}, the number of classes,", table, line, text)
        rows.append(Video(os.path.join(data_dir, path), tuple(map(Label, labels)), split=split))
    if classes is None:
        classes = _numbered_classes({label.number for video in rows for label in video.labels}, table)
    return to_manifest(table, rows, classes, keep_bad, folders=True)


def _fields(text):
    """Returns (path, class numbers) of a line; without any class number if the line is malformed."""
    video = re.fullmatch(r"(\S.*?\.\w+)((?:\s+\d{1,6})+)", text, re.ASCII)
    if video and is_media(video[1]):
        return video[1], sorted(set(map(int, video[2].split())))
    folder = re.fullmatch(r"(\S.*?)(?:\s+\d+)?\s+(\d{1,6})", text, re.ASCII)
    return (folder[1], [int(folder[2])]) if folder else ("", [])


def _numbered_classes(labels, table):
    if min(labels, default=0) == 1:
        raise ValueError(
            f"Expected labels from 0 in {table}. Received labels from 1 to {max(labels)}, which would leave "
            "class 0 empty. Try: --names=FILE, if class 0 has a name and no video, or subtract 1."
        )
    return [str(class_) for class_ in range(1 + max(labels, default=-1))]


LIST = Format(
    read_list,
    help="A list file of TSN, TSM or mmaction2.",
    data_dir="Directory to which the paths are relative.",
    split=Flag("annotations", "The list, absolute or relative to --data_dir."),
    options=(
        Flag(
            "names",
            "Text file with one class name a line, absolute or relative to --data_dir; without it the "
            "classes are named 0, 1 and so on, up to the largest that occurs.",
        ),
    ),
    shares_classes=True,
)
