"""How a picture is shown: turned and mirrored, as a file says beside the pixels."""

import struct
from typing import NamedTuple

import av
import numpy as np

_MATRIX = av.sidedata.sidedata.Type.DISPLAYMATRIX
_ORIENTATION_TAG = 0x112


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


def display_of_frame(frame):
    """Returns the `Display` of an av.VideoFrame; angles between quarters of a turn go to the nearest one."""
    try:
        matrix = frame.side_data.get(_MATRIX)
    except ValueError:  # PyAV knows fewer kinds of side data than FFmpeg, and then gives none of them.
        return _ORIENTATIONS[(0, 7, 2, 5)[round(frame.rotation / 90) % 4]]
    if matrix is None:
        return Display()
    # A point (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Display(False, rows_reversed=d < 0, columns_reversed=a < 0)
    return Display(True, rows_reversed=b < 0, columns_reversed=c < 0)


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
