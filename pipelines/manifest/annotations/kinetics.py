"""Kinetics and its parts: a CSV names the clips, which lie in folders of one of several layouts."""

import os

from pipelines.manifest.annotations.data_dir import check_directory, find, to_manifest
from pipelines.manifest.annotations.format import Flag, Format
from pipelines.manifest.annotations.tables import csv_rows, lines, malformed, unknown_label
from pipelines.manifest.files import Listings
from pipelines.manifest.rows import Label, Video

_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")


def read_kinetics(data_dir, annotations, classes=None, keep_bad=False):
    """Reads a split of Kinetics-400, -600 or -700, or of any data set in its layout.

    A clip is found at `<data_dir>/<split>/<label>/<youtube_id>_<start:06d>_<end:06d>.mp4`, where the
    label may have underscores for spaces and its folder may be left out, and the file may also be
    .mkv, .webm or .avi. Copies of Kinetics miss some clips.

    Args:
        data_dir: Directory of the data set.
        annotations: CSV file with the columns `label,youtube_id,time_start,time_end,split` (times in
            seconds; further columns are ignored), absolute or relative to `data_dir`.
        classes: Class names in the order of the labels; None sorts the names that occur.
        keep_bad: Whether rows without a file stay in `videos`.

    Returns:
        A `Manifest`.

    Raises:
        FileNotFoundError: The directory or the CSV is missing.
        ValueError: The CSV lacks a column, has a malformed row or no rows, names a class that
            `classes` lacks, or none of its videos exists; or `classes` is None, as for the training split,
            and a label has no video at all.
    """
    check_directory(data_dir)
    table = os.path.join(data_dir, annotations)
    return _kinetics(data_dir, table, _kinetics_rows(table), classes, keep_bad)


def read_mini_kinetics(data_dir, annotations, labels=None, clips=None, classes=None, keep_bad=False):
    """Reads a split of Mini-Kinetics-200, or of another part of Kinetics by a list of labels or clips.

    Args:
        data_dir: Directory of Kinetics, see `read_kinetics`.
        annotations: Kinetics' CSV file, absolute or relative to `data_dir`.
        labels: Text file with one label a line; the rows of other labels are left out.
        clips: Text file with one YouTube id a line, instead of `labels`.
        classes: Class names in the order of the labels; None sorts the names that occur.
        keep_bad: Whether rows without a file stay in `videos`.

    Returns:
        A `Manifest`.

    Raises:
        FileNotFoundError: The directory or a file is missing.
        ValueError: As in `read_kinetics`; or there is not exactly one list, or a label of it has no row.
    """
    if (labels is None) == (clips is None):
        raise ValueError(
            f"Expected a list of labels or one of clips. Received labels={labels!r}, clips={clips!r}. "
            "Try: either --labels or --clips."
        )
    check_directory(data_dir)
    table = os.path.join(data_dir, annotations)
    chosen = os.path.join(data_dir, labels or clips)
    wanted = {text for _, text in lines(chosen)}
    column = "label" if labels else "youtube_id"
    rows = [row for row in _kinetics_rows(table) if row[column] in wanted]
    # Later releases of the CSV lack the clips whose links are dead, but no label.
    absent = sorted(wanted - {row[column] for row in rows}) if labels or not rows else ()
    if absent:
        raise ValueError(
            f"Expected the {column} of each line of {chosen} in {table}. Received none of "
            f"{', '.join(absent[:5])}. Try: the annotation files of Kinetics-400, and its spelling."
        )
    return _kinetics(data_dir, table, rows, classes, keep_bad)


KINETICS = Format(
    read_kinetics,
    help="Kinetics-400, -600 or -700, or any data set in its layout.",
    data_dir="Directory of the data set.",
    split=Flag(
        "annotations",
        "CSV file with the columns label,youtube_id,time_start,time_end,split (times in seconds; further "
        "columns are ignored), absolute or relative to --data_dir.",
    ),
    shares_classes=True,
)

MINI_KINETICS = Format(
    read_mini_kinetics,
    help="Mini-Kinetics-200, or another part of Kinetics by a list of labels or clips.",
    data_dir="Directory of Kinetics, as in the format kinetics.",
    split=Flag("annotations", "Kinetics' CSV file, absolute or relative to --data_dir."),
    options=(
        Flag("labels", "Text file with one label a line; the rows of other labels are left out."),
        Flag("clips", "Text file with one YouTube id a line, instead of --labels."),
    ),
    shares_classes=True,
)


def _kinetics(data_dir, table, rows, classes, keep_bad):
    names = tuple(classes or sorted({row["label"] for row in rows}))
    class_of = {name: class_ for class_, name in enumerate(names)}
    listings, videos = Listings(), []
    for row in rows:
        if row["label"] not in class_of:
            raise unknown_label(row["label"], table)
        folder = os.path.join(data_dir, row["split"])
        folders = [os.path.join(folder, row["label"]), os.path.join(folder, row["label"].replace(" ", "_"))]
        name = f"{row['youtube_id']}_{row['time_start']:06d}_{row['time_end']:06d}.mp4"
        path = find(listings, [*folders, folder], name)
        videos.append(Video(path, (Label(class_of[row["label"]]),), split=row["split"]))
    manifest = to_manifest(table, videos, names, keep_bad)
    if classes is None:
        _check_every_class_has_videos(table, manifest, rows, data_dir)
    return manifest


def _kinetics_rows(table):
    rows = []
    for line, row in csv_rows(table, _COLUMNS):
        try:
            row |= {name: int(float(row[name])) for name in ("time_start", "time_end")}
            if not (row["label"] and row["youtube_id"] and row["split"]):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            expected = "a label, an id, two times in seconds and a split"
            raise malformed(expected, table, line, list(row.values())) from None
        rows.append(row)
    if not rows:
        raise ValueError(f"Expected annotated videos in {table}. Received a header only. Try: another file.")
    return rows


def _check_every_class_has_videos(table, manifest, rows, data_dir):
    present = {video.label for video in manifest.videos}
    empty = [name for class_, name in enumerate(manifest.classes) if class_ not in present]
    if empty:
        split = next(row["split"] for row in rows if row["label"] == empty[0])
        raise ValueError(
            f"Expected at least one video of every label in {table}. Received none of {', '.join(empty)}: "
            f"looked in {os.path.join(data_dir, split, empty[0])}. Try: correct the folder's name, or "
            "remove the label's rows."
        )
