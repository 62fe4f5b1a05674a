"""How a picture is shown: turned and mirrored, as a file says beside the pixels."""

import io
import math
import struct
from typing import NamedTuple

import numpy as np

from pipelines.decoding.boxes import boxes, boxes_of_file
from pipelines.decoding.ebml import CLUSTER, SEGMENT, elements

_ORIENTATION_TAG = 0x112
# Elements of Matroska. Segment, Tracks, TrackEntry, Video and Projection hold others.
_TRACK, _POSE_YAW = 0xAE, 0x7673
_ENTERED = {SEGMENT, 0x1654AE6B, _TRACK, 0xE0, 0x7670}
_MOST_ELEMENTS = 100_000
_LARGEST_MOVIE = 2**26  # The tracks' headers stand in its beginning.


class Display(NamedTuple):
    """What is done to the pixels [H, W, ...] before they are shown: first transposed, then reversed."""

    transposed: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False

    def shown(self, pixels):
        """Returns the pixels as they are shown."""
        pixels = np.swapaxes(pixels, 0, 1) if self.transposed else pixels
        return pixels[:: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]

    def size(self, frame):
        """Returns (width, height) of an av.VideoFrame as it is shown."""
        return (frame.height, frame.width) if self.transposed else (frame.width, frame.height)


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


def display_of_track(source, track):
    """Returns the `Display` of a track of an MP4 or MOV file, which says it by a matrix, or None.

    Args:
        source: The path of the file, or its bytes.
        track: The identifier of the track.
    """
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            movie = _movie(file)
        whole, matrices = np.eye(2), {}
        for kind, data in boxes(movie):
            if kind == b"mvhd":
                whole = _matrix(data, 48 if data[0] else 36)
            for inner, header in boxes(data) if kind == b"trak" else ():
                if inner == b"tkhd":
                    (number,) = struct.unpack_from(">I", header, 20 if header[0] else 12)
                    matrices[number] = _matrix(header, 52 if header[0] else 40)
        (a, b), (c, d) = matrices[track] @ whole
    except (OSError, KeyError, IndexError, struct.error):  # There is no such track, or its header is damaged.
        return None
    return _display_of_matrix(a, b, c, d)


def _movie(file):
    """Returns the content of the box `moov` of an MP4 file."""
    for kind, place, length in boxes_of_file(file):
        if kind == b"moov":
            file.seek(place)
            return file.read(_LARGEST_MOVIE if length is None else min(length, _LARGEST_MOVIE))
    return b""


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


def _exif(data):
    """Returns the EXIF data of an image, a TIFF file, or nothing."""
    place = 2
    if data.startswith(b"\x89PNG"):
        place = 8
        while place + 8 <= len(data):
            (length,) = struct.unpack_from(">I", data, place)
            if data[place + 4 : place + 8] == b"eXIf":
                return data[place + 8 : place + 8 + length]
            place += 12 + length
        return b""
    while data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] not in (b"\xda", b""):
        (length,) = struct.unpack_from(">H", data, place + 2)
        segment = data[place + 4 : place + 2 + length]
        if data[place + 1] == 0xE1 and segment.startswith(b"Exif\0\0"):
            return segment[6:]
        place += 2 + length
    return b""
