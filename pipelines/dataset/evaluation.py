"""The views by which a model is evaluated: some clips along time, and some squares of each clip."""

import tensorflow as tf

from pipelines.augmenting.resizing import square_views
from pipelines.dataset.clip_format import normalise
from pipelines.dataset.fetching import enter, fetch, plainly, with_options
from pipelines.labels import clip_labels


def evaluation_views(
    source,
    clip_format,
    *,
    sample,
    clips,
    crops,
    batch_size,
    account,
    fill=False,
    views=None,
    workers=tf.data.AUTOTUNE,
):
    """Returns clips x crops views of every video, in the manifest's order, in batches of views.

    A bad video is entered in the account. Its views are blank and have weight 0, so that every other video
    keeps its place.

    Args:
        source: A source, see `pipelines.dataset`.
        clip_format: A `ClipFormat`.
        sample: Function (num_frames, clip_frames, clips) -> frame numbers [clips, T].
        clips: Clips along time.
        crops: 1 (centre) or 3 (along the long side).
        batch_size: Views in a batch B.
        account: The `Account` of the source's manifest; more bad videos than it allows end the iteration
            with an error.
        fill: Whether further blank views, whose weight is 0, make the last batch as large as the others.
            Several devices that share a batch need this, as a small one would leave nothing for some of them.
        views: The range of views that are made, counted over all videos; None takes all.
        workers: Videos read in parallel; by default TensorFlow chooses how many.

    Returns:
        `tf.data.Dataset` of (float32 [B, T, size, size, 3], labels, weights float32 [B]). Labels are int32
        [B], or float32 [B, K] with all labels of the video if the manifest has several labels a video. The
        views of a video follow one another, clips outermost.
    """
    labels_of, count = clip_labels(source.manifest), clips * crops

    @plainly
    def views_of(row):
        ok, pixels, reason = video_views(source, row, clip_format, sample, clips, crops)
        used, bad = tf.boolean_mask(row[None], ok[None]), tf.boolean_mask(row[None], ~ok[None])
        with tf.control_dependencies([enter(account, used, bad, tf.fill(tf.shape(bad), reason))]):
            pixels = tf.identity(pixels)
        labels = labels_of(row, None, tf.fill([count], False))
        return pixels, labels, tf.fill([count], tf.cast(ok, tf.float32))

    @plainly
    def normalised(pixels, labels, weights):
        return normalise(pixels, clip_format.mean, clip_format.std), labels, weights

    views = range(len(source.manifest) * count) if views is None else views
    rows = tf.data.Dataset.range(views.start // count, -(-views.stop // count))
    every = rows.map(views_of, num_parallel_calls=workers).unbatch()
    every = every.skip(views.start % count).take(len(views))
    if fill:
        blank = tf.data.Dataset.from_tensors(tuple(tf.zeros(x.shape, x.dtype) for x in every.element_spec))
        every = every.concatenate(blank.repeat(-len(views) % batch_size))
    batches = every.batch(batch_size, drop_remainder=fill).map(normalised).prefetch(tf.data.AUTOTUNE)
    num_batches = -(-len(views) // batch_size)
    return with_options(batches.apply(tf.data.experimental.assert_cardinality(num_batches)))


def video_views(source, row, clip_format, sample, clips, crops):
    """Returns the views of one video.

    The short side is scaled to the clip's size, see `pipelines.augmenting.resizing.square_views`.

    Args:
        source: A source, see `pipelines.dataset`.
        row: int64 scalar, the video's place in the manifest.
        clip_format: A `ClipFormat`.
        sample: Function (num_frames, clip_frames, clips) -> frame numbers [clips, T].
        clips: Clips along time.
        crops: 1 (centre) or 3 (along the long side).

    Returns:
        (ok, views, reason): whether the video could be read; uint8 [clips * crops, T, size, size, 3], clips
        outermost, blank without `ok`; why it could not be read.
    """
    length, size = clip_format.frames, clip_format.size
    shape = (clips, length, crops, size, size, 3)
    ok, frames, _, reason = fetch(
        source,
        row,
        lambda count, _: sample(count, length, clips),
        tf.range(0),
        lambda frames: square_views(frames, size, crops),
    )
    pixels = tf.cond(ok, lambda: tf.reshape(frames, shape), lambda: tf.zeros(shape, tf.uint8))
    pixels = tf.transpose(pixels, (0, 2, 1, 3, 4, 5))  # [clips, crops, T, size, size, 3]
    return ok, tf.reshape(pixels, (clips * crops, *shape[1:2], *shape[3:])), reason
