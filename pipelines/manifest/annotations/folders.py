"""A folder for each class, without any annotation file."""

import os

from pipelines.bad_video import BadVideo
from pipelines.manifest.annotations.data_dir import SUFFIXES, check_directory
from pipelines.manifest.annotations.tables import unknown_label
from pipelines.manifest.files import Listings, Manifest
from pipelines.manifest.rows import Label, Video

_KNOWN = frozenset(
    (*SUFFIXES, ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts", ".gif")
    + (".jpg", ".jpeg", ".png", ".bmp", ".webp")
)


def read_folders(data_dir, split="", classes=None, keep_bad=False):
    """A folder for each class, of videos or of images, such as ImageNet.

    Files are `<data_dir>/<split>/<class>/<file>`. Those that begin with a dot are passed over, those of
    another kind than videos and images are reported in `unusable`.

    Args:
        data_dir: Directory of the class folders, or of the splits' folders.
        split: Folder of the split; "" if there is none.
        classes: Class names in the order of the labels; None sorts the folders' names.
        keep_bad: Has no effect: every row has its file.

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
    numbers = {name: number for number, name in enumerate(folders if classes is None else classes)}
    for folder in folders:
        if folder not in numbers:
            raise unknown_label(folder, root)
        for name, is_folder in sorted(listings[os.path.join(root, folder)].items()):
            path = os.path.join(root, folder, name)
            if is_folder or name[0] == ".":
                continue
            if os.path.splitext(name)[1].lower() in _KNOWN:
                rows.append(Video(path, (Label(numbers[folder]),), split=split))
            else:
                others.append((path, "neither a video nor an image by its name"))
    if not rows:
        raise ValueError(
            f"Expected files at {os.path.join(root, '<class>', '<file>')}. Received "
            f"{len(folders)} folders without a video or image. Try: check --data_dir and --split."
        )
    return Manifest(tuple(rows), tuple(numbers), tuple(BadVideo(*other) for other in others))
