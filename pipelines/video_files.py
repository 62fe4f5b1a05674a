"""The files of a manifest as a source of `pipelines.dataset`."""

import numpy as np
import tensorflow as tf

from pipelines.bad_video import BadVideo, Unusable
from pipelines.clips import frame_chooser
from pipelines.decoding.decode import decode_frames


class VideoFiles:
    """The files of a manifest as a source, decoded in Python.

    Args:
        manifest: A `Manifest`.
        decode: A decoder, see `pipelines.decoding.decode`.
        fps: Frames a second from which clips are sampled, see `pipelines.clips.candidates`; 0 for all.

    Attributes:
        needs_python: True, as a graph has to call `fetch` in Python.
    """

    needs_python = True

    def __init__(self, manifest, decode=decode_frames, fps=0.0):
        self.manifest, self.fps, self._decode = manifest, fps, decode

    def fetch(self, row, sample, draws, transform=None):
        """Returns the frames of a row that `sample(num_frames, draws)` chooses.

        Args:
            row: The video's place in the manifest.
            sample: Function from a count of frames n and `draws` to T integers in [0, n), of any shape.
            draws: Integer array.
            transform: Function from frames uint8 [..., H, W, 3] to uint8, such as [..., H', W', 3]. It is
                called with each frame alone, as soon as this is decoded. None keeps frames.

        Returns:
            (ok, frames, seconds, reason): whether the video could be read; uint8 [T, ...], the frames or what
            `transform` made of them; float32 [T], their times from the beginning of the file; why it could
            not be read, UTF-8 bytes. If `ok` is false, frames are [1, 1, 1, 3] and times [1], all 0; else the
            reason is empty.
        """
        video = self.manifest.videos[row]
        choose = frame_chooser(lambda count: sample(count, draws), video.start, video.end, self.fps)
        # The data set's other operations run on the CPU too.
        one_by_one = transform and (lambda frame: np.asarray(transform(frame)))
        try:
            with tf.device("CPU"):
                frames, seconds = self._decode(video.path, choose, one_by_one)
        except (BadVideo, Unusable) as bad:
            reason = bad.reason.encode("utf-8", "backslashreplace")
            return False, np.zeros((1, 1, 1, 3), np.uint8), np.zeros(1, np.float32), reason
        return True, frames, seconds.astype(np.float32), b""
