"""Composes `tf.data`: the only place where videos, clips and augmentation meet.

A source has a `manifest` and a `fetch(row, sample, draws)`, which gives the chosen frames of a row inside a
graph: `VideoFiles` decodes in Python, `pipelines.records.source.Records` needs none.
"""

import contextlib
import dataclasses
import gc
import traceback

import tensorflow as tf

from pipelines.augmenting import crops as augment
from pipelines.bad_video import BadVideo
from pipelines.labels import check_flip, clip_labels
from pipelines.order import Order
from pipelines.python_calls import lets_python_end
from pipelines.video_files import VideoFiles

# Draws of another video in the place of a bad one; so many misses mean that hardly one is readable.
_MOST_ATTEMPTS = 1000
# The reason for a bad video that the source did not enter itself.
_DAMAGED_RECORD = "its record is damaged"

# Graphs are written as such, and what they call of Python is not to be rewritten.
_plainly = tf.autograph.experimental.do_not_convert
# One pass over the batch instead of three. XLA compiles for a shape, and training has only one.
_normalise = tf.function(augment.normalise, jit_compile=True, autograph=False)


@dataclasses.dataclass(frozen=True)
class ClipFormat:
    """What a model takes: float32 clips [frames, size, size, 3].

    Attributes:
        frames: Frames T of a clip.
        size: Height and width in pixels.
        mean: Three channel means, in grey levels of 0-255.
        std: Three channel deviations, likewise.
    """

    frames: int
    size: int
    mean: tuple
    std: tuple


def training_clips(
    source,
    clip_format,
    *,
    sample,
    transform,
    flip,
    batch_size,
    epochs,
    seed,
    account,
    repeats=1,
    mix=None,
    first_step=0,
    workers=tf.data.AUTOTUNE,
    service="",
):
    """Returns the batches of all epochs, each clip a pure function of (seed, epoch, index).

    An epoch is a permutation of the videos, cut to whole batches. A bad video is entered in the
    account and its place is taken by another one, drawn from the same numbers and counted as such, so the
    number of batches and every other clip stay as they were.

    Args:
        source: A source of at least `batch_size / repeats` videos.
        clip_format: A `ClipFormat`.
        sample: Function (num_frames, clip_frames, draws) -> frame numbers, as in `pipelines.clips`.
        transform: Function (uint8 frames [T, H, W, 3], seed=int32 [2]) -> uint8 [T, size, size, 3].
        flip: Whether to mirror half of the clips. Where left is not right, the label changes with it.
        batch_size: Clips in a batch B, over all devices.
        epochs: Total number of epochs.
        seed: Integer in [0, 2^31).
        account: The `Account` of the source's manifest; more bad videos than it allows end the iteration
            with an error.
        repeats: Clips of each video in a batch (repeated augmentation, Hoffer et al. 2020): the same
            frames, each clip with a transform of its own. An epoch has as many times more steps.
        mix: Function (float clips, float labels [B, K], seed [2]) -> the same, as in
            `pipelines.augmenting.mixing`; labels are then vectors.
        first_step: Number of the batch to begin with, counted over all epochs.
        workers: Clips made in parallel; by default as many as pay.
        service: Address of a tf.data service, `grpc://HOST:PORT`, that makes the batches; the source has to
            be records. Batches are the same ones, but may arrive in another order.

    Returns:
        `tf.data.Dataset` of (float32 [B, T, size, size, 3], labels): int32 [B], or float32 [B, K] if the
        manifest has several labels a video or `mix` is given.

    Raises:
        ValueError: There are fewer videos than a batch shows, `batch_size` is no multiple of `repeats`,
            flips would make labels wrong, or the source cannot be sent to a service.
    """
    manifest = source.manifest
    check_flip(manifest, flip)
    steps = steps_per_epoch(manifest, batch_size, repeats)
    videos_per_step = batch_size // repeats
    order = Order(len(manifest), steps * videos_per_step, seed)
    labels_of = clip_labels(manifest, vectors=mix is not None)

    @_plainly
    def clip(number):
        attempts, row, frames, seconds = _first_readable(source, order, number, sample, clip_format.frames)
        seeds = tf.random.split(order.pixel_seed(number), 2 * repeats)  # [2 * repeats, 2]
        pixels, flips = [], []
        for repeat in range(repeats):
            view = transform(frames, seed=seeds[2 * repeat])
            flipped = tf.constant(False)
            if flip:
                view, flipped = augment.random_flip(view, seeds[2 * repeat + 1])
            pixels.append(tf.ensure_shape(view, (clip_format.frames, clip_format.size, clip_format.size, 3)))
            flips.append(flipped)
        pixels = tf.expand_dims(pixels[0], 0) if repeats == 1 else tf.stack(pixels)
        return pixels, labels_of(row, seconds, tf.stack(flips)), row, attempts, number

    @lets_python_end
    def note(rows, attempts, numbers):
        account.use(rows.tolist())
        for number, count in zip(numbers[attempts > 1], attempts[attempts > 1], strict=True):
            account.replace(repeats)
            for attempt in range(count - 1):
                row = int(order.row(number, attempt))
                account.add(row, BadVideo(manifest.videos[row].path, _DAMAGED_RECORD))
        account.check()

    @_plainly
    def batch(pixels, labels, rows, attempts, numbers):
        with tf.control_dependencies([tf.numpy_function(note, [rows, attempts, numbers], [])]):
            clips = tf.reshape(pixels, (batch_size, *pixels.shape[2:]))  # [B, T, size, size, 3]
        labels = tf.reshape(labels, (batch_size, *labels.shape[2:]))  # [B] or [B, K]
        clips = _normalise(clips, clip_format.mean, clip_format.std)
        if mix is not None:
            clips, labels = mix(clips, labels, order.mix_seed(numbers[0]))
        return clips, labels

    # A service shares out the elements of the first data set: they have to be whole batches.
    todo = tf.data.Dataset.range(first_step, epochs * steps)
    numbers = todo.flat_map(
        lambda step: tf.data.Dataset.range(step * videos_per_step, (step + 1) * videos_per_step)
    )
    clips = numbers.map(clip, num_parallel_calls=workers).batch(videos_per_step, drop_remainder=True)
    if service:
        clips = _through_service(clips, source, service)
    batches = clips.map(batch, num_parallel_calls=workers)
    batches = batches.apply(tf.data.experimental.assert_cardinality(max(0, epochs * steps - first_step)))
    return _with_options(batches.prefetch(tf.data.AUTOTUNE))


def steps_per_epoch(manifest, batch_size, repeats=1):
    """Returns the number of whole batches in an epoch."""
    if repeats < 1 or batch_size % repeats:
        raise ValueError(
            f"Expected batch_size to be a multiple of repeats. Received batch_size={batch_size}, "
            f"repeats={repeats}. Try: batch_size={batch_size // max(1, repeats) * repeats or repeats or 1}."
        )
    if len(manifest) * repeats < batch_size:
        raise ValueError(
            f"Expected at least {batch_size // repeats} training videos for batch_size={batch_size}. "
            f"Received {len(manifest)}. Try: --batch_size={max(1, len(manifest)) * repeats} or less."
        )
    return len(manifest) * repeats // batch_size


def evaluation_views(
    source, clip_format, *, sample, clips, crops, batch_size, account, workers=tf.data.AUTOTUNE
):
    """Returns clips x crops views of every video, in the manifest's order, in batches of views.

    The short side is scaled to the clip's size. A bad video is entered in the account; its views are
    blank and weigh nothing, so that each video keeps its place.

    Args:
        source: A source.
        clip_format: A `ClipFormat`.
        sample: Function (num_frames, clip_frames, clips) -> frame numbers [clips, T].
        clips: Clips along time.
        crops: 1 (centre) or 3 (along the long side).
        batch_size: Views in a batch B.
        account: The `Account` of the source's manifest.
        workers: Videos read in parallel; by default as many as pay.

    Returns:
        `tf.data.Dataset` of (float32 [B, T, size, size, 3], labels, float32 [B] weights), labels as of
        `training_clips`, all those of the video; the views of a video follow one another, clips outermost.
    """
    manifest, size, views_per_video = source.manifest, clip_format.size, clips * crops
    labels_of, length = clip_labels(manifest), clips * clip_format.frames

    @lets_python_end
    def note(row, ok):
        if ok:
            account.use([int(row)])
        else:
            account.add(row, BadVideo(manifest.videos[row].path, _DAMAGED_RECORD))
            account.check()

    @_plainly
    def views(row):
        ok, frames, _ = source.fetch(row, lambda n, _: sample(n, clip_format.frames, clips), tf.range(0))
        frames = tf.cond(
            ok,
            lambda: augment.scale_short_side(frames, size),
            lambda: tf.zeros((length, size, size, 3), tf.uint8),
        )
        with tf.control_dependencies([tf.numpy_function(note, [row, ok], [])]):
            pixels = cut_views(frames, clip_format, clips, crops)
        labels = labels_of(row, None, tf.fill([views_per_video], False))
        return pixels, labels, tf.fill([views_per_video], tf.cast(ok, tf.float32))

    @_plainly
    def normalised(pixels, labels, weights):
        return augment.normalise(pixels, clip_format.mean, clip_format.std), labels, weights

    videos = tf.data.Dataset.range(len(manifest)).map(views, num_parallel_calls=workers)
    batches = videos.unbatch().batch(batch_size).map(normalised).prefetch(tf.data.AUTOTUNE)
    count = -(-len(manifest) * views_per_video // batch_size)
    return _with_options(batches.apply(tf.data.experimental.assert_cardinality(count)))


def cut_views(frames, clip_format, clips, crops):
    """Returns the views of one video.

    Args:
        frames: uint8 [clips * T, H, W, 3], the frames of all clips, their short side scaled to the size.
        clip_format: A `ClipFormat`.
        clips: Clips along time.
        crops: 1 (centre) or 3 (along the long side).

    Returns:
        uint8 [clips * crops, T, size, size, 3], clips outermost.
    """
    length, size = clip_format.frames, clip_format.size
    pixels = augment.square_crops(tf.ensure_shape(frames, (clips * length, None, None, 3)), size, crops)
    pixels = tf.reshape(pixels, (crops, clips, length, size, size, 3))
    pixels = tf.transpose(pixels, (1, 0, 2, 3, 4, 5))  # [clips, crops, T, size, size, 3]
    return tf.reshape(pixels, (clips * crops, length, size, size, 3))


@contextlib.contextmanager
def iterators_ended_on_error():
    """When an error passes, lets go of the iterators that its frames hold.

    Their threads call Python. Were they alive when the interpreter ends, they would wait for it and it
    for them, for ever. Also a decorator.
    """
    try:
        yield
    except BaseException as error:
        _clear_frames(error)
        gc.collect()
        raise


def _clear_frames(error):
    """Empties every frame that an exception, or one that led to it, keeps, as far as it has ended."""
    while error is not None:
        for innermost, _ in traceback.walk_tb(error.__traceback__):
            # Through the callers too: Keras cuts its own frames out of a traceback, and they live on there.
            for frame, _ in traceback.walk_stack(innermost):
                with contextlib.suppress(RuntimeError):  # It is still running.
                    frame.clear()
        error = error.__cause__ or error.__context__


def _first_readable(source, order, number, sample, clip_frames):
    """Returns (attempts, row, frames, seconds) of the first readable video for a clip."""

    def read(attempt, ok, row, frames, seconds):
        row = order.row(number, attempt)
        draws = order.draws(number, attempt, clip_frames)
        ok, frames, seconds = source.fetch(row, lambda n, draws: sample(n, clip_frames, draws), draws)
        return attempt + 1, ok, row, frames, tf.ensure_shape(seconds, (None,))

    attempts, ok, row, frames, seconds = tf.while_loop(
        lambda attempt, ok, *_: ~ok & (attempt < _MOST_ATTEMPTS),
        read,
        [0, False, tf.constant(0, tf.int64), tf.zeros((1, 1, 1, 3), tf.uint8), tf.zeros(1)],
        shape_invariants=[
            tf.TensorShape([]),
            tf.TensorShape([]),
            tf.TensorShape([]),
            tf.TensorShape([None, None, None, 3]),
            tf.TensorShape([None]),
        ],
    )
    message = f"TooManyBadVideos: Expected a readable video. Received {_MOST_ATTEMPTS} bad ones in a row."
    with tf.control_dependencies([tf.debugging.assert_equal(ok, True, message)]):
        frames = tf.ensure_shape(tf.identity(frames), (clip_frames, None, None, 3))
    return attempts, row, frames, tf.ensure_shape(seconds, (clip_frames,))


def _through_service(batches, source, address):
    if isinstance(source, VideoFiles):
        raise ValueError(
            "Expected records for a tf.data service, as its hosts run no Python. Received video files. "
            "Try: python -m pipelines.records, and its output in the place of the manifest."
        )
    policy = tf.data.experimental.service.ShardingPolicy.DYNAMIC
    return batches.apply(tf.data.experimental.service.distribute(policy, address))


def _with_options(dataset):
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)
