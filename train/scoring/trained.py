"""Trained models of any form, with the configuration by which they are evaluated and their classes."""

import dataclasses
import os
from typing import NamedTuple

import keras
import tensorflow as tf

import keras_nonlocal  # noqa: F401 - It registers the layers of model.keras.
from pipelines.dataset import iterators_ended_on_error
from savedmodels.loading import check_files, check_fingerprint, one_line, read_serving, serving_path
from train.command_line import config_from_flags, given_values, read_config
from train.config.fields import as_flags
from train.network import build_network
from train.scoring.evaluation import video_scores
from train.scoring.views import check_views, model_of_views, serving_of

_FINISHED = "--workdir=DIR of a run that has ended"
# What may differ from the training, beside what concerns the files of the data.
_MAY_DIFFER = (
    *("batch_size", "test_clips", "test_crops", "test_size", "test_short_side", "test_crop_places"),
    *("test_starts", "test_pooling", "sampling", "window_frames", "stride", "short_videos", "fps", "weights"),
)


class Trained(NamedTuple):
    """A trained model.

    Attributes:
        model: Keras model from clips as `train.scoring.views.evaluation_clips` makes them for `config` to
            logits, or to other numbers of which the softmax is the same.
        config: The `Config` by which it is evaluated.
        classes: The names of its classes, in the order of the logits.
        path: What it was read from.
    """

    model: object
    config: object
    classes: tuple
    path: str


def evaluation_config(flag_values, needed=()):
    """Returns the `Config` by which flags and the run in --workdir, if there is one, say how to evaluate.

    Raises:
        FileNotFoundError: --workdir has no run.
        ValueError: A flag has a wrong value, is needed and missing, or is another one than that of the
            run's training.
    """
    workdir, given = flag_values["workdir"].value, given_values(flag_values)
    if not workdir:
        return config_from_flags(flag_values, needed)
    run = read_config(workdir)
    for field in dataclasses.fields(run):
        name, theirs = field.name, getattr(run, field.name)
        is_of_training = field.metadata["heading"] != "data" and name not in _MAY_DIFFER
        if is_of_training and given.get(name, theirs) != theirs:
            raise ValueError(
                f"Expected {' '.join(as_flags(field, theirs))}, as in the training in {workdir}. "
                f"Received {' '.join(as_flags(field, given[name]))}. Try: leave out --{name}."
            )
    # What the training started from is not to be evaluated.
    return dataclasses.replace(run, **{"weights": ""} | given | {"workdir": workdir})


def read_trained(config, savedmodel="", classes=()):
    """Returns the `Trained` model: of --savedmodel, else of --weights, else of the run in --workdir.

    A model.keras names the layers that it is made of, and a SavedModel is a program: loading either one runs
    what is in it.

    Args:
        config: A `Config`, as `evaluation_config` returns it.
        savedmodel: Directory of a SavedModel that `savedmodels.export` wrote.
        classes: The names of the classes of weights, if --workdir does not tell them.

    Raises:
        FileNotFoundError: There is no finished run.
        ValueError: A file is damaged, or of another network; a block refuses the map of the views; or a
            SavedModel takes other views.
    """
    if savedmodel:
        return _exported(config, savedmodel)
    check_views(config)
    strategy = tf.distribute.MirroredStrategy()
    path, serving = (os.path.join(config.workdir, name) for name in ("model.keras", "serving.json"))
    if config.workdir and os.path.isfile(serving):
        classes = read_serving(serving)["classes"]
    if config.weights:
        if not classes:
            raise ValueError(
                f"Expected the names of the classes of {config.weights}. Received weights alone. "
                f"Try: {_FINISHED} beside --weights."
            )
        keras.config.set_dtype_policy(config.dtype_policy)
        with strategy.scope():
            model = build_network(config, len(classes))
        return Trained(model_of_views(model, config), config, tuple(classes), config.weights)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"Expected a trained model at {path!r}. Received no such file. Try: {_FINISHED}."
        )
    with strategy.scope(), one_line(path, "the sound model.keras of a run", _FINISHED):
        model = keras.saving.load_model(path, compile=False)
        if model.output_shape[-1] != len(classes):
            raise ValueError(f"{model.output_shape[-1]} classes, and {len(classes)} in {serving}")
    return Trained(model_of_views(model, config), config, tuple(classes), path)


@iterators_ended_on_error()
def scores_of(trained, source, account, verbose=True, progress=None):
    """Returns the `Scores` of the videos of a source, see `train.scoring.evaluation.video_scores`.

    Raises:
        FloatingPointError: A logit is infinite or NaN.
        TooManyBadVideos: More videos are bad than the account allows, or all are.
    """
    try:
        return video_scores(trained.model, source, trained.config, account, verbose, progress)
    except tf.errors.OpError:
        account.check()  # If bad videos stopped the data, this says it better.
        raise


def _exported(config, directory):
    remedy = "a directory that python -m savedmodels.export wrote"
    if not os.path.isfile(os.path.join(directory, "saved_model.pb")):
        raise FileNotFoundError(
            f"Expected a SavedModel in {directory!r}. Received no saved_model.pb there. Try: {remedy}."
        )
    check_files(directory)
    with one_line(directory, "a sound SavedModel", remedy):
        check_fingerprint(directory)
        loaded = tf.saved_model.load(directory)
        signature = loaded.signatures["serving_default"]
        frames = signature.structured_input_signature[1]["clip"].shape[1]
        outputs = signature(tf.zeros((1, frames, 8, 8, 3), tf.uint8))
        classes = tuple(name.decode() for name in outputs["classes"].numpy()[0])
    if frames != config.clip_frames:
        raise ValueError(
            f"Expected a SavedModel of --clip_frames={config.clip_frames}. Received {directory!r}, which "
            f"takes {frames} frames. Try: --workdir of the run that it was exported from."
        )
    # Sigmoids may add up to 1, too, and are not told from a softmax then.
    if config.activation == "softmax" and abs(outputs["probabilities"].numpy().sum() - 1) > 1e-3:
        raise ValueError(
            f"Expected probabilities that add up to 1 of {directory!r}. Received those of a SavedModel for "
            "several labels a video. Try: --multi_label."
        )
    serving = _serving(config, directory, classes)
    _check_views(config, serving, directory)
    whole = config.test_crop_places == "whole"
    clip = keras.Input((frames, *(2 * [None if whole else config.test_size]), 3))
    model = keras.Model(clip, _Logits(loaded, serving)(clip))
    # The pixels remain as they are: the SavedModel itself normalises them.
    plain = dataclasses.replace(config, mean=(0.0,) * 3, std=(1.0,) * 3)
    return Trained(model, plain, classes, directory)


def _serving(config, directory, classes):
    """Returns what serving.json says of a SavedModel; one of an older version has it in its run alone."""
    expected = serving_of(config, classes)
    of_run = os.path.join(config.workdir, "serving.json") if config.workdir else ""
    path = next(filter(os.path.isfile, (serving_path(directory), of_run)), None)
    if path is None:
        return expected
    found = read_serving(path)
    before = {"short_side": found["size"], "whole": False, "window": 0, "activation": "softmax"}
    found = before | {name: found[name] for name in expected if name in found}
    return found | {"short_side": found["short_side"] or found["size"]}


def _check_views(config, serving, directory):
    """Raises ValueError unless a SavedModel takes the views of a configuration as they are.

    It cuts its own view out of what it gets, so that it has to get what it leaves as it is.
    """
    wanted = serving_of(config, serving["classes"])
    side = "short_side" if serving["whole"] else "size"
    of_export = serving[side], serving["window"], serving["activation"]
    side = "short_side" if wanted["whole"] else "size"
    of_views = wanted[side], wanted["window"], wanted["activation"]
    if of_export != of_views or (wanted["whole"] and not serving["whole"]):
        raise ValueError(
            f"Expected a SavedModel of the views that the flags describe: {_in_words(*of_views, wanted)}. "
            f"Received {directory!r}, of {_in_words(*of_export, serving)}. Try: leave out --test_size, "
            "--test_short_side, --test_crop_places and --test_pooling, or export that run."
        )


def _in_words(side, window, activation, serving):
    what = "whole frames of a short side of" if serving["whole"] else "squares of"
    windows = f", classified in windows of {window}x{window} of the last map" if window else ""
    return f"{what} {side} pixels{windows}, with {activation}"


class _Logits(keras.layers.Layer):
    """The logits of what a SavedModel gives for views: their softmax or sigmoid is its probabilities.

    The SavedModel scales short sides and cuts the centre. A border of its width lets it cut the view itself.
    """

    def __init__(self, loaded, serving):
        super().__init__(dtype="float32")
        self._loaded, self._serving = loaded, serving

    def call(self, clips):
        """Returns float32 [B, K] for pixels [B, T, H, W, 3], in whole grey levels."""
        border = 0 if self._serving["whole"] else self._serving["short_side"] - self._serving["size"]
        sides = [border // 2, border - border // 2]
        clips = tf.pad(tf.cast(clips, tf.uint8), [[0, 0], [0, 0], sides, sides, [0, 0]])
        probabilities = self._loaded.signatures["serving_default"](clip=clips)["probabilities"]
        logits = tf.math.log(tf.maximum(probabilities, 1e-37))
        if self._serving["activation"] == "sigmoid":
            logits -= tf.math.log(tf.maximum(1 - probabilities, 2**-24))
        return logits

    def compute_output_shape(self, shape):
        """Returns (B, K)."""
        return shape[0], len(self._serving["classes"])
