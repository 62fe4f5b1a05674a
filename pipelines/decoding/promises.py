"""What a container promises of its own parts, sizes, checksums, numbers and an end, is held against the file.

FFmpeg goes on where a part is missing, and mostly says nothing. What is asked for here holds in every file
that was written to its end; what sound files may lack, such as an index, is not asked for.
"""

import contextlib
import io
import math
import struct
import zlib

from pipelines.decoding.boxes import boxes, boxes_of_file
from pipelines.decoding.ebml import CLUSTER, SEGMENT, elements

_MOST_PARTS = 2_000_000  # Files of more parts are not walked through, so that none takes minutes.
_LONGEST_INDEX = 2**24
_CUT = "the file ends before its {}"
_SHORT = "it promises {:.1f} s and ends after {:.1f} s"
# Elements of Matroska: Segment, Cluster, BlockGroup, Info, Cues and CuePoint hold others.
_ENTERED = {SEGMENT, CLUSTER, 0xA0, 0x1549A966, 0x1C53BB6B, 0xBB}
_HEADER, _CLUSTER_TIME, _CUE_TIME = 0x1A45DFA3, 0xE7, 0xB3
_SCALE, _DURATION, _BLOCK_DURATION = 0x2AD7B1, 0x4489, 0x9B
_BLOCKS = (0xA1, 0xA3)
_LEAST_CLAIMED = 0.9  # Some programs leave room between samples.
# Flags of the boxes tfhd and trun: they hold the size of every sample, or of each.
_TFHD_SIZE, _TRUN_SIZE = 0x10, 0x200
_OGG_FIRST, _OGG_LAST = 2, 4
_FLV_SCRIPT = 18
_LATE_SECONDS = 1


class _TooManyParts(Exception):
    pass


def broken_promises(source):
    """Yields, in words, what a video file promises of its parts and does not hold.

    Args:
        source: The path of the file, or its bytes.

    Cost: one pass over the headers of all parts; over all bytes where parts have checksums.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        head = file.read(1024)
        size = file.seek(0, io.SEEK_END)
        for begin, walk in _WALKS.items():
            if head.startswith(begin):
                with contextlib.suppress(_TooManyParts):
                    yield from walk(file, size)
        if head[4:8] in (b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free"):
            yield from _mp4(file, size)
        # A transport stream has packets of 188 bytes, before which Blu-ray discs put 4 bytes of time.
        for length, first in ((188, 0), (192, 4)):
            if set(head[first::length]) == {0x47} and size % length:
                yield _CUT.format("last packet's end")


def _mp4(file, size):
    last, claimed = None, None
    for kind, place, length in boxes_of_file(file):
        if length is None:
            return
        file.seek(place)
        if kind in (b"moov", b"moof", b"mdat") and place + length > size:
            yield _CUT.format(f"part {kind.decode()} does")
        elif kind == b"sidx" and place + length + _referenced(file.read(min(length, _LONGEST_INDEX))) > size:
            yield _CUT.format("last segment")
        elif kind == b"moof":
            number, samples = _fragment(file.read(min(length, _LONGEST_INDEX)))
            if last is not None and number > last + 1:
                yield f"its fragment {last + 1} is missing"
            last, claimed = number, samples + (claimed or 0)
        elif kind == b"mdat" and last is not None:
            if length * _LEAST_CLAIMED > (claimed or 0):
                yield f"after its fragment {last} there are samples that no fragment has"
            claimed = None


def _fragment(data):
    """Returns the number of a fragment and how many bytes its samples take; ISO/IEC 14496-12, 8.8.

    They are infinitely many if the size of one is not told in the fragment itself.
    """
    number, claimed = 0, 0
    for kind, content in boxes(data):
        if kind == b"mfhd" and len(content) >= 8:
            number = struct.unpack_from(">I", content, 4)[0]
        default = math.inf
        for inner, header in boxes(content) if kind == b"traf" else ():
            flags = int.from_bytes(header[1:4])
            if inner == b"tfhd" and flags & _TFHD_SIZE:
                place = 8 + 8 * bool(flags & 1) + 4 * (flags & 2).bit_count() + 4 * (flags & 8).bit_count()
                default = int.from_bytes(header[place : place + 4])
            elif inner == b"trun":
                claimed += _run_bytes(header, flags, default)
    return number, claimed


def _run_bytes(header, flags, default):
    count = int.from_bytes(header[4:8])
    if not flags & _TRUN_SIZE:
        return count * default if count else 0
    fields = (flags >> 8 & 15).bit_count()
    place = 8 + 4 * (flags & 1) + (flags & 4) + 4 * (flags >> 8 & 1)
    return sum(int.from_bytes(header[at : at + 4]) for at in range(place, len(header), 4 * fields))


def _referenced(index):
    """Returns how many bytes follow a segment index until its segments end; ISO/IEC 14496-12, 8.16.3."""
    form = ">12xIII" if index[:1] == b"\0" else ">12xQQI"
    begin = struct.calcsize(form)
    if len(index) < begin:
        return 0
    _, offset, count = struct.unpack_from(form, index)
    entries = struct.iter_unpack(">III", index[begin : begin + 12 * (count & 0xFFFF)])
    return offset + sum(entry[0] & 0x7FFFFFFF for entry in entries)


def _matroska(file, size):
    last_cue, promised, scale = 0, 0, 1_000_000
    after, cluster, begin, end, longest = math.inf, 0, 0, 0, 0
    for kind, place, length, value in elements(file, _ENTERED, _parts()):
        if kind == SEGMENT:
            after = math.inf if length is None else place + length
        if place > after and kind not in (SEGMENT, _HEADER):
            break
        if length is not None and place + length > size:
            yield _CUT.format("last element does")
        elif kind == CLUSTER and length is not None and _checksum_is_wrong(file, place, length):
            yield "the checksum of a cluster is wrong"
        elif kind == _CLUSTER_TIME:
            cluster = int.from_bytes(value)
        elif kind in _BLOCKS and len(value) >= 3:
            begin = cluster + int.from_bytes(value[1:3], signed=True)
            longest, end = max(longest, begin - end), max(end, begin)
        elif kind == _BLOCK_DURATION:
            end = max(end, begin + int.from_bytes(value))
        elif kind == _CUE_TIME:
            last_cue = max(last_cue, int.from_bytes(value))
        elif kind == _SCALE:
            scale = int.from_bytes(value)
        elif kind == _DURATION and len(value) == length in (4, 8):
            (promised,) = struct.unpack(">f" if length == 4 else ">d", value)
    if last_cue > end:
        yield "its index names parts that are missing"
    # A file of a known size has all of its blocks. No block tells how long its last frame is shown.
    is_live, late = after == math.inf, (promised - end) * scale / 1e9
    if is_live and longest and late > max(_LATE_SECONDS, 2 * longest * scale / 1e9):
        yield _SHORT.format(promised * scale / 1e9, end * scale / 1e9)


def _checksum_is_wrong(file, place, length):
    """Returns whether a cluster begins with a CRC-32 that is not that of the rest; RFC 8794, 11.3.1."""
    file.seek(place)
    head, left, checksum = file.read(6), length - 6, 0
    if head[:2] != b"\xbf\x84":
        return False
    while left > 0 and (data := file.read(min(left, 2**20))):
        checksum, left = zlib.crc32(data, checksum), left - len(data)
    return head[2:] != checksum.to_bytes(4, "little")


def _ogg(file, size):
    """Pages of a stream are numbered, and the last one is marked; RFC 3533, 6."""
    place, numbers, ended = 0, {}, set()
    for _ in _parts():
        header = _at(file, place, 27)
        if len(header) < 27 or header[:4] != b"OggS":
            break
        flags, serial, number = struct.unpack_from("<5xB8xII", header)
        segments = file.read(header[26])
        if serial in numbers and number > numbers[serial] + 1 and not flags & _OGG_FIRST:
            yield f"its page {numbers[serial] + 1} is missing"
        numbers[serial] = number
        (ended.add if flags & _OGG_LAST else ended.discard)(serial)
        place += 27 + len(segments) + sum(segments)
    if set(numbers) - ended or place > size:
        yield _CUT.format("streams do")


def _avi(file, size):
    """An AVI file is a RIFF chunk, or several; a program that crashed has left its size at 0."""
    place = 0
    for _ in _parts():
        header = _at(file, place, 8)
        if header[:4] != b"RIFF":
            break
        length = int.from_bytes(header[4:], "little")
        # Some programs count the header's 8 bytes, too.
        if place + length > size:
            yield _CUT.format("index does")
        place += 8 + length + length % 2


def _flv(file, size):
    """Each tag has a time; the first one mostly has the duration."""
    place, latest, longest, promised = 13, 0, 0, 0
    for _ in _parts():
        header = _at(file, place, 11)
        if len(header) < 11:
            break
        length, time = int.from_bytes(header[1:4]), int.from_bytes(header[7:8] + header[4:7])
        if header[0] == _FLV_SCRIPT and not promised:
            value = file.read(min(length, 2**16)).partition(b"\0\x08duration\0")[2]
            promised = struct.unpack_from(">d", value)[0] if len(value) >= 8 else 0
        longest, latest = max(longest, time - latest), max(latest, time)
        place += 11 + length + 4
        if place - 4 > size:
            yield _CUT.format("last tag does")
    if longest and promised - latest / 1000 > max(_LATE_SECONDS, 2 * longest / 1000):
        yield _SHORT.format(promised, latest / 1000)


def _parts():
    """Yields once for each part that may be looked at."""
    yield from range(_MOST_PARTS)
    raise _TooManyParts


def _at(file, place, count):
    file.seek(place)
    return file.read(count)


_WALKS = {b"\x1aE\xdf\xa3": _matroska, b"OggS": _ogg, b"RIFF": _avi, b"FLV": _flv}
