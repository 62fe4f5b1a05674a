"""Which video comes when, and what is drawn for its clip: pure functions of (seed, epoch, index)."""

import dataclasses
import functools

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Part:
    """What one of several workers does of something that they share.

    Attributes:
        number: The worker's number, in [0, count).
        count: How many workers there are.
    """

    number: int = 0
    count: int = 1

    def range(self, size):
        """Returns the part of `range(size)`. The parts follow one another, and differ by one at most."""
        return range(size * self.number // self.count, size * (self.number + 1) // self.count)

    def places(self, size, mirrored):
        """Returns the places of a batch that are the worker's, a list.

        Args:
            size: The count of videos in a batch.
            mirrored: Whether a part has to hold, with the i-th place from the front, the i-th one from the
                back, as these two are mixed.

        Raises:
            ValueError: The workers cannot share a batch of this size so.
        """
        step = self.count * (2 if mirrored and self.count > 1 else 1)
        if size % step:
            raise ValueError(
                f"Expected the videos of a batch to be a multiple of {step}, as {self.count} workers share "
                f"it{' and clips are mixed in pairs' * mirrored}. Received {size}."
            )
        if not mirrored or self.count == 1:
            return list(self.range(size))
        front = self.range(size // 2)
        return [*front, *(size - 1 - place for place in reversed(front))]


WHOLE = Part()  # The part of a worker that is alone.


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How many steps a training has, and which videos each of them shows.

    Attributes:
        num_videos: Count N of videos.
        batch_size: Clips in a batch B, over all devices.
        epochs: Count of epochs.
        seed: Integer in [0, 2^31).
        repeats: Clips of each video in a batch (repeated augmentation, Hoffer et al. 2020). They have the
            same frames, and each has a transform of its own. An epoch has `repeats` times as many steps.
        last_step: The count of steps after which training ends, also within an epoch; 0 for that of `epochs`,
            which count for nothing else.

    Raises:
        ValueError: There are fewer videos than a batch shows, or `batch_size` is no multiple of `repeats`.
    """

    num_videos: int
    batch_size: int
    epochs: int
    seed: int = 0
    repeats: int = 1
    last_step: int = 0

    def __post_init__(self):
        if self.repeats < 1 or self.batch_size % self.repeats:
            multiple = self.batch_size // max(1, self.repeats) * self.repeats or max(1, self.repeats)
            raise ValueError(
                "Expected batch_size to be a multiple of repeats. Received "
                f"batch_size={self.batch_size}, repeats={self.repeats}. Try: batch_size={multiple}"
            )
        if self.num_videos < self.videos_per_step:
            # An epoch of one step would be none: a power of two that leaves eight steps or more.
            videos = 2 ** (max(1, self.num_videos // 8).bit_length() - 1)
            raise ValueError(
                f"Expected at least {self.videos_per_step} training videos for batch_size={self.batch_size}. "
                f"Received {self.num_videos}. Try: batch_size={videos * self.repeats}"
            )

    @property
    def videos_per_step(self):
        """The count of videos in a batch."""
        return self.batch_size // self.repeats

    @property
    def steps_per_epoch(self):
        """The count of whole batches in an epoch."""
        return self.num_videos // self.videos_per_step

    @property
    def steps(self):
        """The count of batches in all epochs."""
        return self.last_step or self.epochs * self.steps_per_epoch

    @property
    def num_epochs(self):
        """The count of epochs, of which the last one may have fewer steps."""
        return -(-self.steps // self.steps_per_epoch)

    def steps_in(self, epochs):
        """Returns the count of steps in the first epochs."""
        return min(epochs * self.steps_per_epoch, self.steps)

    def within(self, epoch, step):
        """Returns how many steps of an epoch are done after a step of the training, and how many it has."""
        before = self.steps_in(epoch)
        return step - before, self.steps_in(epoch + 1) - before

    @functools.cached_property
    def order(self):
        """The `Order` of the clips."""
        return Order(self.num_videos, self.steps_per_epoch * self.videos_per_step, self.seed)


class Order:
    """The order of a run's clips, and the draws of all that is random in them.

    Methods take the index of a clip, counted from 0 over all epochs. They return the same values inside and
    outside graphs.

    Args:
        num_videos: Count N of videos.
        videos_per_epoch: How many of them an epoch shows, at most N.
        seed: Integer in [0, 2^31).
    """

    def __init__(self, num_videos, videos_per_epoch, seed):
        self.num_videos, self.videos_per_epoch, self.seed = num_videos, videos_per_epoch, seed

    def row(self, index, attempt):
        """Returns the row of a clip's video, in [0, N).

        At attempt 0 it is the clip's place in a permutation, and each epoch has another permutation. Later
        attempts, each with a draw of its own, take the place of bad videos.
        """
        epoch, place = self._place(index)
        return tf.cond(
            tf.equal(attempt, 0),
            lambda: self.permuted(epoch, place),
            lambda: tf.random.stateless_uniform(
                [], self._seeds(index, attempt)[0], maxval=self.num_videos, dtype=tf.int64
            ),
        )

    def permuted(self, epoch, places):
        """Returns the rows, int64 in [0, N), of places within an epoch: a scalar or a vector of integers."""
        # index_shuffle would take the lowest 8 bits of seed and epoch for its key, and rounds too few to part
        # neighbours. Here all bits of both count, through a key of three random words.
        seed = tf.stack([self.seed, tf.cast(epoch, tf.int32)])
        return tf.raw_ops.RandomIndexShuffle(
            index=tf.cast(places, tf.int64),
            seed=tf.random.stateless_uniform([3], seed, minval=None, maxval=None, dtype=tf.uint32),
            max_index=tf.constant(self.num_videos - 1, tf.int64),
            rounds=16,
        )

    def draws(self, index, attempt, count):
        """Returns int64 [count], uniform in [0, 2^31), for the choice of frames."""
        seed = self._seeds(index, attempt)[1]
        return tf.random.stateless_uniform([count], seed, maxval=2**31, dtype=tf.int64)

    def pixel_seed(self, index):
        """Returns the seed of crops, flips and colours, int32 [2]."""
        return self._seeds(index, 0)[2]

    def mix_seed(self, index):
        """Returns the seed by which the batch that begins with this clip is mixed, int32 [2]."""
        return self._seeds(index, 0)[3]

    def _place(self, index):
        index = tf.cast(index, tf.int64)
        return index // self.videos_per_epoch, index % self.videos_per_epoch

    def _seeds(self, index, attempt):
        epoch, place = (tf.cast(part, tf.int32) for part in self._place(index))
        seed = tf.random.fold_in(tf.stack([self.seed, epoch]), place)
        return tf.random.split(tf.random.fold_in(seed, attempt), 4)  # [4, 2]
