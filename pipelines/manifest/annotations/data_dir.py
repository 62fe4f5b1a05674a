"""The directory of a data set: whether it is there, which file of it is meant, and which rows have one."""

import os

from pipelines.manifest.files import Manifest, without_bad

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")


def check_directory(path):
    """Raises FileNotFoundError if a path is no directory."""
    if not os.path.isdir(path):
        raise FileNotFoundError(
            f"Expected a directory of videos at {os.fspath(path)!r}. Received a path that is none. "
            "Try: --data_dir=DIR, or make an example with `python -m pipelines.synthetic --output=DIR`."
        )


def one_of(value, choices):
    """Returns a value if it is one of the words of `choices`, which are what a release has."""
    if str(value) not in choices.split():
        raise ValueError(
            f"Expected one of {', '.join(choices.split())}. Received {value!r}. Try: {choices.split()[0]}."
        )
    return value


def find(listings, folders, name):
    """Returns the file's path, or, where there is none, the first one at which it was looked for.

    Copies are also re-encoded: the suffix may be another one.
    """
    stem, suffix = os.path.splitext(name)
    for folder in folders:
        for ending in (suffix, *SUFFIXES):
            if listings[folder].get(stem + ending) is False:
                return os.path.join(folder, stem + ending)
    return os.path.join(folders[0], name)


def to_manifest(source, rows, classes, keep_bad, folders=False, **more):
    """Returns a `Manifest`; unless `keep_bad`, only with rows that have a file, or a folder if `folders`.

    Args:
        source: Where the rows stand, for errors.
        rows: List of `Video`.
        classes: Class names in the order of the labels.
        keep_bad: Whether rows without a file stay in `videos`.
        folders: Whether a folder, of frames, can be a video.
        **more: Further fields of the `Manifest`.

    Raises:
        ValueError: There are no rows, or none has a file.
    """
    if not rows:
        raise ValueError(f"Expected annotated videos in {source}. Received none. Try: another file.")
    manifest = Manifest(tuple(rows), tuple(classes), **more)
    return manifest if keep_bad else without_bad(manifest, source, folders)
