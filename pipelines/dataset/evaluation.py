"""The views by which a model is evaluated: some clips along time, and of each some squares, or all of it."""

import functools
import os

import tensorflow as tf

from pipelines.augmenting.resizing import scale_short_side, square_views
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
    short_side=0,
    places="ends",
    slots=0,
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
        short_side: Pixels to which the short side is scaled before the crops, 0 for those of a clip.
        places: Where the crops lie, see `pipelines.augmenting.resizing.square_views`; or "whole" for the
            whole frames, H x W, whose sides differ between videos. Then there is one crop, and a batch
            shows a single video.
        slots: The views of each video with those that fill up its own batches, a multiple of `batch_size`
            for whole frames; 0 for clips x crops, which are none. These repeat the last view with weight 0.
        fill: Whether further blank views, whose weight is 0, make the last batch as large as the others.
            Several devices that share a batch need this, as a small one would leave nothing for some of them.
        views: The range of views that are made, counted over all videos with `slots` of each; None takes all.
        workers: Most videos read in parallel; by default as many as there are cores.

    Returns:
        `tf.data.Dataset` of (float32 [B, T, size, size, 3], labels, weights float32 [B]), or of clips
        [B, T, H, W, 3] for whole frames. Labels are int32 [B], or float32 [B, K] with all labels of the video
        if the manifest has several labels a video. The views of a video follow one another, clips outermost.

    Raises:
        ValueError: The crops do not go with their places, or the slots not with views and batches.

    Cost: each video is decoded once, and each of its frames is kept once, as squares of bytes, until its last
    view is made. Beside the batch that was taken there is one more, and the frames of as many videos as need
    no more memory than a batch does, but of two at least: one whose views are made, and one that is read.
    """
    count = slots or clips * crops
    _check_slots(count, clips, crops, places, batch_size)
    read = _reader(source, clip_format, sample, clips, crops, account, short_side, places)
    views_of = _view_maker(clip_labels(source.manifest), clips, crops, count)

    @plainly
    def normalised(pixels, labels, weights):
        return normalise(pixels, clip_format.mean, clip_format.std), labels, weights

    views = range(len(source.manifest) * count) if views is None else views
    rows = tf.data.Dataset.range(views.start // count, -(-views.stop // count))
    # A pixel is one byte here, and four in a batch. The video whose views are made is one more.
    ahead = min(4 * batch_size // count - 1, workers if workers > 0 else os.cpu_count())
    every = rows.map(read, num_parallel_calls=max(1, ahead)).flat_map(views_of)
    every = every.skip(views.start % count).take(len(views))
    if fill and len(views) % batch_size:
        blank = tf.data.Dataset.from_tensors(tuple(tf.zeros(x.shape, x.dtype) for x in every.element_spec))
        every = every.concatenate(blank.repeat(-len(views) % batch_size))
    batches = every.batch(batch_size, drop_remainder=fill).map(normalised)
    num_batches = -(-len(views) // batch_size)
    batches = batches.apply(tf.data.experimental.assert_cardinality(num_batches))
    # TensorFlow would normalise several batches at once, and put a longer prefetch at an end without one.
    options = tf.data.Options()
    options.experimental_optimization.map_parallelization = False
    return with_options(batches.prefetch(1).with_options(options))


def _check_slots(slots, clips, crops, places, batch_size):
    """Raises ValueError unless a batch of whole frames shows a single video."""
    views, whole = clips * crops, places == "whole"
    if slots < views or (whole and (crops > 1 or slots % batch_size)):
        raise ValueError(
            f"Expected at least {views} slots, and for whole frames crops=1 and a multiple of batch_size. "
            f"Received slots={slots}, crops={crops}, batch_size={batch_size}, places={places!r}. "
            f"Try: crops=1, slots={-(-clips // batch_size) * batch_size}."
        )


def _reader(source, clip_format, sample, clips, crops, account, short_side, places):
    """Returns the function that reads one video, and enters it in the account.

    It takes a row and returns (row, ok, cuts, places): whether the video could be read; uint8 [F * crops, H,
    W, 3], the squares or wholes of frame after frame, see `evaluation_views`; int64 [clips, T], which of the
    F frames each clip shows. Without `ok` there is one blank frame.
    """
    length, size = clip_format.frames, clip_format.size
    if places == "whole":
        blank = short_side or size
        sides, cut = (None, None), lambda frames: scale_short_side(frames, blank)[..., None, :, :, :]
    else:
        sides, blank = (size, size), size
        cut = functools.partial(square_views, size=size, crops=crops, short_side=short_side, places=places)

    @plainly
    def read(row):
        ok, frames, places, reason = fetch_distinct(
            source, row, lambda count, _: sample(count, length, clips), cut
        )
        used, bad = tf.boolean_mask(row[None], ok[None]), tf.boolean_mask(row[None], ~ok[None])
        with tf.control_dependencies([enter(account, used, bad, tf.fill(tf.shape(bad), reason))]):
            cuts, places = tf.cond(
                ok,
                lambda: (_one_by_one(frames), tf.reshape(places, (clips, length))),
                lambda: (tf.zeros((crops, blank, blank, 3), tf.uint8), tf.zeros((clips, length), tf.int64)),
            )
        return row, ok, tf.ensure_shape(cuts, (None, *sides, 3)), places

    return read


def _one_by_one(cuts):
    """Returns what was cut of frames, [F, crops, H, W, 3] of unknown rank, as [F * crops, H, W, 3]."""
    return tf.reshape(cuts, tf.concat([[-1], tf.shape(cuts)[-3:]], 0))


def _view_maker(labels_of, clips, crops, slots):
    """Returns the function from what `_reader` reads to the data set of a video's views."""

    @plainly
    def views_of(row, ok, cuts, places):
        @plainly
        def view(number):
            is_view = number < clips * crops
            clip, crop = tf.minimum(number // crops, clips - 1), number % crops
            pixels = tf.gather(cuts, places[clip] * crops + crop)  # [T, H, W, 3]
            return pixels, labels_of(row, None, tf.constant([False]))[0], tf.cast(ok & is_view, tf.float32)

        return tf.data.Dataset.range(slots).map(view)

    return views_of
