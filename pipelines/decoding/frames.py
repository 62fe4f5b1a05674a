"""All frames of an opened video, as they decode, and what is missing among them."""

import itertools

from pipelines.bad_video import Unusable

# Every packet of these holds one frame.
_CODECS_OF_A_FRAME_A_PACKET = ("h264", "hevc", "mjpeg", "vp9", "av1")
_MOST_PACKETS_BEFORE_KEY = 1000


def decode_all(container, stream, faults):
    """Yields the frames from the first key frame on, and enters in `faults` what is missing among them.

    A recording of a broadcast may begin anywhere. What is shown before its first key frame is not whole.
    """
    promised, missing, start, leads, shows = _promised_packets(container, stream), 0, None, True, False
    for packet in _from_first_key(container.demux(stream)):
        start = packet.pts if start is None else start
        is_before = _is_before(packet, start)
        leads = leads and (is_before or packet.pts == start)
        missing += packet.size > 0 and not (leads and is_before) and not packet.is_discard
        promised -= packet.size > 0
        if packet.is_corrupt:
            faults.append("a part of it is not whole")
        for frame in packet.decode():
            shows = shows or not _is_before(frame, start)
            if shows:
                missing -= 1
                yield from whole_frames([frame])
    if promised > 0 or (missing > 0 and stream.codec.canonical_name in _CODECS_OF_A_FRAME_A_PACKET):
        faults.append("frames are missing")


def _promised_packets(container, stream):
    """Returns how many packets from the first key frame on the index of an AVI file lists, or 0."""
    entries = stream.index_entries if container.format.name == "avi" else ()
    return next((len(entries) - place for place, entry in enumerate(entries) if entry.is_keyframe), 0)


def _is_before(timed, start):
    """Returns whether a packet or a frame is shown before the time, as one without a time of its own is."""
    return start is not None and (timed.pts is None or timed.pts < start)


def _from_first_key(packets):
    """Yields the packets from the first key frame on, or all if none of the first many is one."""
    waiting = []
    for packet in packets:
        waiting = [packet] if packet.is_keyframe else [*waiting, packet]
        if packet.is_keyframe or len(waiting) == _MOST_PACKETS_BEFORE_KEY:
            break
    yield from itertools.chain(waiting, packets)


def whole_frames(frames):
    """Yields the frames; raises `Unusable` at one whose lost parts the decoder has made up."""
    for frame in frames:
        if frame.is_corrupt:
            raise Unusable("damaged or truncated: parts of a frame are lost")
        yield frame
