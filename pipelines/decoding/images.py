"""Images as sources of frames: a single one, or a folder of them.

`image` and `folder` are context managers that give a `Video`, as those of `pipelines.decoding.containers`.
"""

import contextlib
import os
import re

import av
import numpy as np

from pipelines.bad_video import Unusable
from pipelines.decoding.containers import Video, check, decoder_options
from pipelines.decoding.display import display_of_image

# The first bytes of an image file -> its codec.
_CODECS = {b"\xff\xd8\xff": "mjpeg", b"\x89PNG\r\n\x1a\n": "png"}
_SUFFIXES = (".jpg", ".jpeg", ".png")


def image_codec(head):
    """Returns FFmpeg's name of the codec of an image that begins with the bytes `head`, or None."""
    return next((codec for begin, codec in _CODECS.items() if head.startswith(begin)), None)


@contextlib.contextmanager
def image(source, limits):
    """Reads a JPEG or PNG image, path or bytes, as a video of one frame."""
    if not isinstance(source, bytes):
        with open(source, "rb") as file:
            source = file.read()
    yield Video(
        np.zeros(1),
        lambda numbers: [(0, _decode_image(source, limits), display_of_image(source))],
        image_codec(source),
    )


@contextlib.contextmanager
def folder(source, limits, fps):
    """Reads the images of a folder in the order of the numbers in their names, `fps` of them a second."""
    found = [entry for entry in os.listdir(source) if entry.lower().endswith(_SUFFIXES)]
    # The numbers are padded, so that 10 comes after 9.
    images = sorted(found, key=lambda entry: re.sub("[0-9]+", lambda digits: digits[0].zfill(20), entry))
    if not images:
        raise Unusable("the folder holds no JPEG or PNG images")
    check(limits, frames=len(images), seconds=(len(images) - 1) / fps)

    def read(numbers):
        for number in numbers:
            with open(os.path.join(source, images[number]), "rb") as file:
                data = file.read()
            try:
                yield number, _decode_image(data, limits), display_of_image(data)
            except Unusable as error:
                raise Unusable(f"{images[number]}: {error}") from error

    with open(os.path.join(source, images[0]), "rb") as file:
        codec = image_codec(file.read(8))
    yield Video(np.arange(len(images)) / fps, read, codec)


def _decode_image(data, limits):
    codec = image_codec(data)
    if codec is None:
        raise Unusable("neither a JPEG nor a PNG image")
    decoder = av.CodecContext.create(codec, "r")
    decoder.thread_type = "NONE"
    # Without this option a truncated JPEG is filled up with grey.
    decoder.options = {"err_detect": "explode"} | decoder_options(limits)
    packet = av.Packet(memoryview(data + bytes(64))[: len(data)])  # FFmpeg may read so far beyond the end.
    try:
        (frame,) = decoder.decode(packet) + decoder.decode(None)
    except (av.error.FFmpegError, ValueError) as error:
        raise Unusable(f"damaged, truncated, or above the limit of {limits.pixels} pixels") from error
    return frame
