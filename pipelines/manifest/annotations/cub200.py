"""CUB-200-2011: text files say of the id of each image what it is."""

import os

from pipelines.manifest.annotations.data_dir import check_directory, one_of, to_manifest
from pipelines.manifest.annotations.format import Flag, Format
from pipelines.manifest.annotations.tables import numbered_class_names, texts_by_id
from pipelines.manifest.rows import Label, Video


def read_cub200(data_dir, split, keep_bad=False):
    """Reads a split of CUB-200-2011, images of birds.

    Args:
        data_dir: Directory of `images.txt`, `classes.txt`, `image_class_labels.txt`,
            `train_test_split.txt` and `images/`.
        split: "train" or "test".
        keep_bad: Whether rows without a file stay in `videos`.

    Returns:
        A `Manifest`.

    Raises:
        FileNotFoundError: The directory or a file is missing.
        ValueError: A line is malformed, the files disagree, or none of the images exists.
    """
    check_directory(data_dir)
    wanted = {"train": "1", "test": "0"}[one_of("split", split, "train test")]
    classes = numbered_class_names(os.path.join(data_dir, "classes.txt"))
    images, labels, uses = (
        texts_by_id(os.path.join(data_dir, f"{name}.txt"))
        for name in ("images", "image_class_labels", "train_test_split")
    )
    class_ids, table, rows = range(1, len(classes) + 1), os.path.join(data_dir, "images.txt"), []
    for image, path in images.items():
        label, use = labels.get(image, ""), uses.get(image)
        if not (label.isdecimal() and int(label) in class_ids and use in ("0", "1")):
            raise ValueError(
                f"Expected a class and a split for image {image} of {table}. Received class {label!r}, "
                f"split {use!r}. Try: the text files of one release."
            )
        if use == wanted:
            rows.append(Video(os.path.join(data_dir, "images", path), (Label(int(label) - 1),), split=split))
    return to_manifest(table, rows, classes, keep_bad)


CUB200 = Format(
    read_cub200,
    help="CUB-200-2011: images of birds.",
    data_dir="Directory of images/, images.txt, classes.txt, image_class_labels.txt, train_test_split.txt.",
    split=Flag("split", '"train" or "test".'),
)
