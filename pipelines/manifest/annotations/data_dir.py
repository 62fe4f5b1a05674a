"""Checks the directory of a data set, and finds the files that its rows mean."""

import os

from pipelines.manifest.files import Manifest, without_bad

# The suffixes of re-encoded copies, and of all files that `pipelines.decoding` reads.
SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_OTHER_SUFFIXES = (
    *(".3g2", ".3gp", ".apng", ".asf", ".bmp", ".divx", ".flv", ".gif", ".h264", ".hevc", ".ivf", ".m2ts"),
    *(
        ".m2v",
        ".m4v",
        ".mj2",
        ".mjpeg",
        ".mov",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ogg",
        ".ogv",
        ".ts",
        ".vob",
        ".webp",
    ),
    ".wmv",
)


def is_media(name):
    """Returns whether a file is a video or an image by its name."""
    return os.path.splitext(name)[1].lower() in (*SUFFIXES, *IMAGE_SUFFIXES, *_OTHER_SUFFIXES)


def check_directory(path):
    """Raises FileNotFoundError if a path is not a directory."""
    if not os.path.isdir(path):
        raise FileNotFoundError(
            f"Expected a directory of videos at {os.fspath(path)!r}. Received a path that is not one. "
            "Try: --data_dir=DIR, or make an example with `python -m pipelines.synthetic --output=DIR`."
        )


def one_of(name, value, choices):
    """Returns the value of a reader's argument; raises ValueError if it is none of the words of `choices`."""
    if str(value) not in choices.split():
        raise ValueError(
            f"Expected --{name} to be one of {', '.join(choices.split())}. Received {value!r}. "
            f"Try: --{name}={choices.split()[0]}."
        )
    return value


def find(listings, folders, name):
    """Returns the path of a file in one of several folders, or where it would be in the first of them.

    The suffix of the file may be another one than that of `name`, since copies are often re-encoded.
    """
    stem, suffix = os.path.splitext(name)
    for folder in folders:
        for ending in (suffix, *SUFFIXES):
            if listings[folder].get(stem + ending) is False:
                return os.path.join(folder, stem + ending)
    return os.path.join(folders[0], name)


def to_manifest(source, rows, classes, keep_bad, folders=False, **more):
    """Returns a `Manifest` of rows; those without a file move to its `unusable`, unless `keep_bad`.

    Args:
        source: The file or folder that the rows are from, which errors name.
        rows: List of `Video`.
        classes: Class names in the order of the labels.
        keep_bad: Whether rows without a file stay in `videos`.
        folders: Whether a folder of frames counts as a file.
        **more: Further fields of the `Manifest`.

    Raises:
        ValueError: There are no rows, or none has a file.
    """
    if not rows:
        raise ValueError(f"Expected annotated videos in {source}. Received none. Try: another file.")
    manifest = Manifest(tuple(rows), tuple(classes), **more)
    return manifest if keep_bad else without_bad(manifest, source, folders)
