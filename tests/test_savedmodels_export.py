"""The SavedModel against the live model, in processes that have no Keras."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.augmenting.resizing import scale_short_side, square_views
from pipelines.dataset.clip_format import normalise
from savedmodels.export import export, main
from savedmodels.freeze import freeze
from savedmodels.loading import read_serving, serving_path
from savedmodels.signatures import classify, preprocess


def with_field(name, value):
    """Returns the function that sets one field of the JSON in some bytes."""
    return lambda data: json.dumps(json.loads(data) | {name: value}).encode()


@pytest.fixture(scope="module")
def exported(finished_run, tmp_path_factory):
    directory = tmp_path_factory.mktemp("served") / "model" / "1"
    assert export(str(finished_run.workdir), str(directory)) <= 1e-5
    return directory


@pytest.fixture(scope="module")
def serving(finished_run):
    return json.loads((finished_run.workdir / "serving.json").read_text())


def clips(*shape):
    return np.random.default_rng(0).integers(256, size=(*shape, 3)).astype(np.uint8)


def test_saved_model_cli_gives_the_live_probabilities(finished_run, exported, serving, tmp_path):
    clip = clips(3, 4, 50, 40)
    np.save(tmp_path / "clip.npy", clip)
    process = subprocess.run(
        [Path(sys.executable).with_name("saved_model_cli"), "run", "--dir", exported, "--tag_set", "serve"]
        + ["--signature_def", "serving_default", "--inputs", f"clip={tmp_path / 'clip.npy'}"]
        + ["--outdir", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "probabilities" in process.stdout
    model = keras.saving.load_model(finished_run.workdir / "model.keras")
    logits = model.predict(preprocess(clip, serving["size"], serving["mean"], serving["std"]), verbose=0)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.load(tmp_path / "probabilities.npy"), expected, atol=1e-5)
    assert all(process.stdout.count(f"b'{name}'") == 3 for name in serving["classes"])


def test_signature(exported, serving):
    signature = tf.saved_model.load(str(exported)).signatures["serving_default"]
    (argument,) = signature.structured_input_signature[1].values()
    assert (argument.name, argument.dtype, argument.shape.as_list()) == (
        "clip",
        tf.uint8,
        [None, 4, None, None, 3],
    )
    one = signature(tf.constant(clips(1, 4, 33, 70)))
    assert one["probabilities"].shape == one["classes"].shape == (1, len(serving["classes"]))
    assert [name.decode() for name in one["classes"].numpy()[0]] == serving["classes"]
    np.testing.assert_allclose(tf.reduce_sum(one["probabilities"]), 1, rtol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 96), (80, 40), (31, 47), (7, 5)])
def test_preprocessing_centres_scales_and_normalises(height, width):
    # A ramp along the long side, linear in the position: its middle stays where it is.
    ramp = np.linspace(0, 255, max(height, width)).round().astype(np.uint8)
    frame = np.broadcast_to(ramp if width >= height else ramp[:, None], (height, width))
    clip = np.broadcast_to(frame[None, None, ..., None], (1, 2, height, width, 3))
    out = preprocess(tf.constant(clip), 32, (127.5, 127.5, 0.0), (1.0, 2.0, 1.0)).numpy()
    assert out.shape == (1, 2, 32, 32, 3)
    np.testing.assert_allclose(out[..., 0], 2 * out[..., 1], atol=1e-4)
    np.testing.assert_allclose(out[..., 0] + 127.5, out[..., 2], atol=1e-3)
    assert abs(out[..., 0].mean()) < 4  # Half a pixel of the scaled ramp, where the free space is odd.
    assert np.ptp(out[..., 0]) < 255 * min(height, width) / max(height, width) + 30


@pytest.mark.parametrize("shape", [(1, 8, 40, 40, 3), (2, 2, 40, 40, 3), (1, 0, 40, 40, 3), (1, 4, 0, 9, 3)])
def test_a_clip_of_another_shape_is_refused_by_name(exported, shape):
    signature = tf.saved_model.load(str(exported)).signatures["serving_default"]
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"Expected clips \[B, 4, H, W, 3\].*Received .*Try: 4"
    ):
        signature(tf.zeros(shape, tf.uint8))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 47), (90, 61), (40, 300), (31, 17)])
def test_a_server_sees_the_pixels_of_an_evaluation(height, width):
    clip, (mean, std) = clips(2, 4, height, width), ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    served = preprocess(tf.constant(clip), 32, mean, std)
    evaluated = normalise(square_views(tf.constant(clip), 32, crops=1)[:, :, 0], mean, std)
    np.testing.assert_array_equal(served, evaluated)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (32, 47), (90, 61), (40, 300), (31, 17)])
def test_a_server_cuts_the_middle_of_a_larger_short_side_or_nothing(height, width):
    clip, (mean, std) = tf.constant(clips(2, 4, height, width)), ((100.0, 110.0, 120.0), (50.0, 60.0, 70.0))
    served = preprocess(clip, 32, mean, std, short_side=40)
    evaluated = normalise(square_views(clip, 32, crops=1, short_side=40)[:, :, 0], mean, std)
    np.testing.assert_array_equal(served, evaluated)
    whole = preprocess(clip, 32, mean, std, short_side=40, whole=True)
    np.testing.assert_array_equal(whole, normalise(scale_short_side(clip, 40), mean, std))


def test_a_whole_clip_that_would_become_too_large_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="pixels of a scaled frame are above the limit"):
        preprocess(np.zeros((1, 4, 1, 100_000, 3), np.uint8), 32, (0.0,) * 3, (1.0,) * 3, whole=True)


def test_an_export_has_its_serving_json_and_a_frozen_one_too(finished_run, exported, tmp_path):
    freeze(str(exported), str(tmp_path / "frozen"))
    said = read_serving(serving_path(exported))
    assert said == json.loads((finished_run.workdir / "serving.json").read_text())
    assert said == read_serving(serving_path(tmp_path / "frozen"))
    views = {"short_side": 32, "whole": False, "window": 0, "activation": "softmax"}
    assert said.items() >= views.items()


def test_a_long_clip_takes_no_more_memory_than_its_square():
    clip = np.zeros((1, 4, 1, 100_000, 3), np.uint8)  # Scaled whole it would have 400 million pixels.
    assert preprocess(tf.constant(clip), 32, (0.0,) * 3, (1.0,) * 3).shape == (1, 4, 32, 32, 3)


def test_export_never_overwrites(finished_run, exported):
    with pytest.raises(FileExistsError, match=r"Expected a new directory.*Received .*Try: --output"):
        export(str(finished_run.workdir), str(exported))


def test_export_names_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected a finished run with model.keras .*Try"):
        export(str(tmp_path), str(tmp_path / "out"))


def test_a_failed_export_leaves_nothing(finished_run, tmp_path):
    for name in ("model.keras", "serving.json"):
        shutil.copy(finished_run.workdir / name, tmp_path)
    serving = json.loads((tmp_path / "serving.json").read_text())
    (tmp_path / "serving.json").write_text(json.dumps(serving | {"mean": [0.0, 0.0, "x"]}))
    with pytest.raises((ValueError, TypeError)):
        export(str(tmp_path), str(tmp_path / "out" / "1"))
    assert not (tmp_path / "out" / "1").exists()
    assert not any((tmp_path / "out").glob("*")) and not any((tmp_path / "out").glob(".*"))


FOREIGN = {  # name: what the file has, what its refusal says
    "no archive": ("model.keras", lambda data: b"no archive", "sound model.keras"),
    "cut off": ("model.keras", lambda data: data[: len(data) // 2], "sound model.keras"),
    "damaged": ("model.keras", lambda data: data[:3000] + bytes(500) + data[3500:], "sound model.keras"),
    "no JSON": ("serving.json", lambda data: b"{", "the JSON of a run"),
    "no text": ("serving.json", lambda data: b"\xff\xfe\x00", "the JSON of a run"),
    "deep": ("serving.json", lambda data: b"[" * 100_000, "the JSON of a run"),
    "a list": ("serving.json", lambda data: b"[]", "Received classes=None, frames=None, size=None"),
    "null": ("serving.json", lambda data: b"null", "Received classes=None, frames=None, size=None"),
    "no frames": ("serving.json", lambda data: data.replace(b'"frames"', b'"f"'), "Received frames=None"),
    "text frames": ("serving.json", with_field("frames", "4\x1b[31m"), r"Received frames='4\x1b[31m'"),
    "many pixels": ("serving.json", with_field("size", 10**9), "Received size=1000000000"),
    "no deviation": ("serving.json", with_field("std", [0, 1, 1]), "Received std=[0, 1, 1]"),
    "NaN": ("serving.json", with_field("mean", [float("nan")] * 3), "Received mean=[nan, nan, nan]"),
    "activation": ("serving.json", with_field("activation", "tanh"), "Received activation='tanh'"),
    "numbers": ("serving.json", with_field("classes", [1, 2]), "Received classes=[1, 2]"),
    "short side": ("serving.json", with_field("short_side", 31), "Received short_side=31"),
    "no whole": ("serving.json", with_field("whole", "yes"), "Received whole='yes'"),
    "window": ("serving.json", with_field("window", -7), "Received window=-7"),
    "two activations": ("serving.json", with_field("activation", ["relu"]), "Received activation=['relu']"),
    "another size": ("serving.json", with_field("classes", ["a"]), "Expected a model of 1 classes"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_damaged_and_foreign_runs_end_in_one_line(case, finished_run, tmp_path, capfd):
    name, change, words = FOREIGN[case]
    for each in ("model.keras", "serving.json"):
        shutil.copy(finished_run.workdir / each, tmp_path)
    (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))
    check_refusal(tmp_path, words, capfd)


def check_refusal(workdir, words, capfd):
    with pytest.raises(SystemExit) as caught:
        main([f"--workdir={workdir}"])
    text = caught.value.code
    assert text.startswith("error: Expected ") and words in text and "Received " in text and "Try: " in text
    assert text.isprintable() and len(text) < 1200
    assert "Traceback" not in capfd.readouterr().err
    assert not list(workdir.glob("savedmodel/*")) + list(workdir.glob("savedmodel/.*"))


@keras.saving.register_keras_serializable("foreign")
class TwoOutputs(keras.layers.Layer):
    def call(self, x):
        return x, x

    def compute_output_shape(self, input_shape):
        return input_shape, input_shape


@pytest.mark.parametrize("kind", ["images", "text", "two outputs", "lambda"])
def test_models_of_other_programs_end_in_one_line(kind, finished_run, tmp_path, capfd):
    shutil.copy(finished_run.workdir / "serving.json", tmp_path)
    count = len(json.loads((tmp_path / "serving.json").read_text())["classes"])
    inputs = keras.Input((32, 32, 3)) if kind != "text" else keras.Input((7,), dtype="string")
    y = keras.layers.Dense(count)(keras.layers.Flatten()(inputs)) if kind != "text" else inputs
    y = TwoOutputs()(y) if kind == "two outputs" else y
    y = keras.layers.Lambda(lambda x: x + 1)(y) if kind == "lambda" else y
    keras.Model(inputs, y).save(tmp_path / "model.keras")
    check_refusal(tmp_path, "model", capfd)


def test_classes_must_fit_the_model():
    model = keras.Sequential([keras.Input((2, 8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match=r"Expected a model of 2 classes.*Received one of 3.*Try"):
        classify(model, {"classes": ["a", "b"], "frames": 2, "size": 8})


def test_a_wrong_answer_is_not_exported(finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr("savedmodels.export._RELOAD", WRONG_RELOAD)
    with pytest.raises(
        RuntimeError, match=re.compile(r"Expected the reloaded .*Received a difference of", re.S)
    ):
        export(str(finished_run.workdir), str(tmp_path / "1"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("raise OSError('a\\nno such op')", "Received no such op"),
        pytest.param("exit(3)", "Received the exit status 3", marks=pytest.mark.long),
    ],
)
def test_what_does_not_load_is_not_exported(finished_run, tmp_path, monkeypatch, script, words):
    monkeypatch.setattr("savedmodels.export._RELOAD", script)
    with pytest.raises(RuntimeError, match=rf"load and run without Keras\. {words}\. Try"):
        export(str(finished_run.workdir), str(tmp_path / "1"))
    assert list(tmp_path.iterdir()) == []


WRONG_RELOAD = """
import sys, numpy as np
np.save(sys.argv[3], np.zeros((2, 8), np.float32))
"""
