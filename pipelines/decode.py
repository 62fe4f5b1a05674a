"""Bytes or a path, and frame numbers, to pixels: uint8 [T, H, W, 3].

A decoder is any function `(source, choose, short_side) -> frames`; `decode_frames` is the one that
reads with PyAV (FFmpeg). It indexes the packets first, without decoding, so frame numbers are exact
for variable frame rates and wrong headers alike, and then decodes no more than it must: it seeks to
the last key frame before a wanted frame when that skips enough.
"""

import bisect
import io
import itertools
import os

import av
import numpy as np

from pipelines.bad_videos import BadVideo

# These containers store when each frame is shown. Others, AVI above all, leave it to be guessed, and the
# guess is wrong for MPEG-4 with B-frames, so their frames are counted as they are decoded.
_FORMATS_WITH_DISPLAY_TIMES = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
# Its packets hold frames that are never shown ("alternate references") and give them times like the others.
_CODEC_WITH_HIDDEN_FRAMES = "vp8"

# Skipping fewer frames than this costs more in restarting the decoder than it saves.
_SEEK_GAP_FRAMES = 8


def decode_frames(source, choose, short_side=None):
    """Decodes chosen frames of a video.

    Args:
        source: Path of a video file, or the file's bytes.
        choose: Frame numbers (0-based, in display order, repeats allowed), or a function from the
            number of frames in the video to such numbers.
        short_side: Length in pixels to which the short side is scaled, bilinearly and with the
            aspect ratio kept; None keeps the size.

    Returns:
        uint8 array [T, H, W, 3], RGB, frames in the order chosen, turned upright where the file says how.

    Raises:
        BadVideo: The source is missing, empty, no video, has no picture stream, or is damaged.
        ValueError: A frame number is outside the video.

    Cost: the number of frames decoded, that is from the key frame before each wanted frame on.
    """
    name = "<bytes>" if isinstance(source, bytes) else os.fspath(source)
    try:
        frames = _decode_by_index(source, name, choose, short_side)
        return _decode_by_count(source, name, choose, short_side) if frames is None else frames
    except _Damaged as damage:
        raise BadVideo(name, f"damaged or truncated: {damage}") from damage
    except av.error.FFmpegError as error:
        raise BadVideo(name, f"damaged or truncated: {error.strerror}") from error


class _Damaged(Exception):
    """FFmpeg does not complain, and yet the video is not whole."""


def _open(source, name):
    if isinstance(source, bytes):
        size, source = len(source), io.BytesIO(source)
    elif not os.path.isfile(name):
        raise BadVideo(name, "there is no such file")
    else:
        size = os.path.getsize(name)
    if size == 0:
        raise BadVideo(name, "the file is empty (0 bytes)")
    try:
        container = av.open(source if isinstance(source, io.BytesIO) else name, metadata_errors="replace")
    except (av.error.FFmpegError, OSError) as error:
        raise BadVideo(name, f"not a video that FFmpeg can open: {error.strerror}") from error
    if not container.streams.video:
        kinds = sorted({stream.type for stream in container.streams}) or ["an empty container"]
        container.close()
        raise BadVideo(name, f"no video stream, only {', '.join(kinds)}")
    # Clips are decoded in parallel, so threads per video only add overhead.
    container.streams.video[0].thread_type = "NONE"
    return container


def _decode_by_index(source, name, choose, short_side):
    """Decodes with the help of the packets' time stamps; returns None where they are of no use."""
    with _open(source, name) as container:
        times, keys = _index(container, container.streams.video[0])
        if times is None:
            return None
        wanted = _wanted(choose, len(times))
        pictures = _decode_indexed(container, times, keys, sorted(set(wanted)), short_side)
    return None if pictures is None else _stack(pictures, wanted)


def _decode_by_count(source, name, choose, short_side):
    """Decodes from the start: what decodes is what counts. One pass counts, a second one picks."""
    with _open(source, name) as container:
        num_frames = sum(1 for _ in _whole(container.decode(video=0)))
    if num_frames == 0:
        raise _Damaged("not one frame could be decoded")
    wanted = _wanted(choose, num_frames)
    needed = set(wanted)
    with _open(source, name) as container:
        frames = enumerate(container.decode(video=0))
        pictures = {number: _picture(frame, short_side) for number, frame in frames if number in needed}
    return _stack(pictures, wanted)


def _stack(pictures, wanted):
    if len({picture.shape for picture in pictures.values()}) > 1:
        raise _Damaged("the size of the picture changes within the video")
    return np.stack([pictures[number] for number in wanted])  # [T, H, W, 3]


def _wanted(choose, num_frames):
    wanted = np.asarray(choose(num_frames) if callable(choose) else choose)
    if wanted.ndim != 1 or wanted.size == 0 or wanted.min() < 0 or wanted.max() >= num_frames:
        raise ValueError(
            f"Expected a non-empty list of frame numbers in [0, {num_frames}). Received {wanted.tolist()}. "
            "Try: pass a function of the number of frames, which can keep to the video's length."
        )
    return wanted.tolist()


def _index(container, stream):
    """Returns the sorted time stamps of all frames and the numbers of the key frames, or None, None."""
    if (
        container.format.name not in _FORMATS_WITH_DISPLAY_TIMES
        or stream.codec.name == _CODEC_WITH_HIDDEN_FRAMES
    ):
        return None, None
    if any(entry.pos + entry.size > container.size for entry in stream.index_entries):
        raise _Damaged("the file ends before its last frame")
    packets = [packet for packet in container.demux(stream) if packet.size]
    if not packets or any(packet.pts is None for packet in packets):
        return None, None
    # Frames shown before the first one stored lean on others that were cut off.
    shown = [packet for packet in packets if not packet.is_discard and packet.pts >= packets[0].pts]
    times = sorted(packet.pts for packet in shown)
    keyed = {packet.pts for packet in shown if packet.is_keyframe}
    if len(set(times)) < len(times) or not keyed:
        return None, None
    return times, [number for number, time in enumerate(times) if time in keyed]


def _decode_indexed(container, times, keys, needed, short_side):
    """Returns {number: picture} of the frames `needed` (sorted), or None where the index proves wrong."""
    stream = container.streams.video[0]
    pictures = {}
    position, frames = None, None  # Number of the next frame, and the decoder's iterator.
    for number in needed:
        key = keys[max(0, bisect.bisect_right(keys, number) - 1)]
        if position is None or key - position > _SEEK_GAP_FRAMES:
            position = min(key, number)
            container.seek(times[position], stream=stream)
            frames = _whole(itertools.dropwhile(_precedes(times[position]), container.decode(stream)))
        for frame in frames:
            position += 1
            if frame.pts != times[position - 1]:
                return None
            if position > number:
                break
        else:
            return None
        pictures[number] = _picture(frame, short_side)
    return pictures


def _precedes(time):
    """After a seek, frames that lean on ones before the key frame may come first; they are not whole."""
    return lambda frame: frame.pts is not None and frame.pts < time


def _whole(frames):
    """Passes frames on up to one whose lost parts the decoder has made up."""
    for frame in frames:
        if frame.is_corrupt:
            raise _Damaged("parts of a frame are lost")
        yield frame


def _picture(frame, short_side):
    """Returns uint8 [H, W, 3], upright: telephones store how they were held beside the pixels."""
    size = {}
    if short_side is not None:
        scale = short_side / min(frame.width, frame.height)
        size = {"width": round(frame.width * scale), "height": round(frame.height * scale)}
    pixels = frame.to_ndarray(format="rgb24", interpolation="BILINEAR", **size)
    return np.rot90(pixels, round(frame.rotation / 90))
