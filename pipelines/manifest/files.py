"""Reads and writes manifests, and sets the rows aside that cannot be used."""

import dataclasses
import hashlib
import json
import os

from pipelines.bad_video import BadVideo
from pipelines.manifest.lines import WRITERS, read_lines
from pipelines.manifest.rows import Malformed, header_fields, short, video_fields
from pipelines.whole_files import whole_file


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The rows of a data set or of one of its splits.

    Attributes:
        videos: Tuple of `Video`.
        classes: Tuple of class names; a label's `number` is an index into it.
        unusable: Tuple of `BadVideo`, one for each row that has no file or whose file is known to be bad.
        directional: Whether classes tell left from right, so that a mirrored clip may change its class.
        mirrored: For each class the class that its mirrored clips show; empty if this is not known.
    """

    videos: tuple
    classes: tuple
    unusable: tuple = ()
    directional: bool = False
    mirrored: tuple = ()

    def __len__(self):
        return len(self.videos)

    @property
    def multi_label(self):
        """Whether some video has no label or several, or a label that holds for a part of its time."""
        return any(len(video.labels) != 1 or video.labels[0][1:] != (None, None) for video in self.videos)

    def fingerprint(self):
        """Returns the SHA-256, in hex, of the classes and of the videos' paths, labels, starts and ends.

        Paths count from the folder that all videos share, so a data set that moves as a whole keeps it.
        """
        paths = [video.path for video in self.videos] or [""]
        shared = _common_folder(min(paths), max(paths))
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for video in self.videos:
            digest.update(json.dumps([video.path[shared:], *video[1:4]]).encode())
        return digest.hexdigest()


def is_manifest(path):
    """Returns whether a file is a manifest, which is a .jsonl, or a .csv with a header or a column `path`."""
    if not os.path.isfile(path):
        return False
    suffix = os.path.splitext(path)[1]
    if suffix != ".csv":
        return suffix == ".jsonl"
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
    return first.startswith("#") or "path" in first.strip().replace('"', "").split(",")


def read_manifest(path, split=None, keep_bad=False):
    """Reads a manifest.

    Args:
        path: A .jsonl or .csv file.
        split: Name of the split to take; None takes all rows. The classes are those of the whole file.
        keep_bad: Whether rows that cannot be used stay in `videos`, instead of moving to `unusable`. Then
            nothing looks for the videos' files.

    Returns:
        A `Manifest`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is malformed, the split has no rows, or none of its videos can be used.

    Cost: Memory and time are in proportion to the rows. Each folder is listed once; no video is opened.
    """
    _suffix(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"Expected a manifest at {os.fspath(path)!r}. Received no such file. "
            "Try: make one with `python -m pipelines.manifest import`."
        )
    videos, header = read_lines(path)
    chosen = tuple(video for video in videos if split in (None, video.split))
    if not chosen:
        splits = sorted({repr(video.split) for video in videos})
        raise ValueError(
            f"Expected rows of {'any split' if split is None else f'split {split!r}'} in {path}. "
            f"Received {', '.join(splits) or 'no rows at all'}. "
            f"Try: {'split ' + ' or '.join(splits) if splits else 'another file'}"
        )
    manifest = Manifest(chosen, **header)
    return manifest if keep_bad else without_bad(manifest, path)


def write_manifest(path, manifest):
    """Writes the rows of `manifest.videos`, whole or not at all; the rows of `unusable` are lost.

    Args:
        path: A .jsonl or .csv file. The paths of videos below its folder become relative.
        manifest: A `Manifest`.

    Raises:
        ValueError: The suffix is another one; the names of classes are not all different, or begin or end
            with a space; or a path cannot be written as UTF-8 to CSV.
    """
    write = WRITERS[_suffix(path)]
    try:
        header = header_fields(manifest)
    except Malformed as error:
        raise ValueError(
            f"Expected {error.expected} to write {path}. Received {short(error.received)}. "
            "Try: correct them in the data set."
        ) from None
    below = os.path.join(os.path.dirname(os.path.abspath(path)), "")
    here = os.getcwd()
    rows = (
        {"path": os.path.join(here, video.path).removeprefix(below)} | video_fields(video, manifest.classes)
        for video in manifest.videos
    )
    with whole_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        try:
            write(file, json.dumps(header), rows)
        except UnicodeEncodeError as error:
            raise ValueError(
                f"Expected paths in UTF-8 for {path}. Received {short(error.object)}. Try: a .jsonl file."
            ) from None


def check_new(output):
    """Checks the path of a manifest that is to be made, and makes its folder.

    Raises:
        ValueError: It is there already, or has another suffix.
    """
    if os.path.exists(output):
        raise ValueError(
            f"Expected an --output that does not exist. Received {output}. "
            "Try: another name, or remove the file and what is known of its videos."
        )
    stem, suffix = os.path.splitext(output)
    if suffix not in (".jsonl", ".csv"):
        raise ValueError(
            f"Expected an --output that ends in .jsonl or .csv. Received {output}. Try: --output={stem}.jsonl"
        )
    os.makedirs(os.path.dirname(output) or ".", exist_ok=True)


class Listings(dict):
    """Maps each folder to {name in it: whether that is a folder}; a folder is read when it is asked for."""

    def __missing__(self, folder):
        try:
            with os.scandir(folder or ".") as entries:
                found = {entry.name: entry.is_dir() for entry in entries if entry.is_dir() or entry.is_file()}
        except PermissionError:
            raise
        except (OSError, UnicodeEncodeError):  # There is no such folder, or its name is not possible.
            found = {}
        self[folder] = found
        return found


def without_bad(manifest, source, folders=True):
    """Returns a manifest in which the rows without a file or with a bad file are in `unusable`.

    Args:
        manifest: A `Manifest`.
        source: The file or folder that the rows are from, which the error names.
        folders: Whether a folder of frames counts as a file.

    Raises:
        ValueError: No row remains.
    """
    listings, videos, unusable = Listings(), [], []
    for video in manifest.videos:
        folder, name = os.path.split(video.path.rstrip("/"))
        is_folder = listings[folder].get(name)
        if is_folder is None or (is_folder and not folders):
            unusable.append(BadVideo(video.path, "annotated, but there is no such file"))
        elif video.check and video.check.status == "bad":
            unusable.append(BadVideo(video.path, video.check.reason))
        else:
            videos.append(video)
    if not videos:
        raise ValueError(
            f"Expected videos for the {len(manifest)} rows of {source}. Received none that can be used; the "
            f"first, {unusable[0].path}: {unusable[0].reason}. Try: check the folder of the videos, and that "
            "its files are named as in the annotations."
        )
    return dataclasses.replace(manifest, videos=tuple(videos), unusable=(*manifest.unusable, *unusable))


def _common_folder(first, second):
    """Returns the length of the folder in which two paths lie, with all paths that sort between them."""
    different = (place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return first.rfind("/", 0, next(different, len(first))) + 1


def _suffix(path):
    suffix = os.path.splitext(path)[1]
    if suffix not in (".jsonl", ".csv"):
        remedy = "`python -m pipelines.manifest import`, which makes one of a data set's own annotations"
        if "#" in suffix:  # Runs take a split so.
            remedy = repr(os.fspath(path).partition("#")[0])
        raise ValueError(
            f"Expected a manifest named *.jsonl or *.csv. Received {os.fspath(path)!r}. Try: {remedy}."
        )
    return suffix
