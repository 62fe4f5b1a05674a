"""The boxes of MP4 and MOV files (ISO/IEC 14496-12, 4.2)."""

import struct

from pipelines.bad_video import Unusable

_MOST_BOXES = 1_000_000


def boxes(data):
    """Yields (kind, content) of the boxes in a box; the contents of a memoryview are not copied."""
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        begin = 8
        if size == 1 and place + 16 <= len(data):
            size, begin = struct.unpack_from(">Q", data, place + 8)[0], 16
        elif size == 0:  # It is the last one.
            size = len(data) - place
        if size < begin:
            return
        yield kind, data[place + begin : place + size]
        place += size


def boxes_of_file(file):
    """Yields (kind, place, length) of the content of each box of a file; the length is None up to the end.

    Raises:
        Unusable: There are more than a million of them.
    """
    place = 0
    for _ in range(_MOST_BOXES):
        file.seek(place)
        header = file.read(16)
        if len(header) < 8:
            return
        size, kind = struct.unpack_from(">I4s", header)
        begin = 8
        if size == 1 and len(header) == 16:
            size, begin = struct.unpack_from(">Q", header, 8)[0], 16
        if size and size < begin:
            return
        yield kind, place + begin, size - begin if size else None
        if not 0 < size < 2**62:  # It is the last one, or ends where no file does.
            return
        place += size
    raise Unusable(f"its boxes are above the limit of {_MOST_BOXES:,}", is_final=False)
