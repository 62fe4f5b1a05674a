"""Which frames make a clip: samplers, which compute frame numbers and see no video.

A sampler takes `num_frames`, the count n of frames in the video, and `clip_frames`, the count T in a clip,
and returns 0-based frame numbers in [0, n). Samplers for training also take `draws`, T integers uniform in
[0, 2^31), as the caller draws what is random. They compute with NumPy's integers and with TensorFlow's, in
graphs too, and both give the same frames.

| paper | sampler |
| --- | --- |
| I3D; TSM and RNL on Kinetics | dense, window of 64, T = 8 or 16 |
| NL (FAIR): 64 consecutive frames, every second or 8th | dense, window of 64, T = 32 or 8, starts "fair" |
| BAT: 8 frames, every 8th of 57 | dense, window of 57, T = 8, stride 8, starts "middles", short "hold" |
| BAT with several segments: clips from as many parts of the video | consensus |
| TSN; TSM and RNL on Something-Something | segments |
"""

import numpy as np
import tensorflow as tf

from pipelines.bad_video import Unusable

SHORT = ("loop", "hold")
STARTS = ("even", "fair", "middles")


def frame_chooser(sample, start=None, end=None, fps=0.0):
    """Returns the function by which a decoder learns which frames make a clip.

    Args:
        sample: Function from the count of frames among which it may choose to integers below it, of any
            shape, such as a sampler below with its other arguments bound.
        start: As for `candidates`.
        end: As for `candidates`.
        fps: As for `candidates`.

    Returns:
        Function from `seconds`, see `candidates`, to frame numbers [T]. It raises `Unusable` if the video has
        no frame between `start` and `end`.
    """

    def choose(seconds):
        frames = candidates(seconds, start, end, fps)
        if not len(frames):
            raise Unusable(f"no frame between {start} and {end} s")
        return frames[np.ravel(sample(len(frames)))]

    return choose


def candidates(seconds, start=None, end=None, fps=0.0):
    """Returns the numbers of the frames among which a clip may choose.

    Args:
        seconds: Increasing float array [n], the time of each frame, as the decoder knows it.
        start: Seconds of the first frame wanted; None for the video's beginning.
        end: Seconds at which the wanted part ends, exclusive; None for the video's end.
        fps: Frames a second to keep: for each multiple of 1 / fps, counted from the first wanted frame, the
            nearest frame. A video with fewer frames a second keeps them all, and so does 0.

    Returns:
        Increasing integer array, empty if the video has no frame between `start` and `end`.

    >>> candidates(np.arange(100) / 25, start=1.0, end=1.5, fps=5)
    array([25, 30, 35])
    """
    first = 0 if start is None else np.searchsorted(seconds, start - 1e-6)
    last = len(seconds) if end is None else np.searchsorted(seconds, end - 1e-6)
    numbers = np.arange(first, last)
    if fps == 0 or len(numbers) < 2:
        return numbers
    times = seconds[first:last]
    # The last frame is the nearest one up to half a frame after its time, and times may be rounded.
    duration = times[-1] - times[0] + (times[-1] - times[-2]) / 2
    wanted = times[0] + np.arange(np.floor(duration * fps) + 1) / fps
    after = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    return first + np.unique(after - (wanted - times[after - 1] <= times[after] - wanted))


def dense_training_clip(num_frames, clip_frames, draws, window=64, short="loop", stride=0):
    """Returns T frames spread over a window at a random place.

    The start is uniform in [0, P) with P = max(1, n - window + 1), and frame i is start + i * stride, where a
    stride of 0 stands for window // T. A video shorter than the window begins again ("loop", as in the
    released code of TSM and RNL), or stands still at its last frame ("hold", as in BAT's).

    Raises:
        ValueError: The clip does not fit into the window, or the video or the clip has no frame.

    >>> dense_training_clip(300, 4, draws=np.array([2370, 0, 0, 0]))
    array([ 0, 16, 32, 48])
    >>> dense_training_clip(40, 4, draws=np.zeros(4, int), short="hold")
    array([ 0, 16, 32, 39])
    """
    start = draws[0] % _dense_positions(num_frames, clip_frames, window, stride)
    return _dense_clip(num_frames, clip_frames, start, window, short, stride)


def dense_test_clips(num_frames, clip_frames, clips=10, window=64, short="loop", stride=0, starts="even"):
    """Returns `clips` dense clips, which begin at fixed places.

    With P = max(1, n - window + 1), as in training, clip j of C begins

    - "even": at the integers evenly spaced over [0, P - 1], floor(j (P - 1) / (C - 1)), and a single one at
      floor((P - 1) / 2), as in the code of TSM and RNL;
    - "fair": at floor(j n / C), as in FAIR's code (NL). The last clips run past the end of the video, where
      they begin again, so `short` has to be "loop";
    - "middles": at floor((j + 1/2) P / C), the middle of the j-th of C parts, as in BAT's code; all clips
      begin at 0 if P <= C. Integers make this exact; the released code computes with floats, and is one frame
      earlier for one start in two hundred.

    Returns:
        Integers [clips, T].

    Raises:
        ValueError: The starts are unknown or do not go with `short`; or as `dense_training_clip`.

    >>> dense_test_clips(66, 4, clips=3)
    array([[ 0, 16, 32, 48],
           [ 1, 17, 33, 49],
           [ 2, 18, 34, 50]])
    >>> dense_test_clips(90, 4, clips=3, starts="fair")[:, 0]
    array([ 0, 30, 60])
    >>> dense_test_clips(90, 4, clips=3, starts="middles")[:, 0]
    array([ 4, 13, 22])
    """
    if starts not in STARTS or (starts == "fair" and short != "loop"):
        raise ValueError(
            f"Expected starts to be one of {', '.join(STARTS)}, and short='loop' with 'fair'. "
            f"Received {starts!r} and {short!r}. Try: starts='even'."
        )
    positions, number = _dense_positions(num_frames, clip_frames, window, stride), np.arange(clips)
    if starts == "fair":
        first = number * num_frames // clips
    elif starts == "middles":
        middles = (2 * number + 1) * positions // (2 * clips)
        first = _module(num_frames).where(positions > clips, middles, 0 * middles)
    elif clips == 1:
        first = number + (positions - 1) // 2
    else:
        first = number * (positions - 1) // (clips - 1)
    return _dense_clip(num_frames, clip_frames, first[:, None], window, short, stride)  # [clips, T]


def consensus_training_clips(num_frames, clip_frames, draws, clips, window=64, short="loop", stride=0):
    """Returns the frames of several dense clips of a video, one clip after the other, each from its own part.

    The places where a window may start, P = max(1, n - window + 1) of them, are cut into equal parts of
    a = P // clips, and clip c starts in [c * a, (c + 1) * a), as in the released code of BAT, for the
    consensus of TSN. Where there are fewer places than clips, each clip may have any of them. One clip is
    that of `dense_training_clip`.

    Args:
        num_frames: As for all samplers.
        clip_frames: Frames of all clips together, a multiple of `clips`.
        draws: As for all samplers, for all frames together.
        clips: The count of clips, at least 1.
        window, short, stride: As for `dense_training_clip`.

    >>> consensus_training_clips(115, 8, draws=np.full(8, 7), clips=2, window=16)
    array([ 7, 11, 15, 19, 57, 61, 65, 69])
    """
    frames = clip_frames // clips
    places = _dense_positions(num_frames, frames, window, stride)
    part = places // clips
    shown = num_frames - (places - part) * _module(num_frames).minimum(part, 1)  # With `part` places, if any.
    made = [
        dense_training_clip(shown, frames, draws[clip * frames :], window, short, stride) + clip * part
        for clip in range(clips)
    ]
    return tf.concat(made, 0) if tf.is_tensor(made[0]) else np.concatenate(made)


def segment_training_clip(num_frames, clip_frames, draws):
    """Returns one random frame from each of T equal segments.

    With a = n // T: if a > 0, frame i is i * a + uniform integer in [0, a). A video of fewer than T
    frames gives frame 0 throughout, as in the released code.

    >>> segment_training_clip(16, 8, draws=np.array([0, 1, 2, 3, 4, 5, 6, 7]))
    array([ 0,  3,  4,  7,  8, 11, 12, 15])
    """
    _check(num_frames, clip_frames)
    length = num_frames // clip_frames
    return np.arange(clip_frames) * length + draws % _module(num_frames).maximum(length, 1)


def segment_test_clips(num_frames, clip_frames, clips=1):
    """Returns `clips` segment clips, at fixed places within the segments of tick = n / T frames.

    One clip takes the middle of each segment, floor(tick / 2 + tick * i); two add the segments'
    beginnings, floor(tick * i); more take the offsets tick * (c + 0.5) / clips. Integers make this exact; the
    released code computes with floats, and unless T is a power of two it is sometimes one frame earlier.

    Returns:
        Integers [clips, T].

    >>> segment_test_clips(16, 4, clips=2)
    array([[ 2,  6, 10, 14],
           [ 0,  4,  8, 12]])
    """
    _check(num_frames, clip_frames)
    steps = np.array([1, 0][:clips]) if clips <= 2 else 2 * np.arange(clips) + 1
    parts = 2 if clips <= 2 else 2 * clips  # The offsets are steps / parts of a tick.
    places = parts * np.arange(clip_frames) + steps[:, None]  # [clips, T]
    return num_frames * places // (parts * clip_frames)


# The name of a sampling -> (sampler of a training clip, sampler of all test clips of a video).
SAMPLING = {
    "dense": (dense_training_clip, dense_test_clips),
    "segments": (segment_training_clip, segment_test_clips),
}


def _dense_positions(num_frames, clip_frames, window, stride):
    _check(num_frames, clip_frames)
    span = (clip_frames - 1) * max(stride, 1) + 1
    if stride < 0 or window < span:
        raise ValueError(
            f"Expected a window of at least {span} frames, as the clip spans, and a stride of at least 0. "
            f"Received window={window}, clip_frames={clip_frames}, stride={stride}. "
            f"Try: window={span} or more."
        )
    return _module(num_frames).maximum(num_frames - window + 1, 1)


def _dense_clip(num_frames, clip_frames, start, window, short, stride):
    if short not in SHORT:
        raise ValueError(f"Expected short to be one of {', '.join(SHORT)}. Received {short!r}. Try: 'loop'.")
    frames = start + np.arange(clip_frames) * (stride or window // clip_frames)
    if short == "hold":
        return _module(num_frames).minimum(frames, num_frames - 1)
    return frames % num_frames


def _module(number):
    return tf if tf.is_tensor(number) else np


def _check(num_frames, clip_frames):
    if clip_frames < 1 or (not tf.is_tensor(num_frames) and num_frames < 1):
        raise ValueError(
            "Expected at least one frame in the video and in the clip. Received "
            f"num_frames={num_frames}, clip_frames={clip_frames}. Try: leave the video out."
        )
