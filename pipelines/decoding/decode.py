"""Bytes or a path, and frame numbers, to pixels: uint8 [T, H, W, 3].

A decoder is any function `(source, choose, short_side) -> frames`; `decode_frames` is the one that
reads with PyAV (FFmpeg), `isolation.IsolatedDecoder` the same in processes of its own. A video is
indexed first, packet by packet and without decoding, so frame numbers are exact for variable frame
rates and wrong headers alike; then no more is decoded than must be: from the last key frame before
a wanted frame on, without the frames in between that no other one is predicted from.

How a source is read is in `containers` (videos) and `images` (an image, or a folder of them).
"""

import contextlib
import functools
import os
from typing import NamedTuple

import av
import numpy as np

from pipelines.bad_video import BadVideo, Unusable
from pipelines.decoding import containers, images
from pipelines.decoding.containers import IndexIsWrong, Limits, check


class Facts(NamedTuple):
    """What a file holds, each frame of it having been decoded.

    Attributes:
        frames: Number of frames.
        fps: Frames a second between the first and the last one, 0 for a single frame.
        width: Pixels, upright.
        height: Pixels, upright.
        codec: FFmpeg's name of it.
    """

    frames: int
    fps: float
    width: int
    height: int
    codec: str


def decode_frames(source, choose, short_side=None, limits=Limits(), folder_fps=12):  # noqa: B008
    """Decodes chosen frames of a video.

    Args:
        source: Path of a video, of a JPEG or PNG image (T = 1), or of a folder of such images (its frames
            in the order of the numbers in their names); or the bytes of a video or an image.
        choose: Frame numbers (0-based, in display order, repeats allowed), or a function to such numbers
            from `seconds`, a float64 array [n] of the time of each frame, counted from the first one.
        short_side: Length in pixels to which the short side is scaled, bilinearly and with the
            aspect ratio kept; None keeps the size.
        limits: `Limits`.
        folder_fps: Frames a second of a folder, whose files tell no times.

    Returns:
        uint8 array [T, H, W, 3], RGB, frames in the order chosen, turned upright where the file says how.

    Raises:
        BadVideo: The source is missing, empty, no video, has no picture stream, is damaged or above a limit.
        ValueError: A frame number is outside the video, or `short_side` is none.

    Cost: the number of frames decoded, that is from the key frame before each wanted frame on; in H.264
    without the frames on the way that no other leans on. AVI and the like are decoded twice, from the start.
    """
    check_arguments(short_side, folder_fps)

    def collect(video):
        wanted = wanted_frames(choose, video.seconds)
        with _bad_video(source):
            return _collect(video, wanted, short_side, limits)

    return _read(source, collect, limits, folder_fps)


def inspect(source, limits=Limits(), folder_fps=12):  # noqa: B008
    """Decodes every frame of a video, without keeping them.

    Args:
        source: As of `decode_frames`.
        limits: `Limits`.
        folder_fps: As of `decode_frames`.

    Returns:
        `Facts`.

    Raises:
        BadVideo: As `decode_frames`, wherever in the file the damage is.
    """

    def measure(video):
        count, came, sizes = len(video.seconds), 0, set()
        with _bad_video(source):
            for _, frame in video.read(range(count)):
                came += 1
                check(limits, pixels=frame.width * frame.height)
                upright = round(frame.rotation / 90) % 2 == 0
                sizes.add((frame.width, frame.height) if upright else (frame.height, frame.width))
                _check_size(sizes)
            _check_all_came(came == count)
            fps = (count - 1) / video.seconds[-1] if count > 1 else 0.0
            return Facts(count, float(fps), *sizes.pop(), video.codec)

    return _read(source, measure, limits, folder_fps)


def _read(source, use, limits, folder_fps):
    """Returns `use(video)`, the video being read in the first way that suits it."""
    with _bad_video(source):
        ways = _ways(source, folder_fps)
    for way in ways:
        with contextlib.ExitStack() as stack, contextlib.suppress(IndexIsWrong):
            with _bad_video(source):
                video = stack.enter_context(way(source, limits))
            return use(video)
    raise BadVideo(source_name(source), "damaged: its frames come out in no order")


def check_arguments(short_side, folder_fps):
    """Raises ValueError if `decode_frames` cannot take these."""
    if (short_side is not None and short_side < 1) or folder_fps <= 0:
        raise ValueError(
            "Expected a short side of at least 1 pixel, and more than 0 frames a second in folders. "
            f"Received short_side={short_side}, folder_fps={folder_fps}. Try: short_side=256, folder_fps=12."
        )


def source_name(source):
    """Returns what a source is called in a `BadVideo`."""
    return "<bytes>" if isinstance(source, bytes) else os.fspath(source)


@contextlib.contextmanager
def _bad_video(source):
    """Makes a BadVideo of whatever goes wrong within: a mutilated file finds errors of many types."""
    try:
        yield
    except (BadVideo, IndexIsWrong):
        raise
    except Unusable as error:
        raise BadVideo(source_name(source), str(error)) from error
    except av.error.FFmpegError as error:
        raise BadVideo(source_name(source), f"damaged or truncated: {error.strerror}") from error
    except MemoryError as error:
        raise BadVideo(source_name(source), "its frames take more memory than there is") from error
    except Exception as error:
        reason = f"damaged or truncated: {type(error).__name__}: {error}"
        raise BadVideo(source_name(source), reason) from error


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
    """Returns the list of frame numbers that `choose`, see `decode_frames`, means."""
    wanted = np.asarray(choose(seconds) if callable(choose) else choose)
    are_numbers = wanted.ndim == 1 and wanted.size > 0 and wanted.dtype.kind in "iu"
    if not are_numbers or wanted.min() < 0 or wanted.max() >= len(seconds):
        raise ValueError(
            f"Expected a non-empty list of frame numbers in [0, {len(seconds)}). Received {wanted.tolist()}. "
            "Try: pass a function of the frames' times, which can keep to the video's length."
        )
    return wanted.tolist()


def _collect(video, wanted, short_side, limits):
    places, frames = {}, None
    for place, number in enumerate(wanted):
        places.setdefault(number, []).append(place)
    for number, frame in video.read(sorted(places)):
        picture = _picture(frame, short_side, limits)
        if frames is None:
            frames = np.empty((len(wanted), *picture.shape), np.uint8)  # [T, H, W, 3]
        _check_size({picture.shape, frames.shape[1:]})
        for place in places.pop(number):
            frames[place] = picture
    _check_all_came(not places)
    return frames


def _picture(frame, short_side, limits):
    """Returns uint8 [H, W, 3], upright: telephones store how they were held beside the pixels."""
    check(limits, pixels=frame.width * frame.height)
    how = {"format": "rgb24", "interpolation": "BILINEAR", "threads": 1}
    if short_side is not None:
        scale = short_side / min(frame.width, frame.height)
        how |= {"width": round(frame.width * scale), "height": round(frame.height * scale)}
        check(limits, pixels=how["width"] * how["height"])
    return np.rot90(frame.to_ndarray(**how), round(frame.rotation / 90))


def _check_size(sizes):
    if len(sizes) > 1:
        raise Unusable("damaged or truncated: the size of the picture changes within the video")


def _check_all_came(came):
    if not came:
        raise Unusable("damaged or truncated: some frames could not be decoded a second time")
