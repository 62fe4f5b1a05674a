"""Fetches from any source inside a graph, and enters the outcome in the account."""

import numpy as np
import tensorflow as tf

from pipelines.bad_video import BadVideo
from pipelines.dataset.python_calls import lets_python_end

# These functions use TensorFlow's control flow already, so AutoGraph must not rewrite them.
plainly = tf.autograph.experimental.do_not_convert


def fetch(source, row, sample, draws, transform=None):
    """Returns what `source.fetch` returns, in a graph.

    Args:
        source: A source, see `pipelines.dataset`.
        row: int64 scalar, the video's place in the manifest.
        sample: Function from a count of frames n and `draws` to T integers in [0, n), of any shape.
        draws: Integer vector.
        transform: Function from frames uint8 [..., H, W, 3] to uint8, or None.

    Returns:
        (ok, frames, seconds, reason): boolean scalar; uint8 [T, ...]; float32 [T]; string scalar. If `ok` is
        false, another count may stand in the place of T.
    """
    if not source.needs_python:
        return source.fetch(row, sample, draws, transform)

    @lets_python_end
    def load(row, draws):
        return source.fetch(row, sample, draws, transform)

    kinds = (tf.bool, tf.uint8, tf.float32, tf.string)
    ok, frames, seconds, reason = tf.numpy_function(load, [row, draws], kinds)
    return tf.ensure_shape(ok, ()), frames, tf.ensure_shape(seconds, (None,)), tf.ensure_shape(reason, ())


def fetch_distinct(source, row, sample, transform):
    """Returns the frames of a video of which clips show some repeatedly, in a graph.

    Args:
        source: A source, see `pipelines.dataset`.
        row: int64 scalar, the video's place in the manifest.
        sample: As for `fetch`; its T numbers may repeat.
        transform: As for `fetch`.

    Returns:
        (ok, frames, places, reason): boolean scalar; uint8 [F, ...], in which each frame of a file stands
        once; int64 [T], which of them the numbers mean; string scalar. A graph that reads records gives
        each frame as often as its number stands there, as a count that is known makes it faster. Without
        `ok`, anything may stand there.
    """
    draws = tf.range(0)
    if not source.needs_python:
        ok, frames, _, reason = source.fetch(row, sample, draws, transform)
        return ok, frames, tf.range(tf.shape(frames, tf.int64)[0]), reason

    @lets_python_end
    def load(row, draws):
        places = np.zeros(0, np.int64)

        def distinct(count, draws):
            nonlocal places
            numbers, places = np.unique(sample(count, draws), return_inverse=True)
            return numbers

        ok, frames, _, reason = source.fetch(row, distinct, draws, transform)
        return ok, frames, places.ravel().astype(np.int64), reason

    kinds = (tf.bool, tf.uint8, tf.int64, tf.string)
    ok, frames, places, reason = tf.numpy_function(load, [row, draws], kinds)
    return tf.ensure_shape(ok, ()), frames, places, tf.ensure_shape(reason, ())


def enter(account, used, bad, reasons, replaced=0, step=0):
    """Returns the operation that enters rows in an account. There is no other place where this is done.

    The operation fails with `TooManyBadVideos` if more videos are bad than the account allows.

    Args:
        account: The `Account` of the source's manifest.
        used: int64 vector, the rows of which clips were made.
        bad: int64 vector, the rows that could not be read.
        reasons: String vector, the reason for each row of `bad`.
        replaced: int scalar, how many clips show another video than the one whose turn it was.
        step: int scalar, the step of a training of which the clips are.
    """

    @lets_python_end
    def note(used, bad, reasons, replaced, step):
        account.use(used.tolist())
        account.replace(int(replaced), int(step))
        for row, reason in zip(bad.tolist(), reasons.tolist(), strict=True):
            account.add(row, BadVideo(account.path(row), reason.decode()))
        account.check()

    return tf.numpy_function(note, [used, bad, reasons, replaced, step], [])


def with_options(dataset):
    """Returns the data set with the options that keep its elements in order and do not shard it."""
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)
