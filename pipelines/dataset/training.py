"""Batches of training clips, each clip a pure function of (seed, epoch, index)."""

import tensorflow as tf

from pipelines.augmenting.flips import random_flip
from pipelines.dataset.clip_format import normalise
from pipelines.dataset.fetching import enter, fetch, plainly, with_options
from pipelines.labels import check_flip, clip_labels
from pipelines.order import WHOLE

# Videos that are drawn for one clip. If all of them are bad, hardly one in the data set is readable.
_MOST_ATTEMPTS = 100
# XLA makes one pass over the batch instead of three. It compiles for each shape, and training has only one.
_normalise = tf.function(normalise, jit_compile=True, autograph=False)


def training_clips(
    source,
    clip_format,
    schedule,
    *,
    sample,
    transform,
    flip,
    account,
    scale=None,
    mix=None,
    multi_label=False,
    first_step=0,
    skipped=(),
    part=WHOLE,
    workers=tf.data.AUTOTUNE,
    service="",
):
    """Returns the batches of all epochs.

    An epoch is a permutation of the videos, cut to whole batches. A bad video is entered in the account.
    Another one, drawn from the same seed, epoch and index, takes its place, and the account counts the clips.
    So the count of batches and every other clip stay as they were.

    Args:
        source: A source, see `pipelines.dataset`.
        clip_format: A `ClipFormat`.
        schedule: A `pipelines.order.Schedule` of the source's manifest.
        sample: Function (num_frames, clip_frames, draws) -> frame numbers, as in `pipelines.clips`.
        transform: Function (uint8 frames [T, H, W, 3], seed=int32 [2]) -> uint8 [T, size, size, 3].
        flip: Whether to mirror half of the clips. The labels change with them if the manifest says how.
        account: The `Account` of the source's manifest; more bad videos than it allows end the iteration
            with an error.
        scale: Function of frames uint8 [..., H, W, 3], such as `pipelines.augmenting.resizing.
            scale_short_side`, which the source applies before `transform`, to each frame alone or to all
            together. None keeps frames as they are stored.
        mix: Function (clips float32, labels float32 [B, K], seed int32 [2], among) -> (clips, labels), as in
            `pipelines.augmenting.mixing`; labels are then vectors.
        multi_label: Whether labels are vectors even if each video has one.
        first_step: The batch to begin with, counted over all epochs.
        skipped: Steps whose videos give way to others, as if they were bad; a step may stand there again.
        part: The `pipelines.order.Part` of each batch that is made. All parts together are the batches
            that one worker would make.
        workers: Clips made in parallel; by default TensorFlow chooses how many.
        service: Address of a tf.data service, `grpc://HOST:PORT`, that makes the clips; the source must not
            need Python. The batches are the same, but may arrive in another order.

    Returns:
        `tf.data.Dataset` of (float32 [B, T, size, size, 3], labels): int32 [B], or float32 [B, K] if the
        manifest has several labels a video, or with `mix` or `multi_label`. B is the size of the part.

    Raises:
        ValueError: Flips would make labels wrong, the source cannot be sent to a service, or the workers
            cannot share a batch.
    """
    check_training(source, flip, service)
    places = part.places(schedule.videos_per_step, mirrored=mix is not None)
    labels_of = clip_labels(source.manifest, vectors=multi_label or mix is not None)
    views, blank_views = _view_makers(clip_format, schedule, transform, flip)

    @plainly
    def clip(index):
        first = _times_in(skipped, index // schedule.videos_per_step)
        ok, row, frames, seconds, *bad = _first_readable(
            source, schedule.order, index, first, sample, scale, clip_format.frames
        )
        pixels, flips = tf.cond(ok, lambda: views(frames, index), blank_views)
        return ok, pixels, labels_of(row, seconds, flips), index, row, *bad

    # A service shares out the elements of the first data set, so these are steps.
    videos = schedule.videos_per_step
    steps = tf.data.Dataset.range(first_step, schedule.steps)
    indices = steps.flat_map(
        lambda step: tf.data.Dataset.from_tensor_slices(step * videos + tf.constant(places, tf.int64))
    )
    clips = indices.map(clip, num_parallel_calls=workers).batch(len(places), drop_remainder=True)
    if service:
        policy = tf.data.experimental.service.ShardingPolicy.DYNAMIC
        clips = clips.apply(tf.data.experimental.service.distribute(policy, service))
    batch = _batch_maker(clip_format, schedule, places, account, mix, skipped)
    batches = clips.map(batch, num_parallel_calls=workers)
    batches = batches.apply(tf.data.experimental.assert_cardinality(max(0, schedule.steps - first_step)))
    return with_options(batches.prefetch(tf.data.AUTOTUNE))


def check_training(source, flip, service=""):
    """Raises ValueError if flips would make labels wrong, or if the source cannot be sent to a service."""
    check_flip(source.manifest, flip)
    if service and source.needs_python:
        raise ValueError(
            "Expected records for a tf.data service, as its hosts run no Python. Received video files. "
            "Try: python -m pipelines.records, and its output in the place of the manifest."
        )


def _view_makers(clip_format, schedule, transform, flip):
    """Returns the function (frames, index) -> (pixels, flips) of a video's R clips, and a function of blanks.

    Pixels are uint8 [R, T, size, size, 3], where R is the count of repeats. Flips, boolean [R], say which of
    them are mirrored. The second function has no arguments.
    """
    shape = (clip_format.frames, clip_format.size, clip_format.size, 3)

    def view(frames, seeds):
        pixels, flipped = transform(frames, seed=seeds[0]), tf.constant(False)
        if flip:
            pixels, flipped = random_flip(pixels, seeds[1])
        return tf.ensure_shape(pixels, shape), flipped

    def views(frames, index):
        seeds = tf.random.split(schedule.order.pixel_seed(index), 2 * schedule.repeats)  # [2 * R, 2]
        made = [view(frames, seeds[2 * repeat : 2 * repeat + 2]) for repeat in range(schedule.repeats)]
        pixels, flips = (tf.stack(parts) for parts in zip(*made, strict=True))
        return pixels, flips

    def blanks():
        return tf.zeros((schedule.repeats, *shape), tf.uint8), tf.fill([schedule.repeats], False)

    return views, blanks


def _batch_maker(clip_format, schedule, places, account, mix, skipped):
    """Returns the function that makes a batch of clips: it enters the videos, normalises and mixes."""
    of_clips = [place * schedule.repeats + repeat for place in places for repeat in range(schedule.repeats)]
    expected = "TooManyBadVideos: Expected a readable video."
    message = f"{expected} Received {_MOST_ATTEMPTS} bad ones in a row. Try: repair them, or leave them out."

    @plainly
    def batch(ok, pixels, labels, indices, rows, bad, reasons):
        is_row = bad >= 0  # [B / R, attempts]
        step = indices[0] // schedule.videos_per_step
        is_replaced = tf.reduce_any(is_row, 1) | (_times_in(skipped, step) > 0)
        replaced = schedule.repeats * tf.math.count_nonzero(is_replaced, dtype=tf.int32)
        bad, reasons = tf.boolean_mask(bad, is_row), tf.boolean_mask(reasons, is_row)
        used = tf.boolean_mask(rows, ok)
        with tf.control_dependencies([enter(account, used, bad, reasons, replaced, step)]):
            all_readable = tf.debugging.assert_equal(ok, True, message)
        with tf.control_dependencies([all_readable]):
            clips = tf.reshape(pixels, (len(of_clips), *pixels.shape[2:]))  # [B, T, size, size, 3]
        labels = tf.reshape(labels, (len(of_clips), *labels.shape[2:]))  # [B] or [B, K]
        clips = _normalise(clips, clip_format.mean, clip_format.std)
        if mix is not None:
            seed = schedule.order.mix_seed(step * schedule.videos_per_step)
            clips, labels = mix(clips, labels, seed, among=(of_clips, schedule.batch_size))
        return clips, labels

    return batch


def _times_in(steps, step):
    """Returns how often a step stands among others, int32."""
    return tf.math.count_nonzero(tf.constant(steps, tf.int64) == step, dtype=tf.int32)


def _first_readable(source, order, index, first, sample, scale, clip_frames):
    """Looks for the first readable video for a clip, from the attempt `first` on.

    Returns:
        (ok, row, frames, seconds, bad, reasons): whether one of those that were tried is readable; its row,
        frames [T, H, W, 3] and times [T]; and the rows that could not be read before it, int64 [attempts]
        filled up with -1, and the reasons, string [attempts] filled up with "".
    """

    def read(attempt, ok, row, frames, seconds, bad, reasons):
        row = order.row(index, attempt)
        draws = order.draws(index, attempt, clip_frames)
        ok, frames, seconds, reason = fetch(
            source, row, lambda count, draws: sample(count, clip_frames, draws), draws, scale
        )
        here = ~ok & (attempt == tf.range(_MOST_ATTEMPTS))
        bad, reasons = tf.where(here, row, bad), tf.where(here, reason, reasons)
        return attempt + 1, ok, row, tf.ensure_shape(frames, (None, None, None, 3)), seconds, bad, reasons

    blank = tf.zeros((clip_frames, 1, 1, 3), tf.uint8), tf.zeros(clip_frames)
    shapes = [], [], [], [None, None, None, 3], [None], [_MOST_ATTEMPTS], [_MOST_ATTEMPTS]
    none = tf.fill([_MOST_ATTEMPTS], tf.constant(-1, tf.int64)), tf.fill([_MOST_ATTEMPTS], "")
    _, ok, row, frames, seconds, bad, reasons = tf.while_loop(
        lambda attempt, ok, *_: ~ok & (attempt < _MOST_ATTEMPTS),
        read,
        [first, tf.constant(False), tf.constant(0, tf.int64), *blank, *none],
        shape_invariants=[tf.TensorShape(shape) for shape in shapes],
    )
    frames, seconds = tf.cond(ok, lambda: (frames, seconds), lambda: blank)
    frames = tf.ensure_shape(frames, (clip_frames, None, None, 3))
    return ok, row, frames, tf.ensure_shape(seconds, (clip_frames,)), bad, reasons
