"""The views by which a model is evaluated: some clips along time, and some squares of each clip."""

import os

import tensorflow as tf

from pipelines.augmenting.resizing import square_views
from pipelines.dataset.clip_format import normalise
from pipelines.dataset.fetching import enter, fetch_distinct, plainly, with_options
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
        workers: Most videos read in parallel; by default as many as there are cores.

    Returns:
        `tf.data.Dataset` of (float32 [B, T, size, size, 3], labels, weights float32 [B]). Labels are int32
        [B], or float32 [B, K] with all labels of the video if the manifest has several labels a video. The
        views of a video follow one another, clips outermost.

    Cost: each video is decoded once, and each of its frames is kept once, as squares of bytes, until its last
    view is made. Beside the batch that was taken there is one more, and the frames of as many videos as need
    no more memory than a batch does, but of two at least: one whose views are made, and one that is read.
    """
    count, read = clips * crops, _reader(source, clip_format, sample, clips, crops, account)
    views_of = _view_maker(clip_labels(source.manifest), clips, crops)

    @plainly
    def normalised(pixels, labels, weights):
        return normalise(pixels, clip_format.mean, clip_format.std), labels, weights

    views = range(len(source.manifest) * count) if views is None else views
    rows = tf.data.Dataset.range(views.start // count, -(-views.stop // count))
    # A pixel is one byte here, and four in a batch. The video whose views are made is one more.
    ahead = min(4 * batch_size // count - 1, workers if workers > 0 else os.cpu_count())
    every = rows.map(read, num_parallel_calls=max(1, ahead)).flat_map(views_of)
    every = every.skip(views.start % count).take(len(views))
    if fill:
        blank = tf.data.Dataset.from_tensors(tuple(tf.zeros(x.shape, x.dtype) for x in every.element_spec))
        every = every.concatenate(blank.repeat(-len(views) % batch_size))
    batches = every.batch(batch_size, drop_remainder=fill).map(normalised)
    num_batches = -(-len(views) // batch_size)
    batches = batches.apply(tf.data.experimental.assert_cardinality(num_batches))
    # TensorFlow would normalise several batches at once, and put a longer prefetch at an end without one.
    options = tf.data.Options()
    options.experimental_optimization.map_parallelization = False
    return with_options(batches.prefetch(1).with_options(options))


def _reader(source, clip_format, sample, clips, crops, account):
    """Returns the function that reads one video, and enters it in the account.

    It takes a row and returns (row, ok, squares, places): whether the video could be read; uint8 [F * crops,
    size, size, 3], the squares of frame after frame, the short side scaled to the clip's size (see
    `pipelines.augmenting.resizing.square_views`); int64 [clips, T], which of the F frames each clip shows.
    Without `ok` there is one blank frame.
    """
    length, size = clip_format.frames, clip_format.size

    @plainly
    def read(row):
        ok, frames, places, reason = fetch_distinct(
            source,
            row,
            lambda count, _: sample(count, length, clips),
            lambda frames: square_views(frames, size, crops),
        )
        used, bad = tf.boolean_mask(row[None], ok[None]), tf.boolean_mask(row[None], ~ok[None])
        with tf.control_dependencies([enter(account, used, bad, tf.fill(tf.shape(bad), reason))]):
            squares, places = tf.cond(
                ok,
                lambda: (tf.reshape(frames, (-1, size, size, 3)), tf.reshape(places, (clips, length))),
                lambda: (tf.zeros((crops, size, size, 3), tf.uint8), tf.zeros((clips, length), tf.int64)),
            )
        return row, ok, squares, places

    return read


def _view_maker(labels_of, clips, crops):
    """Returns the function from what `_reader` reads to the data set of a video's views."""

    @plainly
    def views_of(row, ok, squares, places):
        @plainly
        def view(number):
            clip, crop = number // crops, number % crops
            pixels = tf.gather(squares, places[clip] * crops + crop)  # [T, size, size, 3]
            return pixels, labels_of(row, None, tf.constant([False]))[0], tf.cast(ok, tf.float32)

        return tf.data.Dataset.range(clips * crops).map(view)

    return views_of
