"""Parts of a data set: some classes, some videos of each class, or the videos of a list of ids."""

import collections
import dataclasses
import difflib
import hashlib
import os
import re

_TIMES = re.compile(r"_\d+_\d+$")  # Kinetics' names of files: an id, and start and end in seconds.


def of_classes(manifest, names):
    """Returns the manifest with some of its classes alone, in its own order.

    A row keeps its labels of these classes; one that has none of them is left out. If the mirrored clips of a
    class show one that is left out, the data set names directions from now on, so that flips are refused.

    Args:
        manifest: A `Manifest`.
        names: The names of the classes, each once.

    Raises:
        ValueError: There is no such class, or none at all, or no row remains.
    """
    lost = [name for name in names if name not in manifest.classes]
    if lost or not names:
        near = difflib.get_close_matches(lost[0], manifest.classes, 1) if lost else ()
        received = f"{len(lost)} others, first {lost[0]!r}" if lost else "none"
        raise ValueError(
            f"Expected some of the {len(manifest.classes)} classes of the manifest. Received {received}. "
            f"Try: {(near or manifest.classes)[0]!r}"
        )
    kept = [number for number, name in enumerate(manifest.classes) if name in set(names)]
    place, mirrored = {number: place for place, number in enumerate(kept)}, ()
    partners = [manifest.mirrored[number] for number in kept] if manifest.mirrored else []
    if place.keys() >= set(partners):
        mirrored = tuple(place[partner] for partner in partners)
    rows = []
    for video in manifest.videos:
        labels = tuple(x._replace(number=place[x.number]) for x in video.labels if x.number in place)
        rows += [video._replace(labels=labels)] if labels else []
    if not rows:
        raise ValueError(
            f"Expected a row of {len(kept)} classes, as {manifest.classes[kept[0]]!r}. Received none. "
            "Try: other classes"
        )
    return dataclasses.replace(
        manifest,
        videos=tuple(rows),
        classes=tuple(manifest.classes[number] for number in kept),
        directional=manifest.directional or len(mirrored) < len(partners),
        mirrored=mirrored,
    )


def largest_classes(manifest, count, split="train"):
    """Returns the names of the classes with most rows of a split; of equal ones the first classes.

    Raises:
        ValueError: There are not so many classes, or no rows of the split.
    """
    if not 0 < count <= len(manifest.classes):
        raise ValueError(
            f"Expected from 1 to {len(manifest.classes)} classes, as the manifest has. Received {count}. "
            f"Try: --classes={len(manifest.classes)}"
        )
    _check_splits(manifest, [split])
    rows = [video for video in manifest.videos if video.split == split]
    counts = collections.Counter(label.number for video in rows for label in video.labels)
    order = sorted(range(len(manifest.classes)), key=lambda number: -counts[number])
    return [manifest.classes[number] for number in order[:count]]


def some_of_each_class(manifest, counts, seed=0):
    """Returns the manifest with so many random rows of each class and split, and what there are fewer of.

    Which ones depends on the seed and on the names of the files below the folder that all of them share, not
    on the order of the rows. A smaller count gives a part of the rows of a larger one. Where a file is
    missing, the next one is taken, and all others stay.

    Args:
        manifest: A `Manifest`, of which each row has one label.
        counts: {name of a split: rows of each class}; other splits stay as they are.
        seed: Integer; another one gives other rows.

    Returns:
        (manifest, lacking): the rows in their order; {split: [(class name, rows), ...]} of the classes that
        have fewer rows than were asked for.

    Raises:
        ValueError: A row has several labels or none, or there are no rows of a split.
    """
    _check_splits(manifest, counts)
    rows_of, folder = collections.defaultdict(list), shared_folder(manifest.videos)
    for row, video in enumerate(manifest.videos):
        if len(video.labels) != 1 and video.split in counts:
            raise ValueError(
                f"Expected one label a video to draw some of each class. Received {len(video.labels)} for "
                f"{video.path}. Try: --classes or --ids alone"
            )
        if video.split in counts:
            rows_of[video.split, video.label].append(row)
    kept = {row for row, video in enumerate(manifest.videos) if video.split not in counts}

    def lot(row):
        video = manifest.videos[row]
        name = os.path.relpath(video.path, folder)
        return draw(seed, name if video.start is video.end is None else f"{name} {video.start} {video.end}")

    lacking = {split: [] for split in counts}
    for split, count in counts.items():
        for number, name in enumerate(manifest.classes):
            rows = rows_of[split, number]
            kept.update(sorted(rows, key=lot)[:count])
            lacking[split] += [(name, len(rows))] if len(rows) < count else []
    videos = tuple(manifest.videos[row] for row in sorted(kept))
    return dataclasses.replace(manifest, videos=videos), lacking


def of_ids(manifest, ids):
    """Returns the manifest with the rows of some ids, and the ids that have none.

    The id of a row is the name of its file or folder, without its ending, and without the times that names of
    Kinetics' files end in.

    Raises:
        ValueError: No row has one of them.
    """
    videos, wanted, found = [], set(ids), set()
    for video in manifest.videos:
        stem = os.path.splitext(os.path.basename(video.path))[0]
        names = wanted & {stem, _TIMES.sub("", stem)}
        videos += [video] if names else []
        found |= names
    if not videos:
        raise ValueError(
            f"Expected ids of rows, such as {os.path.basename(manifest.videos[0].path)!r} has. Received "
            f"{len(wanted)} others{', first ' + repr(ids[0]) if ids else ''}. Try: one id a line"
        )
    return dataclasses.replace(manifest, videos=tuple(videos)), [name for name in ids if name not in found]


def shared_folder(videos):
    """Returns the folder in which all files of rows lie, at any depth."""
    return os.path.commonpath([os.path.dirname(os.path.abspath(video.path)) for video in videos])


def draw(seed, name):
    """Returns the place of a name in a random order that depends on the seed alone, as bytes."""
    return hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest()


def _check_splits(manifest, names):
    splits = sorted({video.split for video in manifest.videos})
    for name in names:
        if name not in splits:
            raise ValueError(
                f"Expected rows of split {name!r}. Received {', '.join(map(repr, splits))}. "
                "Try: python -m pipelines.manifest split, or one of these"
            )
