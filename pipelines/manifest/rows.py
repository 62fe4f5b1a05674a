"""What a row of a manifest says: as tuples, which programs use, and as the fields of its line in the file.

`Malformed` says what is wrong with fields. Its catcher knows the file and the line, and adds them.
"""

import os
from typing import NamedTuple

VERSION = "keras_nonlocal_manifest"
FIELDS = ("path", "labels", "start", "end", "split", "check")
_LARGEST = 1e9  # More seconds, frames or pixels than these are a mistake.
_BLANK_CHECK = {"sha256": "", "frames": 0, "fps": 0.0, "width": 0, "height": 0, "codec": "", "reason": ""}


class Label(NamedTuple):
    """A class that a video shows, and when it shows it.

    Attributes:
        number: The class, as its place in `Manifest.classes`.
        start: Where it begins, in seconds from the beginning of the file; None is the beginning of the file.
        end: Where it ends, in seconds; None is the end of the file. It may equal `start`.
    """

    number: int
    start: float | None = None
    end: float | None = None


class Check(NamedTuple):
    """What a file is, as found by decoding all of it; what was not found is 0 or an empty text.

    Attributes:
        sha256: Hex digest of the file, or of the names and contents of a folder's files.
        frames: Number of frames.
        fps: Frames per second.
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
    """A row of a manifest.

    Attributes:
        path: Path of a video, of an image, or of a folder of a video's frames.
        labels: Tuple of `Label`; it is empty if nothing is known.
        start: Where the part of the file that the row takes begins, in seconds; None is the beginning.
        end: Where that part ends, in seconds; None is the end of the file.
        split: Name of the split, such as "train".
        check: A `Check`, or None if the file has not been checked.
    """

    path: str
    labels: tuple
    start: float | None = None
    end: float | None = None
    split: str = ""
    check: Check | None = None

    @property
    def label(self):
        """The class of the only label; raises ValueError if there is not exactly one."""
        if len(self.labels) != 1:
            raise ValueError(
                f"Expected one label for {self.path}. Received {len(self.labels)}. Try: treat the data set "
                "as one of several labels a video, or leave the row out."
            )
        return self.labels[0].number


class Malformed(Exception):
    """Raised for fields that are not as expected; says what was expected and what was received."""

    def __init__(self, expected, received, line=None):
        super().__init__(expected)
        self.expected, self.received, self.line = expected, received, line


def short(value):
    """Returns the text of a value for a message, cut off if it is long."""
    text = ascii(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"


def header_from(fields):
    """Returns {field of `Manifest`: value} of a header's fields; raises `Malformed` if one is wrong."""
    version, classes = fields[VERSION], fields.get("classes")
    directional, mirrored = fields.get("directional", False), fields.get("mirrored", [])
    if version != 1 or fields.keys() - {VERSION, "classes", "directional", "mirrored"}:
        raise Malformed("a header of version 1 with classes, directional and mirrored", fields)
    if not isinstance(classes, list) or not all(map(_is_name, classes)) or len(set(classes)) < len(classes):
        raise Malformed("a list `classes` of different names", classes)
    if not isinstance(directional, bool):
        raise Malformed("`directional` to be true or false", directional)
    if not isinstance(mirrored, list) or not all(type(partner) is int for partner in mirrored):
        raise Malformed("a list `mirrored` of class numbers", mirrored)
    if mirrored and (
        sorted(mirrored) != list(range(len(classes)))
        or any(mirrored[partner] != class_ for class_, partner in enumerate(mirrored))
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


def video_from(fields, folder, class_of):
    """Returns the `Video` of a row's fields; raises `Malformed` if one is wrong.

    Args:
        fields: {field: value} of the row.
        folder: Folder of the manifest, from which relative paths count.
        class_of: {class name: class}.
    """
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
    labels = tuple(_label(label, class_of) for label in labels)
    return Video(os.path.join(folder, path), labels, start, end, split, _check(fields.get("check")))


def video_fields(video, classes):
    """Returns {field: value} of a row, without the path and without values that are the default."""
    labels = [
        classes[class_]
        if start is None and end is None
        else {"label": classes[class_]} | _given(start=start, end=end)
        for class_, start, end in video.labels
    ]
    fields = {"labels": labels} | _given(start=video.start, end=video.end)
    fields |= {"split": video.split} if video.split else {}
    if video.check:
        check = video.check._asdict().items()
        fields["check"] = {name: value for name, value in check if value != _BLANK_CHECK.get(name)}
    return fields


def _label(label, class_of):
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
        return Label(class_of[label], start, end)
    except KeyError:
        raise Malformed("one of the classes that the first line lists", label) from None


def _is_name(name):
    return isinstance(name, str) and name != "" and name == name.strip()


def _span(fields):
    return _number(fields.get("start")), _number(fields.get("end"))


def _number(value):
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value < _LARGEST:  # NaN is refused too.
        raise Malformed(f"a number in [0, {_LARGEST:g})", value)
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
        if value is None or isinstance(blank, str) != isinstance(value, str):
            raise Malformed(f"a check's `{name}` like {blank!r}", value)
        values[name] = value if isinstance(blank, str) else type(blank)(_number(value))
    return Check(**values)


def _given(**values):
    return {name: value for name, value in values.items() if value is not None}
