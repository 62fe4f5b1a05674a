"""Decoding: a source and frame numbers in, a `Clip` out.

A decoder is any function `(source, choose, transform) -> Clip`. `decode_frames` is the one that reads with
PyAV (FFmpeg), and `isolation.IsolatedDecoder` does the same in processes of its own. A video is indexed
first, packet by packet and without decoding, so frame numbers are exact for variable frame rates and wrong
headers alike. Then decoding starts at the last key frame before a wanted frame, and leaves out the frames in
between on which no other frame depends.

`containers` knows how to read videos, `images` knows how to read an image and a folder of images.
"""

import contextlib
import errno
import functools
import itertools
import os
from typing import NamedTuple

import av
import numpy as np

from pipelines.bad_video import BadVideo, Unusable
from pipelines.decoding import containers, images
from pipelines.decoding.complaints import complaints
from pipelines.decoding.containers import IndexIsWrong
from pipelines.decoding.limits import Limits, check
from pipelines.decoding.promises import broken_promises

_OURS = (errno.EMFILE, errno.ENFILE)  # Too many files are open, for which no file is to blame.
# What a damaged file makes FFmpeg, PyAV and NumPy raise. Any other exception is a mistake of ours.
_CAUSED_BY_FILES = (av.error.FFmpegError, OSError, ValueError, ArithmeticError)


class Clip(NamedTuple):
    """The answer of a decoder.

    Attributes:
        frames: uint8 [T, H, W, 3], the frames in the order in which they were chosen; or what the decoder's
            `transform` made of them, as an array [T, ...] if it makes arrays, else as a list.
        seconds: float64 [T], the time of each frame, counted from the first frame of the file.
    """

    frames: object
    seconds: np.ndarray


class Facts(NamedTuple):
    """What a file holds, as decoding every frame shows.

    Attributes:
        frames: Number of frames.
        fps: Frames a second between the first frame and the last one, 0 for a single frame.
        width: Width in pixels, upright.
        height: Height in pixels, upright.
        codec: FFmpeg's name of the codec.
    """

    frames: int
    fps: float
    width: int
    height: int
    codec: str


def decode_frames(source, choose, transform=None, limits=Limits(), folder_fps=12):  # noqa: B008
    """Decodes chosen frames of a video.

    Args:
        source: Path of a video, of a JPEG or PNG image (T = 1), or of a folder of such images (its frames
            in the order of the numbers in their names); or the bytes of a video or an image.
        choose: Frame numbers (0-based, in display order, repeats allowed), or a function that returns such
            numbers for `seconds`, float64 [n], the time of each frame, counted from the first one.
        transform: Function that is applied to each frame, uint8 [H, W, 3], as soon as it is decoded, so that
            a long video need not fit into memory. Frames come in display order, unless the file's index
            proves wrong: then `choose`, and `transform` for each frame, are called again. None keeps frames.
        limits: `Limits`.
        folder_fps: Frames a second of a folder, whose files have no times.

    Returns:
        `Clip`. Its frames are RGB, and upright if the file says how the camera was held. Their pixels are
        taken as square, whatever sample aspect ratio the file has. If the picture changes its size, each
        frame is scaled to the size that the file has when it is opened, or that of a folder's first image.

    Raises:
        BadVideo: The source is missing, empty, damaged, above a limit, or no video; or `choose` or
            `transform` raised `Unusable`. Its `is_final` says whether the file is to blame.
        ValueError: A frame number is outside the video, or `folder_fps` is not positive.

    Cost: it grows with the frames that are decoded, from the key frame before each wanted frame on; in H.264
    the frames in between on which no other frame depends are left out. AVI and the like are decoded twice,
    from the start.
    """
    check_folder_fps(folder_fps)

    def collect_clip(video):
        wanted = wanted_frames(choose, video.seconds)
        pictures = _pictures(source, video, sorted(set(wanted)), limits)
        frames = collect(pictures, wanted, transform, limits)
        return Clip(frames, video.seconds[wanted])

    return _read(source, collect_clip, limits, folder_fps)


def inspect(source, limits=Limits(), folder_fps=12):  # noqa: B008
    """Decodes every frame of a video, and keeps none.

    Args:
        source: As for `decode_frames`.
        limits: `Limits`.
        folder_fps: As for `decode_frames`.

    Returns:
        `Facts`.

    Raises:
        BadVideo: As `decode_frames`, wherever in the file the damage is; also for damage that FFmpeg passes
            over and reports, such as a file that was cut off.
    """

    check_folder_fps(folder_fps)

    def measure(video):
        count, sizes = len(video.seconds), []
        for _, _, display, size in _frames(source, video, range(count), limits):
            sizes = sizes or display.size(*size)
        fps = (count - 1) / video.seconds[-1] if count > 1 else 0.0
        return Facts(count, float(fps), *sizes, video.codec), video.faults

    with complaints() as said:
        facts, faults = _read(source, measure, limits, folder_fps)
    with bad_video(source):
        promises = () if os.path.isdir(source) else broken_promises(source)
        for fault in itertools.chain(said, faults, promises):
            raise Unusable(f"damaged or truncated: {fault}")
    return facts


def _read(source, use, limits, folder_fps):
    """Returns `use(video)` of the first way of reading the source whose index proves right."""
    with bad_video(source):
        ways = _ways(source, folder_fps)
    for way in ways:
        with contextlib.ExitStack() as stack, contextlib.suppress(IndexIsWrong):
            with bad_video(source):
                video = stack.enter_context(way(source, limits))
            with bad_video(source, ()):
                return use(video)
    raise BadVideo(source_name(source), "damaged: its frames come out in no order")


def check_folder_fps(folder_fps):
    """Raises ValueError unless the frame rate of folders is positive."""
    if folder_fps <= 0:
        raise ValueError(
            f"Expected more than 0 frames a second in folders. Received folder_fps={folder_fps}. "
            "Try: folder_fps=12."
        )


def source_name(source):
    """Returns the name of a source in a `BadVideo`."""
    return "<bytes>" if isinstance(source, bytes) else os.fspath(source)


@contextlib.contextmanager
def bad_video(source, caused_by_files=_CAUSED_BY_FILES):
    """Turns `Unusable`, a lack of memory, and what a file causes within the block into a `BadVideo`."""
    try:
        yield
    except (BadVideo, IndexIsWrong):
        raise
    except Unusable as error:
        raise BadVideo(source_name(source), str(error), error.is_final) from error
    except MemoryError as error:
        reason = "its frames take more memory than there is"
        raise BadVideo(source_name(source), reason, is_final=False) from error
    except caused_by_files as error:
        if getattr(error, "errno", None) in _OURS:
            raise OSError(error.errno, error.strerror, source_name(source)) from error
        is_ffmpegs = isinstance(error, av.error.FFmpegError)
        is_final = not isinstance(error, PermissionError) and (is_ffmpegs or not isinstance(error, OSError))
        if not is_final:
            reason = f"cannot be read: {error.strerror}"
        elif is_ffmpegs:
            reason = f"damaged or truncated: {error.strerror}"
        else:
            reason = f"damaged or truncated: {type(error).__name__}: {error}"
        raise BadVideo(source_name(source), reason, is_final) from error


def _ways(source, folder_fps):
    if isinstance(source, bytes):
        head = source[:8]
    elif os.path.isdir(source):
        return [functools.partial(images.folder, fps=folder_fps)]
    elif os.path.isfile(source):
        with open(source, "rb") as file:
            head = file.read(8)
    else:
        raise Unusable("there is no such file")
    if not head:
        raise Unusable("the file is empty (0 bytes)")
    return [images.image] if images.image_codec(head) else [containers.indexed, containers.counted]


def wanted_frames(choose, seconds):
    """Returns the list of frame numbers that `choose` gives, see `decode_frames`; raises ValueError."""
    wanted = np.asarray(choose(seconds) if callable(choose) else choose)
    are_numbers = wanted.ndim == 1 and wanted.size > 0 and wanted.dtype.kind in "iu"
    if not are_numbers or wanted.min() < 0 or wanted.max() >= len(seconds):
        raise ValueError(
            f"Expected a non-empty list of frame numbers in [0, {len(seconds)}). Received {wanted.tolist()}. "
            "Try: pass a function of the frames' times, which can keep to the video's length."
        )
    return wanted.tolist()


def collect(pictures, wanted, transform, limits):
    """Returns the frames of a `Clip`, in the order of `wanted`; raises `Unusable` if they take too much.

    Args:
        pictures: Iterable of (frame number, uint8 [H, W, 3]), each wanted frame once.
        wanted: List of frame numbers.
        transform: As for `decode_frames`.
        limits: `Limits`.
    """
    places, frames = {}, None
    for place, frame in enumerate(wanted):
        places.setdefault(frame, []).append(place)
    for frame, picture in pictures:
        made = picture if transform is None else transform(picture)
        if frames is None:
            is_array = isinstance(made, np.ndarray)
            check(limits, bytes=len(wanted) * made.nbytes if is_array else 0)
            frames = np.empty((len(wanted), *made.shape), made.dtype) if is_array else [None] * len(wanted)
        for place in places[frame]:
            frames[place] = made
    return frames


def _pictures(source, video, numbers, limits):
    """Yields (frame number, uint8 [H, W, 3]), turned upright: telephones store the angle beside them."""
    for number, frame, display, (width, height) in _frames(source, video, numbers, limits):
        with bad_video(source):
            scaled = {"width": width, "height": height, "interpolation": "BILINEAR"}
            pixels = frame.to_ndarray(format="rgb24", threads=1, **scaled)
        yield number, display.shown(pixels)


def _frames(source, video, numbers, limits):
    """Yields what `video.read` does; raises `BadVideo` if the frames are not shown in one size."""
    sizes, came = set(), 0
    with bad_video(source):
        for number, frame, display, size in video.read(numbers):
            came += 1
            check(limits, pixels=frame.width * frame.height)
            sizes.add(display.size(*size))
            if len(sizes) > 1:
                raise Unusable("some of its frames are turned, and others are not")
            yield number, frame, display, size
        if came < len(numbers):
            raise Unusable("damaged or truncated: some frames could not be decoded a second time")
