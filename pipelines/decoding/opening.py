"""Opens a video file with FFmpeg, whose decoders then take no more memory than the limits allow."""

import io
import os

import av

from pipelines.bad_video import Unusable
from pipelines.decoding.complaints import while_opening
from pipelines.decoding.limits import check, decoder_options

# Only these are opened. A playlist, of which FFmpeg knows many kinds, could name any other file or server.
_CONTAINERS = (
    "mov,matroska,avi,gif,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,flv,ogg,asf,mjpeg,apng,webp_pipe,bmp_pipe"
)
# H.264 and its successors may refer to 16 frames while they decode another one.
_MOST_KEPT = 17
# What Matroska begins with, and the boxes with one of which an MP4 or MOV file does.
_EBML = (b"\x1a\x45\xdf\xa3",)
_BOXES = (b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_NO_VIDEO = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


def open_video(source, limits):
    """Returns the open container of a video whose decoder takes no more memory than the limit."""
    # To open a file FFmpeg decodes some frames. Those of giants wait until it is known what they take, and
    # where no header tells of the tracks, frames of all of them are decoded, so nearly all wait.
    most = limits.decoder_bytes // 60  # It is that of 4K with 10 bits.
    has_header = _begins_with(source, _EBML) or _begins_with(source, _BOXES, 4)
    first = most if has_header else most // 64
    with av.logging.Capture(True) as reports:
        container = _open_within(source, limits, first)
    stream = video_stream(container)
    # The decoder's own pictures are larger. The size of giants in which each frame is whole is not known yet.
    needed = (stream.width + 128) * (stream.height + 128)
    if not stream.width:
        needed = limits.pixels if stream.codec.intra_only else most
    if needed > first:
        tracks = 1 if has_header else len(_videos(container))
        container.close()
        check(limits, decoder_bytes=tracks * _decoder_bytes(stream))
        return _open_within(source, limits, needed)
    for report in reports:
        av.logging.log(*report)
    return container


def _open_within(source, limits, pixels):
    """Returns an open container whose decoder refuses frames of more pixels."""
    options = {"format_whitelist": _CONTAINERS} | decoder_options(pixels)
    if _begins_with(
        source, (b"FLV",)
    ):  # Its list of key frames may claim any length, and takes memory for it.
        options["fflags"] = "+ignidx"
    # The path is named as a file, so that FFmpeg takes no part of it for a protocol.
    file = io.BytesIO(source) if isinstance(source, bytes) else f"file:{os.fspath(source)}"
    try:
        with while_opening():
            container = av.open(file, options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise  # The file system's trouble says nothing of the file.
        raise Unusable(f"not a video that FFmpeg can open: {error.strerror}") from error
    try:
        stream = video_stream(container)
        if stream is None:
            kinds = sorted({stream.type for stream in container.streams} - {"video"})
            kinds += ["attached pictures"] if container.streams.video else []
            raise Unusable(f"no video stream, only {', '.join(kinds) or 'an empty container'}")
        if stream.codec_context is None:
            raise Unusable("its pictures are coded in a way that FFmpeg cannot decode")
        check(limits, pixels=stream.width * stream.height, decoder_bytes=_decoder_bytes(stream))
        stream.codec_context.options = decoder_options(pixels)
        # Clips are decoded in parallel, so threads per video only add overhead.
        stream.thread_type, stream.thread_count = "NONE", 1
        # Without this flag a frame begins at a multiple of 32 pixels, wherever it is cropped.
        stream.codec_context.flags |= av.codec.context.Flags.unaligned
    except BaseException:
        container.close()
        raise
    return container


def video_stream(container):
    """Returns the first video stream, or None. A cover is an attached picture, and no video."""
    return next(iter(_videos(container)), None)


def _videos(container):
    return [stream for stream in container.streams.video if not stream.disposition & _NO_VIDEO]


def _decoder_bytes(stream):
    """Returns the most bytes that a decoder needs, see `Limits`."""
    layout = stream.codec_context.format
    frames = 2 if stream.codec.intra_only else _MOST_KEPT
    # Beside the pixels, a decoder keeps how they moved.
    of_frame = (layout.padded_bits_per_pixel if layout else 32) / 8 + 0.5
    return round(stream.width * stream.height * (frames * of_frame + 3 * 3))


def _begins_with(source, begins, place=0):
    """Returns whether one of some texts of one length stands at a place of a file."""
    if isinstance(source, bytes):
        found = source[place : place + len(begins[0])]
    else:
        with open(source, "rb") as file:
            file.seek(place)
            found = file.read(len(begins[0]))
    return found in begins
