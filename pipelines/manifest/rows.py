"""What a line of a manifest says: tuples for the program, fields as JSON has them for the file.

`Malformed` tells what is wrong with fields; who knows the file and the line makes words of it.
"""

import os
from typing import NamedTuple

VERSION = "keras_nonlocal_manifest"
FIELDS = ("path", "labels", "start", "end", "split", "check")
_LARGEST_NUMBER = 1e9  # Of seconds, frames, pixels: beyond it there is a mistake.
_BLANK_CHECK = {"sha256": "", "frames": 0, "fps": 0.0, "width": 0, "height": 0, "codec": "", "reason": ""}


class Label(NamedTuple):
    """What a video shows, and when.

    Attributes:
        number: 0-based class number.
        start: Begin in seconds from the beginning of the file; None for the beginning.
        end: End in seconds; None for the end. It may equal `start`.
    """

    number: int
    start: float | None = None
    end: float | None = None


class Check(NamedTuple):
    """What decoding the whole file has shown; numbers are 0 and texts empty where it showed nothing.

    Attributes:
        sha256: Hex digest of the file; of a folder, of its files' names and contents.
        frames: Number of frames.
        fps: Frames a second.
        width: Width in pixels, upright.
        height: Height in pixels, upright.
        codec: FFmpeg's name of the codec.
        status: "ok" or "bad".
        reason: What is wrong, in words for a person.
    """

    sha256: str
    frames: int
    fps: float
    width: int
    height: int
    codec: str
    status: str
    reason: str = ""


class Video(NamedTuple):
    """One row.

    Attributes:
        path: A video, an image, or a folder of a video's frames.
        labels: Tuple of `Label`, empty if nothing is known.
        start: Where the part of the file that counts begins, in seconds; None for the beginning.
        end: Where it ends; None for the end.
        split: Name of the split, such as "train".
        check: A `Check`, or None before there was one.
    """

    path: str
    labels: tuple
    start: float | None = None
    end: float | None = None
    split: str = ""
    check: Check | None = None

    @property
    def label(self):
        """The number of the only label."""
        if len(self.labels) != 1:
            raise ValueError(
                f"Expected one label for {self.path}. Received {len(self.labels)}. Try: treat the data set "
                "as one of several labels a video, or leave the row out."
            )
        return self.labels[0].number


class Malformed(Exception):
    """What was expected in a line, and what stands there."""

    def __init__(self, expected, received, line=None):
        super().__init__(expected)
        self.expected, self.received, self.line = expected, received, line


def short(value):
    """Returns a value as a message shows it."""
    text = ascii(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"


def header_from(fields):
    """Returns {field of `Manifest`: value}, checked."""
    version, classes = fields[VERSION], fields.get("classes")
    directional, mirrored = fields.get("directional", False), fields.get("mirrored", [])
    if version != 1 or fields.keys() - {VERSION, "classes", "directional", "mirrored"}:
        raise Malformed("a header of version 1 with classes, directional and mirrored", fields)
    if not isinstance(classes, list) or not all(map(_is_name, classes)) or len(set(classes)) < len(classes):
        raise Malformed("a list `classes` of different names", classes)
    if not isinstance(directional, bool):
        raise Malformed("`directional` to be true or false", directional)
    if not isinstance(mirrored, list) or not all(type(number) is int for number in mirrored):
        raise Malformed("a list `mirrored` of class numbers", mirrored)
    if mirrored and (
        sorted(mirrored) != list(range(len(classes)))
        or any(mirrored[partner] != number for number, partner in enumerate(mirrored))
    ):
        raise Malformed("`mirrored` to have each class once, and partners to name each other,", mirrored)
    return {"classes": tuple(classes), "directional": directional, "mirrored": tuple(mirrored)}


def header_fields(manifest):
    """Returns the header of a `Manifest`; raises `Malformed` if it could not be read again."""
    header = {VERSION: 1, "classes": list(manifest.classes)}
    header |= {"directional": True} if manifest.directional else {}
    header |= {"mirrored": list(manifest.mirrored)} if manifest.mirrored else {}
    header_from(header)
    return header


def video_from(fields, folder, numbers):
    """Returns a `Video`, checked; `numbers` has the number of each class name."""
    path, labels, split = fields.get("path"), fields.get("labels"), fields.get("split", "")
    if fields.keys() - set(FIELDS):
        raise Malformed(f"no fields but {', '.join(FIELDS)}", sorted(fields))
    if not isinstance(path, str) or not path or "\0" in path:
        raise Malformed("a `path`", path)
    if not isinstance(labels, list):
        raise Malformed("a list of `labels`", labels)
    if not isinstance(split, str):
        raise Malformed("a name as `split`", split)
    start, end = _span(fields)
    if end is not None and end <= (start or 0.0):
        raise Malformed("`start` before `end`", [start, end])
    labels = tuple(_label(label, numbers) for label in labels)
    return Video(os.path.join(folder, path), labels, start, end, split, _check(fields.get("check")))


def video_fields(video, classes):
    """Returns what a line says of a video, as JSON has it, without the path and what has its default."""
    labels = [
        classes[number]
        if start is None and end is None
        else {"label": classes[number]} | _given(start=start, end=end)
        for number, start, end in video.labels
    ]
    fields = {"labels": labels} | _given(start=video.start, end=video.end)
    fields |= {"split": video.split} if video.split else {}
    if video.check:
        check = video.check._asdict().items()
        fields["check"] = {name: value for name, value in check if value != _BLANK_CHECK.get(name)}
    return fields


def _label(label, numbers):
    start = end = None
    if isinstance(label, dict):
        if label.keys() - {"label", "start", "end"}:
            raise Malformed("a label to have no fields but label, start, end", label)
        start, end = _span(label)
        if end is not None and end < (start or 0.0):
            raise Malformed("a label's `start` not after its `end`", label)
        label = label.get("label")
    if not _is_name(label):
        raise Malformed("the name of a class, without spaces around it,", label)
    try:
        return Label(numbers[label], start, end)
    except KeyError:
        raise Malformed("one of the classes that the first line lists", label) from None


def _is_name(name):
    return isinstance(name, str) and name != "" and name == name.strip()


def _span(fields):
    return _number(fields.get("start")), _number(fields.get("end"))


def _number(value):
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value < _LARGEST_NUMBER:  # NaN is not, either.
        raise Malformed(f"a number in [0, {_LARGEST_NUMBER:g})", value)
    return float(value)


def _check(fields):
    if fields is None:
        return None
    if not isinstance(fields, dict) or fields.keys() - set(Check._fields):
        raise Malformed(f"a check to have no fields but {', '.join(Check._fields)}", fields)
    if fields.get("status") not in ("ok", "bad"):
        raise Malformed("a check's `status` to be ok or bad", fields.get("status"))
    values = dict(fields)
    for name, blank in _BLANK_CHECK.items():
        value = fields.get(name, blank)
        if isinstance(blank, str) != isinstance(value, str):
            raise Malformed(f"a check's `{name}` like {blank!r}", value)
        values[name] = value if isinstance(blank, str) else type(blank)(_number(value))
    return Check(**values)


def _given(**values):
    return {name: value for name, value in values.items() if value is not None}
