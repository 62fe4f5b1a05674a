"""How a picture is shown: turned and mirrored, as a file says beside the pixels."""

import io
import math
import struct
from typing import NamedTuple

import numpy as np

from pipelines.decoding.ebml import CLUSTER, SEGMENT, elements

# Elements of Matroska. Segment, Tracks, TrackEntry, Video and Projection hold others.
_TRACK, _POSE_YAW = 0xAE, 0x7673
_ENTERED = {SEGMENT, 0x1654AE6B, _TRACK, 0xE0, 0x7670}
_MOST_ELEMENTS = 100_000
_ORIENTATION_TAG = 0x112
# The segments of a JPEG that hold its size; ITU-T T.81, table B.1.
_FRAME_SEGMENTS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Display(NamedTuple):
    """What is done to the pixels [H, W, ...] before they are shown: first transposed, then reversed."""

    transposed: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False

    def shown(self, pixels):
        """Returns the pixels as they are shown."""
        pixels = np.swapaxes(pixels, 0, 1) if self.transposed else pixels
        return pixels[:: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]

    def size(self, width, height):
        """Returns (width, height) as they are shown; and of those that are shown, how they are stored."""
        return (height, width) if self.transposed else (width, height)


# By the value of the tag in EXIF, 1 to 8.
_ORIENTATIONS = [
    Display(),
    Display(columns_reversed=True),
    Display(rows_reversed=True, columns_reversed=True),
    Display(rows_reversed=True),
    Display(transposed=True),
    Display(transposed=True, columns_reversed=True),
    Display(transposed=True, rows_reversed=True, columns_reversed=True),
    Display(transposed=True, rows_reversed=True),
]


def display_of_frame(frame, mirrored=False):
    """Returns the `Display` of an av.VideoFrame by its angle, which goes to the nearest quarter of a turn.

    An angle cannot tell a mirror. PyAV's list of a frame's side data could, but it never frees its memory.
    """
    angle = math.radians(frame.rotation)
    a, b, side = math.cos(angle), -math.sin(angle), -1 if mirrored else 1
    return _display_of_matrix(a, b, -b * side, a * side)


def _display_of_matrix(a, b, c, d):
    # A point (x, y) is shown at (a x + c y, b x + d y).
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Display(False, rows_reversed=bool(d < 0), columns_reversed=bool(a < 0))
    return Display(True, rows_reversed=bool(b < 0), columns_reversed=bool(c < 0))


def is_mirrored_in_matroska(source, number):
    """Returns whether a Matroska file says that a track is mirrored, that is, turned about its upright axis.

    Args:
        source: The path of the file, or its bytes.
        number: Which of the file's tracks, counted from 0.
    """
    track = -1
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        for kind, _, length, value in elements(file, _ENTERED, range(_MOST_ELEMENTS)):
            track += kind == _TRACK
            if kind == _POSE_YAW and track == number and length in (4, 8):
                return struct.unpack(">f" if length == 4 else ">d", value.ljust(length, b"\0"))[0] != 0
            if kind == CLUSTER or track > number:
                break
    return False


def display_of_track(header, track):
    """Returns the `Display` of a track of an MP4 or MOV file, which says it by a matrix, or None.

    Args:
        header: [(kind, content)] of the boxes of the file's header.
        track: The identifier of the track.
    """
    whole, matrices = np.eye(2), {}
    try:
        for kind, data in header:
            if kind == b"mvhd":
                whole = _matrix(data, 48 if data[0] else 36)
            elif kind == b"tkhd":
                (number,) = struct.unpack_from(">I", data, 20 if data[0] else 12)
                matrices[number] = _matrix(data, 52 if data[0] else 40)
        (a, b), (c, d) = matrices[track] @ whole
    except (KeyError, IndexError, struct.error):  # There is no such track, or its header is damaged.
        return None
    return _display_of_matrix(a, b, c, d)


def _matrix(header, place):
    a, b, _, c, d = struct.unpack_from(">5i", header, place)
    return np.array([[a, b], [c, d]], float)


def display_of_image(data):
    """Returns the `Display` of a JPEG or PNG image, by the orientation in its EXIF data if there is one."""
    try:
        exif = _exif(data)
        order = {b"II": "<", b"MM": ">"}[exif[:2]]
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if (tag, kind) == (_ORIENTATION_TAG, 3):
                return _ORIENTATIONS[value - 1] if 1 <= value <= 8 else Display()
    except (KeyError, struct.error):  # There is no such data, or it is damaged: the pixels are what counts.
        pass
    return Display()


def size_of_image(data):
    """Returns (width, height) of a JPEG or PNG image as they are stored, by its header, or None."""
    try:
        for kind, content in _segments(data):
            if kind == b"IHDR":
                return struct.unpack_from(">II", content)
            if kind in _FRAME_SEGMENTS:
                return struct.unpack_from(">HH", content, 1)[::-1]
    except struct.error:  # The header is not whole.
        pass
    return None


def _exif(data):
    """Returns the EXIF data of an image, a TIFF file, or nothing."""
    for kind, content in _segments(data):
        if kind == b"eXIf":
            return bytes(content)
        if kind == 0xE1 and content[:6] == b"Exif\0\0":
            return bytes(content[6:])
    return b""


def _segments(data):
    """Yields (kind, content) of the chunks of a PNG, or of the segments that a JPEG has before its pixels."""
    if data[:4] == b"\x89PNG":
        place = 8
        while place + 8 <= len(data):
            length, kind = struct.unpack_from(">I4s", data, place)
            yield kind, data[place + 8 : place + 8 + length]
            place += 12 + length
        return
    place = 2
    while data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] not in (b"\xda", b""):
        if data[place + 1] == 0xFF:  # Any number of such bytes may stand before a segment.
            place += 1
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        yield data[place + 1], data[place + 4 : place + 2 + length]
        place += 2 + length
