"""All frames of an opened video, as they decode, and what is missing among them."""

import itertools

from pipelines.bad_video import Unusable
from pipelines.decoding.progress import goes_on

# Every packet of these holds one frame.
_CODECS_OF_A_FRAME_A_PACKET = ("h264", "hevc", "mjpeg", "vp9", "av1")
_MOST_PACKETS_BEFORE_KEY = 1000


def decode_all(container, stream, faults):
    """Yields the frames from the first key frame on, and enters in `faults` what is missing among them.

    A recording of a broadcast may begin anywhere, and no frame before its first key frame can be decoded.
    """
    promised, missing, start = _promised_packets(container, stream), 0, None
    for packet in _from_first_key(container.demux(stream)):
        start = packet.pts if start is None else start
        # Frames that are shown before the first key frame depend on others that were cut off.
        is_before = start is not None and (packet.pts is None or packet.pts < start)
        missing += packet.size > 0 and not (is_before or packet.is_discard)
        promised -= packet.size > 0
        if packet.is_corrupt:
            faults.append("a part of it is not whole")
        for frame in whole_frames(packet.decode()):
            missing -= 1
            yield frame
    if promised > 0 or (missing > 0 and stream.codec.canonical_name in _CODECS_OF_A_FRAME_A_PACKET):
        faults.append("frames are missing")


def _promised_packets(container, stream):
    """Returns how many packets from the first key frame on the index of an AVI file lists, or 0."""
    entries = stream.index_entries if container.format.name == "avi" else ()
    return next((len(entries) - place for place, entry in enumerate(entries) if entry.is_keyframe), 0)


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
        goes_on()
        if frame.is_corrupt:
            raise Unusable("damaged or truncated: parts of a frame are lost")
        yield frame
