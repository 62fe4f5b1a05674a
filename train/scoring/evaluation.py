"""Evaluates a model: averages its logits over clips x crops per video, and measures them."""

import time

import keras
import numpy as np
import tensorflow as tf

from pipelines.account import TooManyBadVideos
from pipelines.order import WHOLE
from train.data import evaluation_clips
from train.scoring.measures import accuracy, cross_entropy


def video_logits(model, source, config, account, verbose="auto", progress=None):
    """Returns the logits of each readable video, averaged over its clips and crops.

    Args:
        model: Model from clips to logits; the devices of its strategy share each batch.
        source: The source of the videos, see `pipelines.dataset`.
        config: The `Config` of the run; its fields say which views there are.
        account: The `Account` of the source's manifest, in which unreadable videos are entered.
        verbose: As for Keras's `predict`: 0 prints nothing.
        progress: A `Progress`, which may hold the scores of the first views already, and gets
            those of each batch. It says which part of the videos is this worker's.

    Returns:
        (logits, labels): float [videos, classes] and int [videos], in the manifest's order without the
        videos that cannot be read.

    Raises:
        FloatingPointError: A logit is infinite or NaN.
        TooManyBadVideos: No video of any worker can be read.
        tf.errors.OpError: More videos are bad than the account allows, or no video can be read.
    """
    videos, count = source.manifest.videos, config.test_clips * config.test_crops
    progress = progress or Progress()
    rows, done = progress.part.range(len(videos)), len(progress.scores)
    if done < len(rows) * count:
        devices = model.distribute_strategy.num_replicas_in_sync // progress.part.count
        views = evaluation_clips(config, source, account, devices, progress.part, done)
        clips = shared_out(views.map(lambda clips, labels, weights: clips), model, progress.part)
        model.predict(clips, verbose=verbose, steps=len(views), callbacks=[progress])
    progress.complete()
    # What fills up the last batch comes after the scores of the views.
    scores, shape = progress.scores[: len(rows) * count], (len(rows), count, model.output_shape[-1])
    scores = progress.joined(np.asarray(scores, np.float32).reshape(shape).mean(axis=1))
    good = np.flatnonzero(progress.joined(np.array([row not in account for row in rows], np.int32)))
    if not len(good):  # The account of one worker does not know it.
        raise TooManyBadVideos("Expected a readable video. Received none. Try: repair them, or other videos.")
    wrong = [row for row in good if not np.isfinite(scores[row]).all()]
    if wrong:
        raise FloatingPointError(
            f"Expected finite scores. Received infinity or NaN for {len(wrong)} of {len(good)} videos, first "
            f"for {videos[wrong[0]].path}. Try: --learning_rate={config.learning_rate / 10:g}, in a new "
            "--workdir"
        )
    return scores[good], np.array([videos[row].label for row in good], int)


def shared_out(batches, model, part):
    """Returns a worker's batches, of a known count, cut into those of its devices.

    Where there are other workers, the data set is said to have no end: TensorFlow would ask all of them
    before each batch whether they have one. Whoever takes the batches has to count them.
    """
    strategy = model.distribute_strategy
    size = tf.nest.flatten(batches.element_spec)[0].shape[0]
    batches = batches.rebatch(size * part.count // strategy.num_replicas_in_sync)
    if part.count > 1:
        batches = batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return strategy.distribute_datasets_from_function(lambda _: batches)


class Progress(keras.callbacks.Callback):
    """Keeps the scores of an evaluation, view by view.

    Args:
        scores: float32 [views, classes], the scores of the first views, if they are there already.
        seconds: What these took.

    Attributes:
        part: The `pipelines.order.Part` of the videos that this worker evaluates.
        evaluated: What `video_logits` returned, once `evaluate` is through.
    """

    part = WHOLE

    def __init__(self, scores=(), seconds=0.0):
        super().__init__()
        self.evaluated = None
        self._seconds, self._start = seconds, time.monotonic()
        self._parts = [scores] if len(scores) else []

    @property
    def scores(self):
        """float32 [views, classes], the scores of the first views; () where there are none."""
        self._parts = [np.concatenate(self._parts)] if self._parts else []
        return self._parts[0] if self._parts else ()

    @property
    def seconds(self):
        """Seconds of the evaluation until now."""
        return self._seconds + time.monotonic() - self._start

    def complete(self):
        """Is called when the scores of this worker's part are there."""

    def joined(self, values):
        """Returns the values of all videos; `values` has those of this worker's part."""
        return values

    def on_predict_batch_end(self, batch, logs=None):
        """Adds the scores of a batch."""
        self._parts.append(np.asarray(logs["outputs"]))


def evaluate(model, source, config, account, verbose="auto", progress=None):
    """Evaluates a model on all videos of a source.

    The scores do not depend on the number of devices, nor on the size of a batch, but for rounding.

    Args:
        model: As for `video_logits`, as are all others.
        source: The source of the videos.
        config: The `Config` of the run.
        account: The `Account` of the source's manifest.
        verbose: 0 prints nothing.
        progress: As for `video_logits`.

    Returns:
        A dictionary: `top1` and `top5` in [0, 1]; `loss`, the mean cross-entropy in nats; the count of
        `videos`, and of `clips` and `crops` per video; and `seconds_per_video`, decoding included.

    Raises:
        FloatingPointError: A logit is infinite or NaN.
        tf.errors.OpError: More videos are bad than the account allows, or no video can be read.
    """
    progress = progress or Progress()
    logits, labels = video_logits(model, source, config, account, verbose, progress)
    progress.evaluated = logits, labels
    return {
        "top1": accuracy(logits, labels, 1),
        "top5": accuracy(logits, labels, 5),
        "loss": cross_entropy(logits, labels),
        "videos": len(labels),
        "clips": config.test_clips,
        "crops": config.test_crops,
        "seconds_per_video": progress.seconds / len(labels),
    }
