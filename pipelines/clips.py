"""Which frames make a clip: arithmetic on frame numbers, with no video in sight.

Every function takes `num_frames`, the number of frames n in the video, and `clip_frames`, the
number T in a clip, and returns 0-based frame numbers in [0, n). A video shorter than the window
wraps around, as in the released code of TSM and RNL.
"""

import numpy as np


def clip_generator(seed, epoch, index, attempt=0):
    """Returns the random generator of one clip: a pure function of its four numbers.

    Args:
        seed: The run's seed, >= 0.
        epoch: 0-based epoch.
        index: 0-based position of the clip within the epoch.
        attempt: 0, or the number of unreadable videos that this clip has met before.
    """
    return np.random.default_rng([seed, epoch, index, attempt])


def dense_training_clip(num_frames, clip_frames, generator, window=64):
    """Returns T frames spread over a window at a random place (I3D; TSM and RNL on Kinetics).

    The start is uniform in [0, P), P = max(1, n - window + 1) and frame i is
    (start + i * (window // T)) mod n.

    >>> dense_training_clip(300, 4, np.random.default_rng(0)) - dense_training_clip(
    ...     300, 4, np.random.default_rng(0))[0]
    array([ 0, 16, 32, 48])
    """
    start = generator.integers(_dense_positions(num_frames, clip_frames, window))
    return _dense_clip(num_frames, clip_frames, start, window)


def dense_test_clips(num_frames, clip_frames, clips=10, window=64):
    """Returns `clips` dense clips, their starts evenly spaced integers over [0, P - 1].

    Returns:
        Integer array [clips, T].

    >>> dense_test_clips(66, 4, clips=3)
    array([[ 0, 16, 32, 48],
           [ 1, 17, 33, 49],
           [ 2, 18, 34, 50]])
    """
    last_start = _dense_positions(num_frames, clip_frames, window) - 1
    starts = [last_start // 2] if clips == 1 else np.linspace(0, last_start, clips).astype(int)
    return np.stack([_dense_clip(num_frames, clip_frames, start, window) for start in starts])  # [clips, T]


def segment_training_clip(num_frames, clip_frames, generator):
    """Returns one random frame from each of T equal segments (TSN; TSM and RNL on Something-Something).

    With a = n // T: if a > 0, frame i is i * a + uniform integer in [0, a). A video of fewer than T
    frames gives frame 0 throughout, as in the released code.

    >>> segment_training_clip(8, 8, np.random.default_rng(0))
    array([0, 1, 2, 3, 4, 5, 6, 7])
    """
    _check(num_frames, clip_frames)
    length = num_frames // clip_frames
    if length == 0:
        return np.zeros(clip_frames, int)
    return np.arange(clip_frames) * length + generator.integers(length, size=clip_frames)


def segment_test_clips(num_frames, clip_frames, clips=1):
    """Returns `clips` segment clips, at fixed places within the segments of tick = n / T frames.

    One clip takes the middle of each segment, floor(tick / 2 + tick * i); two add the segments'
    beginnings, floor(tick * i); more take the offsets tick * (c + 0.5) / clips.

    Returns:
        Integer array [clips, T].

    >>> segment_test_clips(16, 4, clips=2)
    array([[ 2,  6, 10, 14],
           [ 0,  4,  8, 12]])
    """
    _check(num_frames, clip_frames)
    tick = num_frames / clip_frames
    if clips <= 2:
        offsets = np.array([tick / 2, 0.0][:clips])
    else:
        offsets = tick * (np.arange(clips) + 0.5) / clips
    return np.floor(offsets[:, None] + tick * np.arange(clip_frames)).astype(int)  # [clips, T]


# How a run samples clips: name -> (a training clip, all test clips of a video).
SAMPLING = {
    "dense": (dense_training_clip, dense_test_clips),
    "segments": (segment_training_clip, segment_test_clips),
}


def _dense_positions(num_frames, clip_frames, window):
    _check(num_frames, clip_frames)
    if window < clip_frames:
        raise ValueError(
            f"Expected a window of at least as many frames as the clip. Received window={window}, "
            f"clip_frames={clip_frames}. Try: window={clip_frames} or more."
        )
    return max(1, num_frames - window + 1)


def _dense_clip(num_frames, clip_frames, start, window):
    return (start + np.arange(clip_frames) * (window // clip_frames)) % num_frames


def _check(num_frames, clip_frames):
    if num_frames < 1 or clip_frames < 1:
        raise ValueError(
            "Expected at least one frame in the video and in the clip. Received "
            f"num_frames={num_frames}, clip_frames={clip_frames}. Try: leave the video out."
        )
