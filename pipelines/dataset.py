"""Composes `tf.data`: the only place where manifests, clips, decoding and augmentation meet."""

import contextlib
import dataclasses
import gc
import traceback

import numpy as np
import tensorflow as tf

from pipelines import augment
from pipelines.bad_videos import BadVideo, TooManyBadVideos
from pipelines.clips import clip_generator
from pipelines.decode import decode_frames

# Draws of another video in the place of a bad one; so many misses mean that hardly one is readable.
_MOST_ATTEMPTS = 1000


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
    manifest,
    clip_format,
    *,
    choose,
    short_side,
    scales,
    flip,
    batch_size,
    epochs,
    seed,
    bad_videos,
    first_epoch=0,
    decode=decode_frames,
):
    """Returns the batches of all epochs, each clip a pure function of (seed, epoch, index).

    An epoch is a permutation of the videos, cut to whole batches. A bad video is entered in
    `bad_videos` and its place is taken by another one, drawn from the same numbers, so the count of
    batches and every other clip stay as they were.

    Args:
        manifest: A `Manifest` of at least `batch_size` videos.
        clip_format: A `ClipFormat`.
        choose: Function (num_frames, clip_frames, generator) -> frame numbers, as in `pipelines.clips`.
        short_side: Side in pixels to which the frames' short side is scaled before cropping.
        scales: Scales of `augment.multi_scale_crop`.
        flip: Whether to mirror half of the clips.
        batch_size: Clips in a batch B, over all devices.
        epochs: Total number of epochs.
        seed: Integer >= 0.
        bad_videos: A `BadVideos`; more than it allows end the iteration with an error.
        first_epoch: Epoch to begin with.
        decode: A decoder, see `pipelines.decode`.

    Returns:
        `tf.data.Dataset` of (float32 [B, T, size, size, 3], int32 [B]).

    Raises:
        ValueError: There are fewer videos than `batch_size`.
    """
    videos = manifest.videos
    clips_per_epoch = steps_per_epoch(manifest, batch_size) * batch_size

    # A video known to be bad is tried again: its damage may lie beside the frames of this clip, and what a
    # clip shows must not depend on what other clips have met.
    def load(epoch, index, row):
        for attempt in range(_MOST_ATTEMPTS):
            generator = clip_generator(seed, int(epoch), int(index), attempt)
            video = videos[row if attempt == 0 else generator.integers(len(videos))]
            try:
                frames = decode(
                    video.path,
                    lambda n, generator=generator: choose(n, clip_format.frames, generator),
                    short_side,
                )
                return frames, np.int32(video.label), generator.integers(2**31, size=4, dtype=np.int32)
            except BadVideo as bad:
                bad_videos.add(bad)
                bad_videos.check()
        raise TooManyBadVideos(f"Expected a readable video. Received {_MOST_ATTEMPTS} bad ones in a row.")

    def clip(number):
        epoch, index = number // clips_per_epoch, number % clips_per_epoch
        row = tf.random.experimental.index_shuffle(index, tf.stack([seed, epoch]), len(videos) - 1)
        frames, label, draws = tf.numpy_function(load, [epoch, index, row], (tf.uint8, tf.int32, tf.int32))
        frames = tf.ensure_shape(frames, (clip_format.frames, None, None, 3))
        pixels = augment.multi_scale_crop(frames, clip_format.size, tf.ensure_shape(draws, (4,))[:2], scales)
        if flip:
            pixels = augment.random_flip(pixels, draws[2:])
        return augment.normalise(pixels, clip_format.mean, clip_format.std), tf.ensure_shape(label, ())

    numbers = tf.data.Dataset.range(first_epoch * clips_per_epoch, epochs * clips_per_epoch)
    clips = numbers.map(clip, num_parallel_calls=tf.data.AUTOTUNE)
    return _with_options(clips.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE))


def steps_per_epoch(manifest, batch_size):
    """Returns the number of whole batches in an epoch."""
    if len(manifest) < batch_size:
        raise ValueError(
            f"Expected at least batch_size={batch_size} training videos. Received {len(manifest)}. "
            f"Try: --batch_size={max(1, len(manifest))} or less."
        )
    return len(manifest) // batch_size


def evaluation_views(
    manifest, clip_format, *, choose, clips, crops, batch_size, bad_videos, decode=decode_frames
):
    """Returns clips x crops views of every video, in the manifest's order, in batches of views.

    The short side is scaled to the clip's size. A bad video is entered in `bad_videos`; its views are
    blank and weigh nothing, so that each video keeps its place.

    Args:
        manifest: A `Manifest`.
        clip_format: A `ClipFormat`.
        choose: Function (num_frames, clip_frames, clips) -> frame numbers [clips, T].
        clips: Clips along time.
        crops: 1 (centre) or 3 (along the long side).
        batch_size: Views in a batch B.
        bad_videos: A `BadVideos`.
        decode: A decoder, see `pipelines.decode`.

    Returns:
        `tf.data.Dataset` of (float32 [B, T, size, size, 3], int32 [B] labels, float32 [B] weights); the
        views of a video follow one another, clips outermost.
    """
    frames_per_clip, size = clip_format.frames, clip_format.size
    views_per_video = clips * crops

    def load(number):
        video = manifest.videos[number]
        try:
            frames = decode(video.path, lambda n: choose(n, frames_per_clip, clips).reshape(-1), size)
            return frames, np.int32(video.label), np.float32(1)
        except BadVideo as bad:
            bad_videos.add(bad)
            bad_videos.check()
        blank = np.zeros((clips * frames_per_clip, size, size, 3), np.uint8)
        return blank, np.int32(video.label), np.float32(0)

    def views(number):
        frames, label, weight = tf.numpy_function(load, [number], (tf.uint8, tf.int32, tf.float32))
        pixels = cut_views(frames, clip_format, clips, crops)
        return pixels, tf.repeat(label, views_per_video), tf.repeat(weight, views_per_video)

    videos = tf.data.Dataset.range(len(manifest)).map(views, num_parallel_calls=tf.data.AUTOTUNE)
    batches = videos.unbatch().batch(batch_size).prefetch(tf.data.AUTOTUNE)
    count = -(-len(manifest) * views_per_video // batch_size)
    return _with_options(batches.apply(tf.data.experimental.assert_cardinality(count)))


def cut_views(frames, clip_format, clips, crops):
    """Returns the normalised views of one video.

    Args:
        frames: uint8 [clips * T, H, W, 3], the frames of all clips, their short side scaled to the size.
        clip_format: A `ClipFormat`.
        clips: Clips along time.
        crops: 1 (centre) or 3 (along the long side).

    Returns:
        float32 [clips * crops, T, size, size, 3], clips outermost.
    """
    length, size = clip_format.frames, clip_format.size
    pixels = augment.square_crops(tf.ensure_shape(frames, (clips * length, None, None, 3)), size, crops)
    pixels = tf.reshape(pixels, (crops, clips, length, size, size, 3))
    pixels = tf.transpose(pixels, (1, 0, 2, 3, 4, 5))  # [clips, crops, T, size, size, 3]
    pixels = tf.reshape(pixels, (clips * crops, length, size, size, 3))
    return augment.normalise(pixels, clip_format.mean, clip_format.std)


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


def _with_options(dataset):
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)
