"""Images as sources of frames: a single one, or a folder of them.

`image` and `folder` are context managers that give a `Video`, as those of `pipelines.decoding.containers`.
"""

import contextlib
import math
import os
import re
import stat

import av
import numpy as np

from pipelines.bad_video import Unusable
from pipelines.decoding.containers import Video
from pipelines.decoding.display import display_of_image, size_of_image
from pipelines.decoding.limits import check, decoder_options
from pipelines.decoding.progress import goes_on

# The first bytes of an image file -> its codec.
_CODECS = {b"\xff\xd8\xff": "mjpeg", b"\x89PNG\r\n\x1a\n": "png"}
_NO_IMAGE = "neither a JPEG nor a PNG image"
_SUFFIXES = (".jpg", ".jpeg", ".png")


def image_codec(data):
    """Returns FFmpeg's name of the codec of an image, by its first bytes, or None."""
    head = bytes(memoryview(data)[:8])
    return next((codec for begin, codec in _CODECS.items() if head.startswith(begin)), None)


@contextlib.contextmanager
def image(source, limits):
    """Reads a JPEG or PNG image, path or bytes, as a video of one frame."""
    packet = _packet(source, limits)

    def read(numbers):
        frame, display = _decode_image(packet, limits)
        return [(0, frame, display, (frame.width, frame.height))]

    yield Video(np.zeros(1), read, image_codec(packet))


@contextlib.contextmanager
def folder(source, limits, fps):
    """Reads the images of a folder in the order of the numbers in their names, `fps` of them a second.

    All are shown in the size of the first one.
    """
    found = [entry for entry in os.listdir(source) if entry.lower().endswith(_SUFFIXES)]
    # The numbers are padded, so that 10 comes after 9.
    images = sorted(found, key=lambda entry: re.sub("[0-9]+", lambda digits: digits[0].zfill(20), entry))
    if not images:
        raise Unusable("the folder holds no JPEG or PNG images")
    check(limits, frames=len(images), seconds=(len(images) - 1) / fps)

    def use(number, what, *arguments):
        try:
            packet = _packet(os.path.join(source, images[number]), limits)
            goes_on()
            return what(packet, *arguments)
        except Unusable as error:
            raise Unusable(f"{images[number]}: {error}", error.is_final) from error

    def read(numbers):
        for number in numbers:
            frame, display = use(number, _decode_image, limits)
            yield number, frame, display, display.size(*size)

    codec, size = use(0, _codec_and_size)
    yield Video(np.arange(len(images)) / fps, read, codec)


def _packet(source, limits):
    """Returns the av.Packet of an image, path or bytes."""
    if isinstance(source, bytes):
        packet = av.Packet(len(source))
        packet.update(source)
        return packet
    status, most = os.stat(source), limits.bytes // 4
    # Opening a pipe waits for somebody who writes, and a device has no end.
    if not stat.S_ISREG(status.st_mode):
        raise Unusable("not a file, but a folder, a device or a pipe")
    if status.st_size > most:
        raise Unusable(
            f"{status.st_size:,} bytes are above the limit of {most:,} of an image", is_final=False
        )
    packet = av.Packet(status.st_size)
    with open(source, "rb") as file:
        if status.st_size and file.readinto(memoryview(packet)) < status.st_size:
            raise Unusable("it became shorter while it was read", is_final=False)
    return packet


def _codec_and_size(packet):
    """Returns FFmpeg's name of an image's codec, and its (width, height) as it is shown."""
    codec, size = image_codec(packet), size_of_image(memoryview(packet))
    if codec is None:
        raise Unusable(_NO_IMAGE)
    if size is None:
        raise Unusable("damaged or truncated: its header has no size")
    return codec, display_of_image(memoryview(packet)).size(*size)


def _decode_image(packet, limits):
    """Returns the av.VideoFrame of an image and its `Display`."""
    codec = image_codec(packet)
    if codec is None:
        raise Unusable(_NO_IMAGE)
    check(limits, pixels=math.prod(size_of_image(memoryview(packet)) or (0,)))
    decoder = av.CodecContext.create(codec, "r")
    decoder.thread_type = "NONE"
    # Without this option a truncated JPEG is filled up with grey.
    # FFmpeg counts each line in full units of 64 pixels.
    decoder.options = {"err_detect": "explode"} | decoder_options(limits.pixels + 64 * 2**16)
    try:
        (frame,) = decoder.decode(packet) + decoder.decode(None)
    except (av.error.FFmpegError, ValueError) as error:
        raise Unusable(f"damaged, truncated, or above the limit of {limits.pixels} pixels") from error
    return frame, display_of_image(memoryview(packet))
