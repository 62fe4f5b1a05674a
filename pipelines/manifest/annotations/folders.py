"""Data sets without annotation files, which have a folder for each class."""

import os

from pipelines.bad_video import BadVideo
from pipelines.manifest.annotations.data_dir import SUFFIXES, check_directory
from pipelines.manifest.annotations.format import Flag, Format
from pipelines.manifest.annotations.tables import unknown_label
from pipelines.manifest.files import Listings, Manifest
from pipelines.manifest.rows import Label, Video

_KNOWN = frozenset(
    (*SUFFIXES, ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts", ".gif")
    + (".jpg", ".jpeg", ".png", ".bmp", ".webp")
)


def read_folders(data_dir, split="", classes=None, keep_bad=False):
    """Reads a split of a data set that has a folder of videos or images for each class, such as ImageNet.

    Files are `<data_dir>/<split>/<class>/<file>`. Those that begin with a dot are passed over, those that
    are neither videos nor images by their names are reported in `unusable`.

    Args:
        data_dir: Directory of the class folders, or of the splits' folders.
        split: Folder of the split; "" if there is none.
        classes: Class names in the order of the labels; None sorts the folders' names.
        keep_bad: Has no effect, since every row has its file.

    Returns:
        A `Manifest`.

    Raises:
        FileNotFoundError: The directory is missing.
        ValueError: A folder is none of `classes`, or no folder holds a video or image.
    """
    del keep_bad
    root = os.path.join(data_dir, split)
    check_directory(root)
    listings, rows, others = Listings(), [], []
    folders = sorted(name for name, is_folder in listings[root].items() if is_folder and name[0] != ".")
    class_of = {name: class_ for class_, name in enumerate(folders if classes is None else classes)}
    for folder in folders:
        if folder not in class_of:
            raise unknown_label(folder, root)
        for name, is_folder in sorted(listings[os.path.join(root, folder)].items()):
            path = os.path.join(root, folder, name)
            if is_folder or name[0] == ".":
                continue
            if os.path.splitext(name)[1].lower() in _KNOWN:
                rows.append(Video(path, (Label(class_of[folder]),), split=split))
            else:
                others.append((path, "neither a video nor an image by its name"))
    if not rows:
        raise ValueError(
            f"Expected files at {os.path.join(root, '<class>', '<file>')}. Received "
            f"{len(folders)} folders without a video or image. Try: check --data_dir and --split."
        )
    return Manifest(tuple(rows), tuple(class_of), tuple(BadVideo(*other) for other in others))


FOLDERS = Format(
    read_folders,
    help="A folder for each class, of videos or of images, such as ImageNet.",
    data_dir="Directory of the class folders, or of the splits' folders.",
    split=Flag("split", 'Folder of the split; "" if there is none.', default=""),
    shares_classes=True,
)
