"""Splits a manifest into training and validation, class by class, with all copies of a video on one side."""

import dataclasses
import multiprocessing.pool
import os

import av
import numpy as np
import tqdm

from pipelines.bad_video import BadVideo
from pipelines.manifest.subset import draw, shared_folder

_MOMENTS, _SIDE = 16, 16  # Frames of a video that are compared, and the sides of their grey pictures.
_NOTHING = 1.0  # The difference between still videos that are alike, in grey levels of 0-255.
_BLOCK = 256  # Videos that are compared with all others at a time.


def split_by_class(manifest, val_fraction, seed=0, alike=()):
    """Returns the manifest with a split for each row, "train" or "val".

    Of each class about `val_fraction` of the rows are for validation: at least one, where the class has two
    different videos, and never all. Rows of one file, of files with the same content (`check.sha256`) and of
    files that are alike are on one side. The order in which videos are chosen depends on the seed and on
    their paths alone, so that a folder that grows keeps most of its split.

    Args:
        manifest: A `Manifest`.
        val_fraction: In (0, 1).
        seed: Integer; another one gives another split.
        alike: Pairs of paths of files that show the same, see `alike_files`.

    Raises:
        ValueError: `val_fraction` is outside its range, or no class has two different videos.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"Expected val_fraction in (0, 1). Received val_fraction={val_fraction}. Try: 0.2")
    videos = manifest.videos
    shared = shared_folder(videos)

    def lot(group):
        return draw(seed, min(os.path.relpath(videos[row].path, shared) for row in group))

    groups = sorted(_groups(videos, alike), key=lot)
    counts = np.zeros((len(groups), len(manifest.classes)), int)
    for place, group in enumerate(groups):
        for row in group:
            counts[place, [label.number for label in videos[row].labels]] += 1
    chosen = _chosen(counts, val_fraction)
    if not chosen:
        raise ValueError(
            f"Expected a class with two different videos. Received {len(videos)} rows of "
            f"{len(manifest.classes)} classes, none of which has two. Try: more videos of each class; copies "
            "of a video count once"
        )
    val = {row for place in chosen for row in groups[place]}
    split = [video._replace(split="val" if row in val else "train") for row, video in enumerate(videos)]
    return dataclasses.replace(manifest, videos=tuple(split))


def _chosen(counts, val_fraction):
    """Returns the places of the groups for validation; `counts` has the rows of each class in each group."""
    train, kinds = counts.sum(axis=0), (counts > 0).sum(axis=0)
    wanted = np.where(kinds > 1, np.maximum(1, np.round(train * val_fraction)), 0).astype(int)
    val, chosen = np.zeros_like(train), set()

    def take(places, fits):
        for place in places:
            if place not in chosen and counts[place].any() and fits(counts[place]):
                chosen.add(place)
                val[:], train[:] = val + counts[place], train - counts[place]

    def leaves_some(count):
        return bool((train - count)[count > 0].min() > 0)

    take(
        range(len(counts)),
        lambda count: leaves_some(count) and bool((val + count <= wanted)[count > 0].all()),
    )
    smallest_first = np.argsort(counts.sum(axis=1), kind="stable")
    for class_ in np.flatnonzero(wanted):  # Where all copies together are more than what was wanted.
        take(smallest_first, lambda count, c=class_: val[c] == 0 and count[c] > 0 and leaves_some(count))
    return chosen


def _groups(videos, alike):
    """Returns lists of the rows that have to be on one side."""
    parents = {}

    def first(key):
        while parents.setdefault(key, key) != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    for video in videos:
        if video.check and video.check.sha256:
            parents[first(("path", video.path))] = first(("content", video.check.sha256))
    for left, right in alike:
        parents[first(("path", left))] = first(("path", right))
    groups = {}
    for row, video in enumerate(videos):
        groups.setdefault(first(("path", video.path)), []).append(row)
    return list(groups.values())


def classes_without(manifest, split):
    """Returns the names of the classes of which a split has no video that can be used."""
    usable = [video for video in manifest.videos if not (video.check and video.check.status == "bad")]
    found = {label.number for video in usable if video.split == split for label in video.labels}
    return [name for number, name in enumerate(manifest.classes) if number not in found]


def alike_files(paths, decode, workers=1):
    """Returns the pairs of files that show the same: copies, also of another size, format or rate.

    Frames at the same fractions of two videos are compared, as small grey pictures without their means. The
    videos are alike if these differ by less than half of what changes from one such frame of a video to the
    next. So two takes of one scene, or two films of a camera that stands still, are not alike; nor are
    mirrored, cropped or trimmed copies.

    Args:
        paths: The files.
        decode: A decoder, see `pipelines.decoding.decode`; threads call it.
        workers: The count of threads.

    Returns:
        A list of (path, path). Files that cannot be read are alike with none.

    Cost: Sixteen frames of each file are decoded. Memory grows with the files, 16 kB each, and the time to
    compare them with the square of their count.
    """

    def look(path):
        try:
            return decode(path, _moments, _small).frames
        except BadVideo:
            return None

    paths = list(dict.fromkeys(paths))
    with multiprocessing.pool.ThreadPool(workers) as pool:
        seen = list(tqdm.tqdm(pool.imap(look, paths), "comparing", len(paths), unit=" files", disable=None))
    paths = [path for path, frames in zip(paths, seen, strict=True) if frames is not None]
    frames = np.array([frames for frames in seen if frames is not None], np.float32)  # [V, moments, pixels]
    if len(paths) < 2:
        return []
    frames -= frames.mean(axis=-1, keepdims=True)
    change = np.sqrt(np.square(np.diff(frames, axis=1)).mean(axis=(1, 2)))  # [V]
    flat = frames.reshape(len(paths), -1) / np.sqrt(frames[0].size)
    squares, found = np.square(flat).sum(axis=1), []
    for begin in range(0, len(paths), _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        distances = squares[rows, None] + squares[begin:] - 2 * flat[rows] @ flat[begin:].T
        least = np.minimum(change[rows, None], change[begin:])
        near = np.sqrt(np.maximum(distances, 0)) <= np.maximum(least / 2, _NOTHING)
        found += [(paths[begin + a], paths[begin + b]) for a, b in np.argwhere(np.triu(near, 1)).tolist()]
    return found


def _moments(seconds):
    return np.round(np.linspace(0, len(seconds) - 1, _MOMENTS)).astype(int)


def _small(frame):
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    return picture.reformat(_SIDE, _SIDE, "gray", interpolation="AREA").to_ndarray().ravel()
