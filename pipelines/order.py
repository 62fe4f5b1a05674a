"""Which video comes when, and what is drawn for it: pure functions of (seed, epoch, index)."""

import tensorflow as tf


class Order:
    """The order of a run's clips, and the source of all that is random in them.

    Methods take the number of a clip, counted from 0 over all epochs, and inside graphs or outside of
    them give the same.

    Args:
        num_videos: Number N of videos.
        videos_per_epoch: How many of them an epoch shows, at most N.
        seed: Integer in [0, 2^31).
    """

    def __init__(self, num_videos, videos_per_epoch, seed):
        self.num_videos, self.videos_per_epoch, self.seed = num_videos, videos_per_epoch, seed

    def row(self, number, attempt):
        """Returns the video of a clip, in [0, N).

        At attempt 0 it is the clip's place in a permutation that each epoch has anew; later ones, each a
        draw of its own, take the place of bad videos.
        """
        epoch, index = self._place(number)
        return tf.cond(
            tf.equal(attempt, 0),
            lambda: tf.random.experimental.index_shuffle(
                index, tf.stack([tf.constant(self.seed, tf.int64), epoch]), self.num_videos - 1
            ),
            lambda: tf.random.stateless_uniform(
                [], self._seeds(number, attempt)[0], maxval=self.num_videos, dtype=tf.int64
            ),
        )

    def draws(self, number, attempt, count):
        """Returns int64 [count], uniform in [0, 2^31), for the choice of frames."""
        seed = self._seeds(number, attempt)[1]
        return tf.random.stateless_uniform([count], seed, maxval=2**31, dtype=tf.int64)

    def pixel_seed(self, number):
        """Returns int32 [2], for crops, flips and colours."""
        return self._seeds(number, 0)[2]

    def mix_seed(self, number):
        """Returns int32 [2], for mixing the batch that begins with this clip."""
        return self._seeds(number, 0)[3]

    def _place(self, number):
        number = tf.cast(number, tf.int64)
        return number // self.videos_per_epoch, number % self.videos_per_epoch

    def _seeds(self, number, attempt):
        epoch, index = (tf.cast(part, tf.int32) for part in self._place(number))
        seed = tf.random.fold_in(tf.stack([self.seed, epoch]), index)
        return tf.random.split(tf.random.fold_in(seed, attempt), 4)  # [4, 2]
