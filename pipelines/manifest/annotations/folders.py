"""Data sets without annotation files, which have a folder for each class."""

import difflib
import os
import shlex

from pipelines.bad_video import BadVideo
from pipelines.manifest.annotations.data_dir import IMAGE_SUFFIXES, check_directory, is_media
from pipelines.manifest.annotations.format import Flag, Format
from pipelines.manifest.annotations.tables import unknown_label
from pipelines.manifest.files import Listings, Manifest
from pipelines.manifest.rows import Label, Video

_SPLITS = frozenset(("train", "training", "val", "valid", "validation", "test"))


def read_folders(data_dir, split="", classes=None, keep_bad=False):
    """Reads a split of a data set that has a folder of videos or images for each class, such as ImageNet.

    Files are `<data_dir>/<split>/<class>/<file>`. In the place of a file there may be a folder of a video's
    frames. What begins with a dot is passed over; everything else that is in a class folder and is not such
    a file or folder is reported in `unusable`.

    Args:
        data_dir: Directory of the class folders, or of the splits' folders.
        split: Folder of the split; "" if there is none.
        classes: Class names in the order of the labels; None sorts the folders' names.
        keep_bad: Has no effect, since every row has its file.

    Returns:
        A `Manifest`.

    Raises:
        FileNotFoundError: The directory is missing.
        ValueError: A folder is none of `classes`, all folders are named as splits, or no folder holds a video
            or image.
    """
    del keep_bad
    root = os.path.join(data_dir, split)
    splits = [name for name in _entries(data_dir, is_folder=True) if name in _SPLITS]
    if splits and not os.path.isdir(root):
        raise FileNotFoundError(
            f"Expected a directory of videos at {root!r}. Received a path that is not one. "
            f"Try: --split={(difflib.get_close_matches(split, splits, 1) or splits)[0]}"
        )
    check_directory(root)
    listings, rows, others = Listings(), [], []
    folders = sorted(name for name, is_folder in listings[root].items() if is_folder and name[0] != ".")
    if not split and folders and {*folders} <= _SPLITS:
        raise ValueError(
            f"Expected a folder for each class in {root}. Received folders named as splits, "
            f"{', '.join(folders)}. Try: {' '.join(f'--split={name}' for name in folders)}."
        )
    class_of = {name: class_ for class_, name in enumerate(folders if classes is None else classes)}
    for folder in folders:
        if folder not in class_of:
            raise unknown_label(folder, root)
        for name in sorted(os.listdir(os.path.join(root, folder))):
            path = os.path.join(root, folder, name)
            reason = "" if name[0] == "." else _why_not(listings, path)
            if name[0] != "." and not reason:
                rows.append(Video(path, (Label(class_of[folder]),), split=split))
            elif reason:
                others.append((path, reason))
    if not rows:
        raise ValueError(
            f"Expected files at {os.path.join(root, '<class>', '<file>')}. Received "
            f"{len(folders)} folders without a video or image. Try: check --data_dir and --split."
        )
    return Manifest(tuple(rows), tuple(class_of), tuple(BadVideo(*other) for other in others))


def import_command(path):
    """Returns how a folder of videos becomes a manifest, for a program that was given the folder instead.

    Args:
        path: A data set's folder, or one that is in it: that of a split or of a class, or a video.

    Returns:
        The command, and the manifest with `#SPLIT` if there are splits; None for what is no such path.
    """
    path = os.path.normpath(path)
    if os.path.isfile(path) and is_media(path):
        path = os.path.dirname(path) or "."
    if not _entries(path, is_folder=True):  # It can be a class.
        if not any(map(is_media, _entries(path, is_folder=False))):
            return None
        path = os.path.dirname(path) or "."
    root, split = os.path.split(path)
    if split not in _SPLITS:
        root, split = path, next((name for name in _entries(path, is_folder=True) if name in _SPLITS), "")
    root = root or "."
    output = "videos.jsonl" if root == "." else f"{root}.jsonl"
    splits = [name for name in _entries(root, is_folder=True) if split and name in _SPLITS]
    flags = ["--format=folders", f"--data_dir={root}", *(f"--split={name}" for name in splits)]
    command = shlex.join(["python", "-m", "pipelines.manifest", "import", *flags, f"--output={output}"])
    return command, f"{output}#{split}" if split else output


def _entries(path, is_folder):
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() == is_folder)
    except OSError:
        return []


def _why_not(listings, path):
    """Returns why a path is no video by its name, or nothing."""
    folder, name = os.path.split(path)
    is_folder = listings[folder].get(name)
    if is_folder is None:
        return "a link that leads nowhere, or neither a file nor a folder"
    if not is_folder:
        return "" if is_media(name) else "neither a video nor an image by its name"
    inside = [entry for entry in listings[path] if os.path.splitext(entry)[1].lower() in IMAGE_SUFFIXES]
    return "" if inside else "a folder without images; the files of a class lie directly in its folder"


FOLDERS = Format(
    read_folders,
    help="A folder for each class, of videos or of images, such as ImageNet.",
    data_dir="Directory of the class folders, or of the splits' folders.",
    split=Flag("split", 'Folder of the split; "" if there is none.', default=""),
    shares_classes=True,
)
