"""The files of a manifest as a source of `pipelines.dataset`, decoded in Python."""

import numpy as np
import tensorflow as tf

from pipelines.bad_video import BadVideo
from pipelines.clips import candidates
from pipelines.decoding.decode import decode_frames
from pipelines.python_calls import lets_python_end


class VideoFiles:
    """The files of a manifest as a source, decoded in Python.

    Args:
        manifest: A `Manifest`.
        account: The manifest's `Account`, which receives the bad videos with their reasons.
        decode: A decoder, see `pipelines.decoding.decode`.
        short_side: Pixels to which the short side is scaled while decoding; None keeps the size.
        fps: Frames a second among which clips are sampled, see `pipelines.clips.candidates`; 0 for all.
    """

    def __init__(self, manifest, account, decode=decode_frames, short_side=None, fps=0.0):
        self.manifest = manifest
        self._account, self._decode, self._short_side, self._fps = account, decode, short_side, fps

    def fetch(self, row, sample, draws):
        """Returns the frames of a row that `sample(num_frames, draws)` chooses.

        Args:
            row: int64 scalar, the video's place in the manifest.
            sample: Function from a number of frames n and `draws` to integers in [0, n), of any shape.
            draws: Integer vector.

        Returns:
            (ok, frames, seconds): whether the video could be read, uint8 [T, H, W, 3] and float32 [T], the
            frames' times from the beginning of the file; if it could not, both are blank.
        """

        @lets_python_end
        def load(row, draws):
            try:
                return True, *self._load(self.manifest.videos[row], lambda n: sample(n, draws))
            except BadVideo as bad:
                self._account.add(row, bad)
                self._account.check()
                return False, np.zeros((1, 1, 1, 3), np.uint8), np.zeros(1, np.float32)

        ok, frames, seconds = tf.numpy_function(load, [row, draws], (tf.bool, tf.uint8, tf.float32))
        return tf.ensure_shape(ok, ()), tf.ensure_shape(frames, (None, None, None, 3)), seconds

    def _load(self, video, sample):
        times = []

        def choose(seconds):
            numbers = candidates(seconds, video.start, video.end, self._fps)
            if not len(numbers):
                raise BadVideo(video.path, f"no frame between {video.start} and {video.end} s")
            numbers = numbers[np.ravel(sample(len(numbers)))]
            times.append(seconds[numbers])
            return numbers

        frames = self._decode(video.path, choose, self._short_side)
        return frames, times[-1].astype(np.float32)
