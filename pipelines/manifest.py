"""Which videos there are, and what they show: rows of (path, label), read from annotation files."""

import csv
import dataclasses
import os
from typing import NamedTuple

from pipelines.bad_videos import BadVideo

_KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")


class Video(NamedTuple):
    """One row.

    Attributes:
        path: The video file.
        label: 0-based class number.
    """

    path: str
    label: int


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The videos of one split.

    Attributes:
        videos: Tuple of `Video`, in the order of the annotation file.
        classes: Tuple of class names; a label is an index into it.
        missing: Tuple of `BadVideo`, one for each annotated video with no file.
    """

    videos: tuple
    classes: tuple
    missing: tuple = ()

    def __len__(self):
        return len(self.videos)


def read_kinetics(data_dir, annotations, classes=None):
    """Reads a split of Kinetics, or of any data set in its layout.

    A clip is found at `<data_dir>/<split>/<label>/<youtube_id>_<start:06d>_<end:06d>.mp4`, where the
    label may have underscores for spaces and its folder may be left out, and the file may also be
    .mkv, .webm or .avi. Copies of Kinetics miss some clips, so rows without a file are
    reported in `missing`.

    Args:
        data_dir: Directory of the data set.
        annotations: CSV file with the columns `label,youtube_id,time_start,time_end,split` (times in
            seconds; further columns are ignored), absolute or relative to `data_dir`.
        classes: Class names in the order of the labels; None sorts the names that occur.

    Returns:
        A `Manifest`.

    Raises:
        FileNotFoundError: The directory or the CSV is missing.
        ValueError: The CSV lacks a column, has a malformed row or no rows, names a class that
            `classes` lacks, or none of its videos exists. Without `classes`, which is the training
            split's case, also if a label has no video at all.
    """
    if not os.path.isdir(data_dir):
        raise FileNotFoundError(
            f"Expected a directory of videos at {data_dir!r}. Received a path that is none. "
            "Try: --data_dir=DIR, or make an example with `python -m pipelines.synthetic --output=DIR`."
        )
    table = os.path.join(data_dir, annotations)
    rows = _read_rows(table)
    names = tuple(classes or sorted({row["label"] for row in rows}))
    labels = {name: number for number, name in enumerate(names)}
    listings, videos, missing = {}, [], []
    for row in rows:
        if row["label"] not in labels:
            raise ValueError(
                f"Expected only the labels of the training split. Received {row['label']!r} in {table}. "
                "Try: use the annotation files of one release, or remove the rows of that label."
            )
        path = _find_clip(data_dir, row, listings)
        if os.path.isfile(path):
            videos.append(Video(path, labels[row["label"]]))
        else:
            missing.append(BadVideo(path, "annotated, but there is no such file"))
    if not videos:
        raise ValueError(
            f"Expected videos for the {len(rows)} rows of {table}. Received no file that matches one; the "
            f"first was looked for at {missing[0].path}. Try: check --data_dir and that the folders are "
            "named as the labels."
        )
    if classes is None:
        _check_every_class_has_videos(table, names, videos, rows, data_dir)
    return Manifest(tuple(videos), names, tuple(missing))


def _read_rows(table):
    if not os.path.isfile(table):
        raise FileNotFoundError(
            f"Expected an annotation CSV at {table!r}. Received no such file. Try: --train_annotations "
            "and --val_annotations name the files, relative to --data_dir."
        )
    with open(table, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        lacking = [name for name in _KINETICS_COLUMNS if name not in (reader.fieldnames or ())]
        if lacking:
            raise ValueError(
                f"Expected the columns {','.join(_KINETICS_COLUMNS)} in {table}. "
                f"Received {reader.fieldnames}. Try: add {', '.join(lacking)} to the header."
            )
        rows = []
        for row in reader:
            try:
                row |= {name: int(float(row[name])) for name in ("time_start", "time_end")}
                if not (row["label"] and row["youtube_id"] and row["split"]):
                    raise ValueError
            except (TypeError, ValueError, OverflowError):
                raise ValueError(
                    "Expected a label, an id, two times in seconds and a split in line "
                    f"{reader.line_num} of {table}. Received {list(row.values())}. Try: repair or "
                    "remove the line."
                ) from None
            rows.append(row)
    if not rows:
        raise ValueError(f"Expected annotated videos in {table}. Received a header only. Try: another file.")
    return rows


def _find_clip(data_dir, row, listings):
    """Returns the clip's path, or, where it has none, the first one at which it was looked for."""
    stem = f"{row['youtube_id']}_{row['time_start']:06d}_{row['time_end']:06d}"
    split = os.path.join(data_dir, row["split"])
    folders = [os.path.join(split, row["label"]), os.path.join(split, row["label"].replace(" ", "_")), split]
    for folder in folders:
        if folder not in listings:
            listings[folder] = frozenset(os.listdir(folder)) if os.path.isdir(folder) else frozenset()
        for suffix in _SUFFIXES:
            if stem + suffix in listings[folder]:
                return os.path.join(folder, stem + suffix)
    return os.path.join(folders[0], stem + _SUFFIXES[0])


def _check_every_class_has_videos(table, names, videos, rows, data_dir):
    present = {video.label for video in videos}
    empty = [name for number, name in enumerate(names) if number not in present]
    if empty:
        split = next(row["split"] for row in rows if row["label"] == empty[0])
        raise ValueError(
            f"Expected at least one video of every label in {table}. Received none of {', '.join(empty)}: "
            f"looked in {os.path.join(data_dir, split, empty[0])}. Try: correct the folder's name, or "
            "remove the label's rows."
        )
