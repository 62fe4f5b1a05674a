"""Videos as sources of frames, numbered by the index of their packets, or by counting what decodes.

`indexed` and `counted` are context managers that give a `Video`: the time of every frame, and how to read
some of them. They raise `Unusable` or an error of FFmpeg if the file cannot be used.
"""

import bisect
import contextlib
import functools
import itertools
from typing import NamedTuple

import numpy as np

from pipelines.bad_video import Unusable
from pipelines.decoding.claims import read_header
from pipelines.decoding.display import display_of_frame, display_of_track, is_mirrored_in_matroska
from pipelines.decoding.frames import decode_all, whole_frames
from pipelines.decoding.limits import check
from pipelines.decoding.opening import open_video, video_stream
from pipelines.decoding.progress import goes_on

# These containers store when each frame is shown. Others, AVI above all, leave it to be guessed, and the
# guess is wrong for MPEG-4 with B-frames, so their frames are counted as they are decoded.
_CONTAINERS_WITH_DISPLAY_TIMES = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
# The packets of VP8 hold frames that are never shown ("alternate references"), with times like the others.
_CODEC_WITH_HIDDEN_FRAMES = "vp8"

# Skipping fewer frames than this costs more in restarting the decoder than it saves.
_SEEK_GAP_FRAMES = 8
_PROGRESSIVE = 1  # The AVFieldOrder of whole pictures; the others come as two fields.


class Video(NamedTuple):
    """An opened source.

    Attributes:
        seconds: float64 [n], the time of each frame in display order, counted from the first one.
        read: Function from sorted frame numbers, each once, to an iterable of (frame number, av.VideoFrame,
            `Display`, (width, height)). The frame is scaled to this size, and then shown as `Display` says.
        codec: FFmpeg's name of the codec.
        faults: What is known to be wrong with the source although frames come out, in words.
    """

    seconds: np.ndarray
    read: object
    codec: str
    faults: list = []


class IndexIsWrong(Exception):
    """The packets' times are missing, or are not those of the frames that come out of the decoder."""


@contextlib.contextmanager
def indexed(source, limits):
    """Gives a `Video` whose frames are numbered by the packets' time stamps, which need no decoding."""
    header = read_header(source, limits)
    with open_video(source, limits) as container:
        stream = video_stream(container)
        shown, faults = _shown(header, source, container, stream), []
        times, keys = _index(container, stream, limits, faults)
        unit = stream.time_base
        seconds = np.array([(time - times[0]) * unit.numerator / unit.denominator for time in times])
        check(limits, seconds=seconds[-1])
        read = functools.partial(_read_indexed, container, stream, times, keys)
        yield Video(seconds, shown(read), stream.codec.canonical_name, faults)


@contextlib.contextmanager
def counted(source, limits):
    """Gives a `Video` whose frames are those that decode: a first pass counts them, a second one reads."""
    header = read_header(source, limits)
    with open_video(source, limits) as container:
        stream, times, faults = video_stream(container), [], []
        for frame in decode_all(container, stream, faults):
            times.append(frame.time)
            check(limits, frames=len(times))
        if not times:
            raise Unusable("damaged or truncated: not one frame could be decoded")
        seconds = _seconds(times, stream.average_rate)
        check(limits, seconds=seconds[-1])
    with open_video(source, limits) as container:
        stream = video_stream(container)
        shown = _shown(header, source, container, stream)
        read = functools.partial(_read_counted, container, stream)
        yield Video(seconds, shown(read), stream.codec.canonical_name, faults)


def _shown(header, source, container, stream):
    """Returns a function that makes of a reader of frames one of frames and how they are shown.

    All are shown in the size that the stream has now, before the first one is decoded.
    """
    mp4, matroska = _CONTAINERS_WITH_DISPLAY_TIMES
    of_all = display_of_track(header, stream.id) if container.format.name == mp4 else None
    mirrored = container.format.name == matroska and is_mirrored_in_matroska(source, stream.index)
    width, height = stream.width, stream.height

    def shown(read):
        def read_shown(numbers):
            for number, frame in read(numbers):
                size = width or frame.width, height or frame.height
                yield number, frame, of_all or display_of_frame(frame, mirrored), size

        return read_shown

    return shown


def _seconds(times, rate):
    """Returns the frames' times if they rise, else frame numbers / rate, where no rate means 25."""
    if None not in times and all(before < after for before, after in itertools.pairwise(times)):
        return np.array(times) - times[0]
    return np.arange(len(times)) / float(rate or 25)


def _read_counted(container, stream, numbers):
    wanted, last = set(numbers), max(numbers)
    for number, frame in enumerate(decode_all(container, stream, [])):
        if number in wanted:
            yield number, frame
        if number == last:
            return


def _index(container, stream, limits, faults):
    """Returns the sorted time stamps of all frames, and the numbers of the key frames."""
    hidden = stream.codec.name == _CODEC_WITH_HIDDEN_FRAMES
    if container.format.name not in _CONTAINERS_WITH_DISPLAY_TIMES or hidden:
        raise IndexIsWrong
    if any(entry.pos + entry.size > container.size for entry in stream.index_entries):
        raise Unusable("damaged or truncated: the file ends before its last frame")
    first, times, keyed = None, [], set()
    for number, packet in enumerate(container.demux(stream)):
        goes_on()
        check(limits, frames=number)  # The last packet is an empty one.
        if not packet.size:
            continue
        if packet.pts is None:
            raise IndexIsWrong
        if packet.is_corrupt:
            faults.append("a part of it is not whole")
        first = packet.pts if first is None else first
        # Frames that are shown before the first one stored depend on others that were cut off.
        if not packet.is_discard and packet.pts >= first:
            times.append(packet.pts)
            if packet.is_keyframe:
                keyed.add(packet.pts)
    times.sort()
    if len(set(times)) < len(times) or not keyed:
        raise IndexIsWrong
    return times, [number for number, time in enumerate(times) if time in keyed]


def _read_indexed(container, stream, times, keys, numbers):
    number_of = {time: number for number, time in enumerate(times)}
    prefix = _length_bytes(stream)
    for start, group in _groups(numbers, keys):
        container.seek(times[start], stream=stream)
        wanted = {times[number] for number in group}
        for frame in _decode_group(container, stream, times[start], number_of, wanted, prefix):
            yield number_of[frame.pts], frame


def _groups(numbers, keys):
    """Returns [(frame to seek to, frame numbers)]; a new group begins where it pays to seek."""
    groups = []
    for number in numbers:
        key = min(keys[max(0, bisect.bisect_right(keys, number) - 1)], number)
        if groups and key - groups[-1][1][-1] <= _SEEK_GAP_FRAMES:
            groups[-1][1].append(number)
        else:
            groups.append((key, [number]))
    return groups


def _decode_group(container, stream, start, known, wanted, prefix):
    """Decodes from the time `start` on and yields the frames of the times `wanted`.

    `known` holds the times of all frames. If `prefix` is not None, unwanted frames on which no other frame
    depends are not decoded, and the decoder is flushed after the last wanted one.
    """
    sent, shown, unsent, awaited = set(), [], set(wanted), set(wanted)
    for packet in container.demux(stream):
        if prefix and packet.pts not in wanted and _is_disposable(packet, prefix):
            continue
        if packet.pts in known and packet.pts >= start:
            sent.add(packet.pts)
            unsent.discard(packet.pts)
        empty = prefix and not unsent
        frames = packet.decode() + (stream.decode(None) if empty else [])
        # After a seek, frames that depend on ones before the key frame may come first; they are not whole.
        for frame in whole_frames(frame for frame in frames if frame.pts is None or frame.pts >= start):
            shown.append(frame.pts)
            if frame.pts in awaited:
                awaited.remove(frame.pts)
                yield frame
        if empty or not awaited:
            break
    if awaited or shown != sorted(sent)[: len(shown)]:
        raise IndexIsWrong


def _length_bytes(stream):
    """Returns how many bytes hold a unit's length in the packets of H.264, or None for other codecs.

    It is None for interlaced video too: a packet may then be one of the two fields of a frame.
    """
    context = stream.codec_context
    if stream.codec.name != "h264" or context.field_order != _PROGRESSIVE:
        return None
    header = bytes(context.extradata or b"")  # An "avcC" record begins with 1; ISO/IEC 14496-15, 5.3.3.1.
    return (header[4] & 3) + 1 if len(header) > 4 and header[0] == 1 else None


def _is_disposable(packet, prefix):
    """Returns whether no other frame depends on this one: all its units have nal_ref_idc 0 (7.4.1)."""
    data, position, has_slice = memoryview(packet), prefix, False
    while position < len(data):
        header = data[position]
        if header & 0x60:
            return False
        has_slice |= header & 0x1F == 1
        position += prefix + int.from_bytes(data[position - prefix : position], "big")
    return has_slice
