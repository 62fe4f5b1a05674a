"""The manifest of a folder that has a folder for each class: imported, checked, and split."""

import dataclasses
import os

from pipelines.decoding.isolation import IsolatedDecoder
from pipelines.decoding.limits import Limits
from pipelines.manifest import read_manifest, write_manifest
from pipelines.manifest.annotations import read_folders
from pipelines.manifest.checking import check_manifest
from pipelines.manifest.files import without_bad
from pipelines.manifest.splitting import alike_files, classes_without, split_by_class

_TRAIN, _VAL = ("train", "training"), ("val", "valid", "validation", "test")
_FEW = 5  # Videos of a class, with fewer of which a result says little.


@dataclasses.dataclass(frozen=True)
class Folder:
    """What a folder of videos holds.

    Attributes:
        train, val: The `Manifest` of each split, with the videos that can be used.
        names: The names of the two splits.
        notes: Lines for a person: what was left out, and what the folder is short of.
    """

    train: object
    val: object
    names: tuple
    notes: tuple


def open_folder(data_dir, path, *, val_fraction, seed, min_videos, decoder_megabytes):
    """Makes the manifest of a folder of videos, or reads it if it is there already.

    The folder has a folder for each class, or `train` and `val` with one for each class in them. Every file
    is decoded. Without `val`, the videos are split class by class, with copies on one side.

    Args:
        data_dir: The folder, in which nothing is written.
        path: The manifest, a .jsonl file. It appears when all is done; until then, a `.partial.jsonl` beside
            it keeps what the check has found.
        val_fraction: Part of each class for validation, in (0, 1).
        seed: Integer; another one gives another split.
        min_videos: The least count of usable videos of a class.
        decoder_megabytes: Most memory for decoding a file.

    Returns:
        `Folder`.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It has no folders of classes, or one class; a class has too few videos; or training and
            validation have other classes.
    """
    if not os.path.exists(path):
        partial = f"{path.removesuffix('.jsonl')}.partial.jsonl"
        if os.path.exists(partial):
            _check_of_folder(data_dir, partial)
        else:
            manifest = _imported(data_dir)
            _check_classes(data_dir, manifest, min_videos)  # Before minutes of decoding.
            write_manifest(partial, manifest)
        limits, cores = Limits.of_decoders(decoder_megabytes), os.cpu_count()
        with IsolatedDecoder(cores, limits=limits) as decode:
            manifest = check_manifest(partial, decode, cores)
            _check_classes(data_dir, manifest, min_videos)
            if _split_of(manifest, _VAL) is None:
                usable = [video.path for video in without_bad(manifest, partial).videos]
                alike = alike_files(usable, decode, cores)
                manifest = split_by_class(manifest, val_fraction, seed, alike)
        write_manifest(partial, manifest)
        os.replace(partial, path)
    whole = _check_of_folder(data_dir, path)
    names = tuple(_split_of(whole, among) for among in (_TRAIN, _VAL))
    train, val = (read_manifest(path, name) for name in names)
    return Folder(train, val, names, tuple(_notes(data_dir, whole, names)))


def _check_of_folder(data_dir, path):
    """Returns all rows of a manifest; raises ValueError if it was made of another folder."""
    manifest = read_manifest(path, keep_bad=True)
    root = os.path.join(os.path.abspath(data_dir), "")
    others = [video.path for video in manifest.videos if not os.path.abspath(video.path).startswith(root)]
    if others:
        raise ValueError(
            f"Expected {path} to be of the videos in {data_dir}. Received a manifest of others, such as "
            f"{others[0]}. Try: another --workdir, or remove that file"
        )
    return manifest


def _imported(data_dir):
    """Returns the `Manifest` of the folder's files, with the splits that it has."""
    folders = _folders(data_dir)
    train, val = (next((name for name in among if name in folders), None) for among in (_TRAIN, _VAL))
    # A class may have such a name, too; the folder of a split holds folders.
    if train is None or not _folders(os.path.join(data_dir, train)):
        return _read(data_dir, "")
    if val is None or not _folders(os.path.join(data_dir, val)):
        manifest = _read(data_dir, train)
        videos = tuple(video._replace(split="") for video in manifest.videos)
        return dataclasses.replace(manifest, videos=videos)
    parts = [_read(data_dir, train)]
    lacking = sorted({*_folders(os.path.join(data_dir, val))} - {*parts[0].classes})
    if lacking:
        raise ValueError(
            f"Expected in {os.path.join(data_dir, val)} the classes that training has. Received "
            f"{len(lacking)} others, such as {lacking[0]}. Try: videos of them in "
            f"{os.path.join(data_dir, train)}, too, or without these folders"
        )
    parts.append(read_folders(data_dir, val, parts[0].classes))
    both = {name: sum((getattr(part, name) for part in parts), ()) for name in ("videos", "unusable")}
    return dataclasses.replace(parts[0], **both)


def _read(data_dir, split):
    """Returns the `Manifest` of a split; says what to do with videos that lie in no folder of a class."""
    root = os.path.normpath(os.path.join(data_dir, split))
    if os.path.isdir(root) and not _folders(root):
        raise ValueError(
            f"Expected a folder for each class in {root}. Received no folder in it. Try: "
            f"{os.path.join(root, 'CLASS', 'VIDEO')}, where CLASS is what the video shows"
        )
    return read_folders(data_dir, split)


def _check_classes(data_dir, manifest, min_videos):
    """Raises ValueError unless there are two classes, each with enough videos."""
    if len(manifest.classes) < 2:
        raise ValueError(
            f"Expected videos of two classes or more in {data_dir}. Received one, {manifest.classes[0]}. "
            "Try: a second folder, such as one of videos that show something else"
        )
    counts = dict.fromkeys(range(len(manifest.classes)), 0)
    for video in _usable(manifest):
        counts[video.label] += 1
    few = {manifest.classes[class_]: count for class_, count in counts.items() if count < min_videos}
    if few:
        name, count = min(few.items(), key=lambda item: item[1])
        least = min(few.values())
        remedy = f", or --min_videos={least}" if least > 1 else ""
        raise ValueError(
            f"Expected {min_videos} videos that can be read in each class, to learn from some and validate "
            f"with others. Received {len(few)} classes with fewer, such as {name} with {count}. Try: more "
            f"videos of it, no folder of it{remedy}"
        )


def _notes(data_dir, manifest, names):
    bad = [video for video in manifest.videos if video.check and video.check.status == "bad"]
    if bad:
        reasons = dict.fromkeys(video.check.reason for video in bad)
        yield f"{len(bad)} videos cannot be read, such as {bad[0].path} ({next(iter(reasons))})"
    others = _passed_over(data_dir, manifest)
    if others:
        yield f"{len(others)} other entries are passed over, such as {others[0]}"
    usable = _usable(manifest)
    counts = [sum(video.label == class_ for video in usable) for class_ in range(len(manifest.classes))]
    if min(counts) < _FEW:
        name = manifest.classes[counts.index(min(counts))]
        yield f"{name} has {min(counts)} videos: with fewer than {_FEW} of a class, its result is mostly luck"
    if lacking := classes_without(manifest, names[1]):
        yield f"no video validates {len(lacking)} classes, such as {lacking[0]}: add some different ones"
    sides = {}
    for video in usable:
        if video.check and video.check.sha256:
            sides.setdefault(video.check.sha256, {})[video.split] = video.path
    both = [paths for paths in sides.values() if len(paths) > 1]
    if both:
        pair = " = ".join(both[0].values())
        yield f"{len(both)} videos are in both splits, such as {pair}: the results will be too good"


def _usable(manifest):
    return [video for video in manifest.videos if not (video.check and video.check.status == "bad")]


def _passed_over(data_dir, manifest):
    """Returns the entries of class folders that are no videos, by comparison with the rows."""
    known = {video.path for video in manifest.videos}
    folders = sorted({os.path.dirname(path) for path in known})
    entries = (os.path.join(f, name) for f in folders for name in sorted(os.listdir(f)) if name[0] != ".")
    return [os.path.relpath(path, data_dir) for path in entries if path not in known]


def _split_of(manifest, names):
    """Returns the first of some names by which a manifest calls a split, or None."""
    splits = {video.split for video in manifest.videos}
    return next((name for name in names if name in splits), None)


def _folders(path):
    """Returns the names of the folders in a folder, without hidden ones."""
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and entry.name[0] != ".")
    except OSError:
        return []
