"""What FFmpeg reports of a file while it goes on: the errors that `ffmpeg -v error` prints."""

import contextlib
import threading

import av.logging

# Two files can give the same report.
av.logging.set_skip_repeated(False)

_lock = threading.Lock()
_listeners = [0]
# FFmpeg reports these of sound videos: of those that were cut out of others at a key frame, whose frames
# before it are not needed, and of those with something unusual or wrong beside the pictures.
_HARMLESS = (
    "mmco: unref short failure",
    "co located POCs unavailable",
    "decode APP fields",
    "EXIF",
    "SEI type",
    "Overread VUI by",
    "Chapter end time",
)


@contextlib.contextmanager
def complaints():
    """Yields a list; after the block it holds the errors that FFmpeg reported in this thread, in words.

    FFmpeg reports to Python only while someone listens, since each report takes Python's lock.
    """
    said = []
    _listen(1)
    try:
        with av.logging.Capture(True) as reports:
            yield said
    finally:
        _listen(-1)
        for level, context, text in reports:
            if level <= av.logging.ERROR and not any(words in text for words in _HARMLESS):
                said.append(f"{context}: {' '.join(text.split())}")


@contextlib.contextmanager
def while_opening():
    """Keeps from `complaints` what decoders report while a file is opened, when FFmpeg tries them all.

    The video's decoder reports it again when it decodes, and the sound's harms no picture.
    """
    with av.logging.Capture(True) as reports:
        yield
    for level, context, text in reports:
        # The reader of Flash files has the name of their codec.
        if context not in av.codecs_available or context == "flv":
            av.logging.log(level, context, text)


def _listen(change):
    with _lock:
        _listeners[0] += change
        av.logging.set_level(av.logging.ERROR if _listeners[0] else None)
