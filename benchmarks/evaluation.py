"""The memory that views of an evaluation take beside a model, and how many of them are made a second.

python benchmarks/evaluation.py [--videos=8] [--batch_size=8] [--readers=16] [--model_seconds=1]

Ten clips of 32 frames and three crops of 256 pixels are made of each video, of 250 frames of 336 x 476. A
pause for each batch stands for the model. The peak counts from before the first batch, and holds a batch that
the model has, twice. The last line is a digest of all pixels.
"""

import argparse
import functools
import hashlib
import os
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf

from pipelines import synthetic
from pipelines.account import Account
from pipelines.clips import dense_test_clips
from pipelines.dataset import ClipFormat, evaluation_views
from pipelines.manifest import Label, Manifest, Video
from pipelines.video_files import VideoFiles

_FORMAT = ClipFormat(32, 256, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_CLIPS, _CROPS, _MIB = 10, 3, 2**20


def write_video(path):
    """Writes a video whose picture moves."""
    tiles = np.random.default_rng(0).integers(256, size=(24, 34, 3)).astype(np.uint8)
    picture = tiles.repeat(14, 0).repeat(14, 1)
    synthetic.write_video(path, np.stack([np.roll(picture, 3 * n, 1) for n in range(250)]), 25)


class Peak(threading.Thread):
    """Looks at the memory of this process until `bytes` is read."""

    def __init__(self):
        super().__init__(daemon=True)
        self._first = self._most = self._now()
        self._ended = False
        self.start()

    @property
    def bytes(self):
        """The most bytes since the beginning, beside those of then."""
        self._ended = True
        self.join()
        return self._most - self._first

    def run(self):
        """Looks every 10 ms."""
        while not self._ended:
            self._most = max(self._most, self._now())
            time.sleep(0.01)

    def _now(self):
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main():
    """Makes all views and prints what that took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("videos", 8), ("batch_size", 8), ("readers", 16), ("model_seconds", 1)):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    options, digest = parser.parse_args(), hashlib.sha256()
    tf.zeros(3)  # TensorFlow gets ready.
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "video.mp4")
        write_video(path)
        manifest = Manifest((Video(path, (Label(0),)),) * options.videos, ("a",))
        views = evaluation_views(
            VideoFiles(manifest),
            _FORMAT,
            sample=functools.partial(dense_test_clips, window=64),
            clips=_CLIPS,
            crops=_CROPS,
            batch_size=options.batch_size,
            account=Account(manifest),
            fill=True,
            workers=options.readers,
        )
        peak, start = Peak(), time.monotonic()
        for clips, _, _ in views:
            time.sleep(options.model_seconds)
            digest.update(clips.numpy())
        seconds = time.monotonic() - start
    view = _FORMAT.frames * _FORMAT.size**2 * 3
    print(f"a batch: {4 * view * options.batch_size / _MIB:,.0f} MiB; a video's views as bytes: ", end="")
    print(f"{_CLIPS * _CROPS * view / _MIB:,.0f} MiB; peak: {peak.bytes / _MIB:,.0f} MiB")
    print(f"{_CLIPS * _CROPS * options.videos / seconds:.1f} views a second")
    print(digest.hexdigest()[:16])


if __name__ == "__main__":
    main()
