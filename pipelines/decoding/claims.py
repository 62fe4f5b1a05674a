"""The header of an MP4 or MOV file, and how many samples it claims.

When FFmpeg opens a file, it makes an entry of its index for each sample that the header claims, and a
kilobyte can claim billions. So the claims are added up before.
"""

import io
import itertools
import re
import struct
import zlib

import numpy as np

from pipelines.bad_video import Unusable
from pipelines.decoding.boxes import boxes, boxes_of_file
from pipelines.decoding.limits import check

# FFmpeg looks for the tables in each of these, wherever it stands, and gives them to the track before.
_HOLDERS = frozenset(
    (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf", b"edts", b"dinf", b"udta")
    + (b"tref", b"gmhd", b"sinf", b"schi", b"wave", b"cmov")
)
_TABLES = frozenset((b"hdlr", b"stsz", b"stz2", b"stts", b"stsc", b"stco", b"co64", b"trun", b"keys"))
# Boxes may begin somewhere within these.
_MIXED = frozenset((b"meta", b"stsd"))
_BEGIN = re.compile(b"|".join(sorted(_HOLDERS | _TABLES)))
_DEEPEST = 12  # FFmpeg refuses boxes that lie deeper in each other.
_LARGEST_HEADER = 2**26
# An entry of FFmpeg's index stands for so many samples of uncompressed sound, or for more.
_SAMPLES_OF_SOUND = 160


def read_header(source, limits):
    """Returns [(kind, content)] of all boxes in the header of a file, those inside a box behind it.

    Args:
        source: The path of the file, or its bytes. The list is empty if it is a file of another kind.
        limits: `Limits`.

    Raises:
        Unusable: The header is larger than 64 MiB, or claims more samples than the limit.

    Cost: the headers of all fragments are read.
    """
    header, samples, count, left = [], 0, 0, _LARGEST_HEADER
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        for kind, place, length in boxes_of_file(file):
            if kind not in _HOLDERS | _TABLES | _MIXED:
                continue
            file.seek(place)
            content = file.read(left + 1 if length is None else min(length, left + 1))
            left -= len(content)
            if left < 0:
                raise Unusable(f"its header is above the limit of {_LARGEST_HEADER:,} bytes", is_final=False)
            inside = list(itertools.islice(_walk(kind, memoryview(content)), limits.boxes - count + 1))
            count, samples = count + len(inside), samples + _samples(inside)
            check(limits, boxes=count, samples=samples)
            header += inside if kind != b"moof" else []
    return header


def _walk(kind, content, depth=0):
    """Yields (kind, content) of a box and of all boxes in it."""
    yield kind, content
    if depth == _DEEPEST:
        return
    if kind == b"cmov":
        content = _decompressed(content)
    elif kind in _MIXED:
        begin = _BEGIN.search(content)
        content = content[begin.start() - 4 :] if begin and begin.start() >= 4 else b""
    if kind in _HOLDERS or kind in _MIXED:
        for inner, inside in boxes(content):
            yield from _walk(inner, inside, depth + 1)


def _decompressed(content):
    """Returns the header that a box `cmov` holds, or nothing."""
    packed = dict(boxes(content)).get(b"cmvd", b"")
    try:
        plain = zlib.decompressobj().decompress(packed[4:], _LARGEST_HEADER + 1)
    except zlib.error:
        return b""
    if len(plain) > _LARGEST_HEADER:
        raise Unusable(f"its header is above the limit of {_LARGEST_HEADER:,} bytes", is_final=False)
    return memoryview(plain)


def _samples(header):
    """Returns how many entries FFmpeg's index gets for the boxes of a header, or an upper bound."""
    total, tables = 0, {}
    for kind, content in [*header, (b"trak", b"")]:
        if kind == b"trak":
            total += _samples_of_track(tables)
            tables = {}
        elif kind in (b"trun", b"keys"):
            total += _number(content, 4)
        elif kind in _TABLES:
            tables.setdefault(kind, []).append(content)
    return total


def _samples_of_track(tables):
    handlers = [bytes(content[8:12]) for content in tables.get(b"hdlr", [])]
    handlers = [kind for kind in handlers if kind in (b"vide", b"soun")]
    samples = sum(_number(content, 8) for kind in (b"stsz", b"stz2") for content in tables.get(kind, []))
    if handlers == [b"vide"]:
        return samples
    # Uncompressed sound, where each sample lasts for one unit of time, is indexed by pieces of its chunks.
    times = [(_number(content, 4), _number(content, 12)) for content in tables.get(b"stts", [])]
    is_plain_sound = handlers == [b"soun"] and times == [(1, 1)]
    return _pieces_of_sound(tables) + (0 if is_plain_sound else samples)


def _pieces_of_sound(tables):
    chunks = sum(
        min(_number(content, 4), len(content) // width)
        for kind, width in ((b"stco", 4), (b"co64", 8))
        for content in tables.get(kind, [])
    )
    pieces = 0
    for content in tables.get(b"stsc", []):
        rows = content[8 : 8 + 12 * min(_number(content, 4), (len(content) - 8) // 12)]
        first, size, _ = np.frombuffer(rows, ">u4").astype(np.int64).reshape(-1, 3).T
        of_each = np.maximum(1, -(-size // _SAMPLES_OF_SOUND))
        runs = np.diff(first, append=chunks + 1)
        # FFmpeg mends a table whose chunks do not rise, in ways of its own.
        rise = (runs[:-1] > 0).all() and (runs[-1:] >= 0).all()
        pieces += int(of_each @ runs if rise else chunks * of_each.max(initial=0))
    return pieces


def _number(content, place):
    return struct.unpack_from(">I", content, place)[0] if place + 4 <= len(content) else 0
