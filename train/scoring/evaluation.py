"""Evaluates a model: pools what it says of the clips x crops of a video, and measures it."""

import contextlib
import dataclasses
import time

import keras
import numpy as np
import tensorflow as tf
import tqdm

from pipelines.account import TooManyBadVideos
from pipelines.order import WHOLE
from train.config.data import EvaluationFields
from train.scoring.measures import pooled
from train.scoring.scores import Scores, summary
from train.scoring.views import evaluation_clips, view_slots


def video_scores(model, source, config, account, verbose=True, progress=None):
    """Returns the `Scores` of the readable videos, each of all its clips and crops.

    Args:
        model: Model from clips to logits, as `train.scoring.views.model_of_views` returns it; the devices of
            its strategy share each batch.
        source: The source of the videos, see `pipelines.dataset`.
        config: The `Config` of the run; its fields say which views there are, and how they are pooled.
        account: The `Account` of the source's manifest, in which unreadable videos are entered.
        verbose: Whether to show how many videos are done, how many a second, and the time left.
        progress: A `Progress`, which may hold the scores of the first views already, and gets
            those of each batch. It says which part of the videos is this worker's.

    Returns:
        `Scores`, in the manifest's order without the videos that cannot be read.

    Raises:
        FloatingPointError: A logit is infinite or NaN.
        TooManyBadVideos: No video of any worker can be read.
        tf.errors.OpError: More videos are bad than the account allows, or no video can be read.
    """
    videos, count = source.manifest.videos, config.test_clips * config.test_crops
    progress = progress or Progress()
    rows, devices = progress.part.range(len(videos)), model.distribute_strategy.num_replicas_in_sync
    devices //= progress.part.count
    done = progress.begin(count, view_slots(config, devices, progress.part)[0])
    if done < len(rows) * count:
        views = evaluation_clips(config, source, account, devices, progress.part, done)
        clips = shared_out(views.map(lambda clips, labels, weights: clips), model, progress.part)
        with contextlib.closing(_Bar(progress, len(rows), count, verbose)) as bar:
            model.predict(clips, verbose=0, steps=len(views), callbacks=[progress, bar])
    progress.complete()
    # What fills up the last batch comes after the scores of the views.
    scores, shape = progress.scores[: len(rows) * count], (len(rows), count, model.output_shape[-1])
    scores = _of_videos(np.asarray(scores, np.float32).reshape(shape), config)
    scores = progress.joined(scores)
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
    manifest = source.manifest
    labels = true_labels(manifest, config.multi_label)[good]
    paths = tuple(videos[row].path for row in good)
    return Scores(scores[good], labels, paths, tuple(manifest.classes))


def _of_videos(scores, config):
    """Returns the scores of videos, float32 [V, K], of those of their views, [V, C, K].

    Those of a video with a logit that is not finite are NaN: a mean of probabilities might hide it.
    """
    pooling, activation = config.test_pooling, config.activation
    if pooling == "logits":
        return scores.mean(axis=1)
    found = np.zeros((len(scores), scores.shape[-1]), np.float32)
    for row, views in enumerate(scores):  # In float64 all of them would take much memory.
        found[row] = pooled(views, pooling, activation) if np.isfinite(views).all() else np.nan
    return found


def true_labels(manifest, vectors=False):
    """Returns the labels of all videos: int [V], or bool [V, K] with `vectors` or if one has several or none.

    A label counts for the whole video, whenever in it the class is to be seen.
    """
    if not (vectors or manifest.multi_label):
        return np.array([video.label for video in manifest.videos], int)
    labels = np.zeros((len(manifest), len(manifest.classes)), bool)
    for row, video in enumerate(manifest.videos):
        labels[row, [label.number for label in video.labels]] = True
    return labels


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
        evaluated: The `Scores`, once `evaluate` is through.
    """

    part = WHOLE

    def __init__(self, scores=(), seconds=0.0):
        super().__init__()
        self.evaluated = None
        self._seconds, self._start = seconds, time.monotonic()
        self._parts = [scores] if len(scores) else []
        self._views_and_slots, self._seen = (1, 1), 0

    @property
    def scores(self):
        """float32 [views, classes], the scores of the first views; () where there are none."""
        self._parts = [np.concatenate(self._parts)] if self._parts else []
        return self._parts[0] if self._parts else ()

    @property
    def count(self):
        """How many views have scores; what fills up the last batch counts, too."""
        return sum(map(len, self._parts))

    @property
    def seconds(self):
        """Seconds of the evaluation until now."""
        return self._seconds + time.monotonic() - self._start

    def begin(self, views, slots):
        """Says how many views each video has, and how many outputs, of which those of the views come first.

        Returns:
            How many views have scores. Those of a video that is not complete are forgotten.
        """
        self._views_and_slots, self._seen = (views, slots), 0
        kept = self.scores[: self.count // views * views]
        self._parts = [kept] if len(kept) else []
        return self.count

    def complete(self):
        """Is called when the scores of this worker's part are there."""

    def joined(self, values):
        """Returns the values of all videos; `values` has those of this worker's part."""
        return values

    def on_predict_batch_end(self, batch, logs=None):
        """Adds the scores of a batch, without those of what fills up the batches of a video."""
        scores, (views, slots) = np.asarray(logs["outputs"]), self._views_and_slots
        self._parts.append(scores[(self._seen + np.arange(len(scores))) % slots < views])
        self._seen += len(scores)


class _Bar(keras.callbacks.Callback):
    """A line with the videos that are done, how many a second, and the time left.

    Args:
        progress: The `Progress` of the evaluation, which hears of a batch before the bar does.
        videos: How many videos there are.
        count: Views of each.
        verbose: Whether there is such a line.
    """

    def __init__(self, progress, videos, count, verbose):
        super().__init__()
        self._progress, self._count = progress, count
        done, of = progress.count // count, {"total": videos, "unit": " videos"}
        self._bar = tqdm.tqdm(initial=done, desc="evaluating", ncols=79, disable=not verbose, **of)

    def on_predict_batch_end(self, batch, logs=None):
        """Shows the videos of which all views are done; what fills up the last batch is none."""
        self._bar.update(min(self._progress.count // self._count, self._bar.total) - self._bar.n)

    def close(self):
        """Ends the line."""
        self._bar.close()


def evaluate(model, source, config, account, verbose=True, progress=None):
    """Evaluates a model on all videos of a source.

    The scores do not depend on the number of devices, nor on the size of a batch, but for rounding.

    Args:
        model: As for `video_scores`, as are all others.
        source: The source of the videos.
        config: The `Config` of the run.
        account: The `Account` of the source's manifest.
        verbose: Whether to show progress.
        progress: As for `video_scores`.

    Returns:
        What `measured` returns.

    Raises:
        FloatingPointError: A logit is infinite or NaN.
        tf.errors.OpError: More videos are bad than the account allows, or no video can be read.
    """
    progress = progress or Progress()
    progress.evaluated = video_scores(model, source, config, account, verbose, progress)
    return measured(progress.evaluated, config, progress.seconds)


def measured(scores, config, seconds):
    """Returns what results.json says of an evaluation that took some seconds.

    Returns:
        A dictionary: what `train.scoring.scores.summary` returns, the count of `clips` and `crops` per video,
        the `protocol`, which is all evaluation fields of the configuration by name, and `seconds_per_video`,
        decoding included.
    """
    protocol = [field.name for field in dataclasses.fields(EvaluationFields)]
    return summary(scores) | {
        "clips": config.test_clips,
        "crops": config.test_crops,
        "protocol": {name: getattr(config, name) for name in protocol},
        "seconds_per_video": seconds / len(scores.paths),
    }
