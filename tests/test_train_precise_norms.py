"""Precise batch norm: evaluations and saved models have the statistics of many batches; training has not."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_train_resume import curves, dying_in, results_of, rows_of, runs_of, weights_of

from keras_nonlocal import RegionNonLocal, VideoResNet
from train.command_line import read_config
from train.data import open_data
from train.loop import fitting
from train.loop.state import RunState
from train.loop.trainer import Trainer
from train.scoring.evaluation import evaluate

FLAGS = {"precise_batch_norm": 2, "accumulation": 2, "test_clips": 1, "test_crops": 1}


@pytest.fixture(scope="module")
def run(finished_run, tmp_path_factory):
    """Function (name, flags) -> the workdir of a run of a tiny network."""
    with runs_of(finished_run.data, tmp_path_factory.mktemp("precise")) as run:
        yield run


@pytest.fixture(scope="module")
def whole(run):
    """The workdir of a run with precise norms that nothing interrupted."""
    return run("whole", **FLAGS)


def test_every_norm_of_a_network_is_seen_and_no_variable_changes():
    keras.utils.set_random_seed(2)
    blocks = {"res3": {0: RegionNonLocal}}
    network = VideoResNet(
        18, input_shape=(2, None, None, 3), blocks=blocks, num_classes=3, weights=None, dropout=0.5
    )
    model = Trainer(network.inputs, network.outputs)
    clips, states = np.random.default_rng(1).normal(size=(3, 2, 32, 32, 3)), [v.numpy() for v in model.seeds]
    before = [v.numpy() for v in model.variables]
    (means, squares), after = model.statistics((tf.constant(clips, tf.float32), tf.zeros(3)), states)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert len(model.norms) == 21 and len(states) == 1 and (after[0] != states[0]).numpy().any()
    model(clips, training=True)  # The running statistics begin with 0 and 1.
    mean = np.concatenate([norm.moving_mean / 0.1 for norm in model.norms])
    variance = np.concatenate([(norm.moving_variance - 0.9) / 0.1 for norm in model.norms])
    np.testing.assert_allclose(means, mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(squares - means**2, variance, rtol=1e-3, atol=1e-4)


def saved(workdir):
    return keras.saving.load_model(workdir / "model.keras")


def norm_of(model):
    return next(layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))


def test_the_saved_norms_have_the_statistics_of_the_last_batches(whole):
    config, model = read_config(whole), saved(whole)
    norm = norm_of(model)
    before = keras.Model(model.inputs, norm.input)
    data = open_data(config)
    means, squares = [], []
    for clips, _ in data.batches(4).take(2):  # Of six steps.
        for part in np.split(clips.numpy(), 2):
            values = np.asarray(before(part), "float64")
            means.append(values.mean(axis=(0, 1, 2, 3)))
            squares.append((values**2).mean(axis=(0, 1, 2, 3)))
    data.close()
    mean = np.mean(means, axis=0)
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, np.mean(squares, axis=0) - mean**2, rtol=1e-4)


def test_training_is_that_without(run, whole):
    plain = run("plain", **FLAGS | {"precise_batch_norm": 0})
    one, other = saved(plain), saved(whole)
    for left, right in zip(one.trainable_weights, other.trainable_weights, strict=True):
        np.testing.assert_array_equal(left, right)
    assert np.abs(norm_of(one).moving_mean - norm_of(other).moving_mean).max() > 1e-3
    of_training = [{n: row[n] for n in row if not n.startswith("val_")} for row in rows_of(plain)]
    assert of_training == [{n: row[n] for n in row if not n.startswith("val_")} for row in rows_of(whole)]
    assert rows_of(plain) != rows_of(whole)
    assert results_of(plain)["data"] == results_of(whole)["data"]  # The account has what training showed.


# What it stands beside: another epoch than the last, averaged weights, mixed labels, clips of a consensus.
BESIDE = FLAGS | {
    "precise_batch_norm": 3,
    "ema": 0.9,
    "mixup": 0.2,
    "sampling": "dense",
    "window_frames": 8,
    "consensus_clips": 2,
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "keep_epoch": "best",
    "rates": ("biases=2",),
    "steps": 5,
}


@pytest.fixture(scope="module")
def beside(run):
    """The workdir of such a run, of five steps in epochs of three, that nothing interrupted."""
    return run("beside", **BESIDE)


def test_the_evaluation_is_the_best_validation_and_that_of_the_saved_model(beside):
    results, rows = results_of(beside), rows_of(beside)
    assert [row["steps"] for row in rows] == ["3", "5"] and results["ended_by"] == "steps"
    best = rows[results["epoch"] - 1]
    assert (best["steps"], best["val_top1"]) == (str(results["step"]), str(results["top1"]))
    assert float(best["val_loss"]) == results["loss"]
    config, model = read_config(beside), saved(beside)
    model.compile(jit_compile=False)
    data = open_data(config)
    found = evaluate(model, data.val, config, data.accounts["val"], verbose=False)
    data.close()
    assert found["loss"] == pytest.approx(results["loss"], rel=1e-5) and found["top1"] == results["top1"]


INSTANTS = {
    "within the short epoch": (fitting._Saves, "on_train_batch_end", 4, True),
    "after its last step": (fitting._Saves, "on_train_batch_end", 5, True),
    "in the evaluation": (RunState, "save_scores", 1, True),
}


@pytest.mark.parametrize(
    "instant", [pytest.param(i, marks=[] if i.startswith("after") else pytest.mark.long) for i in INSTANTS]
)
def test_a_run_that_dies_goes_on_to_the_same_end(instant, run, beside):
    with dying_in(*INSTANTS[instant]):
        run(instant, **BESIDE)
    workdir = run(instant, **BESIDE)
    for left, right in zip(weights_of(beside), weights_of(workdir), strict=True):
        np.testing.assert_array_equal(left, right)
    assert (results_of(beside), rows_of(beside)) == (results_of(workdir), rows_of(workdir))
    assert curves(beside) == curves(workdir)
