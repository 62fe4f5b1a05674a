"""Charades from end to end on videos made here: import, training, mAP, evaluation, prediction and export."""

import csv
import dataclasses
import json
import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import small_run
import test_train_resume
from absl import flags
from pages import Page, complaints

from pipelines import synthetic
from pipelines.account import Account
from pipelines.manifest import read_manifest, write_manifest
from pipelines.manifest.command import main as manifest_main
from savedmodels.export import export
from train import evaluate as evaluation
from train import predict as prediction
from train.command_line import read_config
from train.config import Config
from train.config.fields import parse
from train.data import open_data, open_split
from train.loop import fitting
from train.loop import run as loop
from train.loop.losses import loss_of
from train.reporting import write_report
from train.reporting.shown_clips import training_clips
from train.scoring.evaluation import true_labels
from train.scoring.scores import Scores, summary
from train.scoring.trained import read_trained
from train.scoring.views import evaluation_clips

FLAGS = {
    **{"train_annotations": "all.jsonl#train", "val_annotations": "all.jsonl#test", "multi_label": True},
    **{"clip_frames": 2, "window_frames": 4, "short_side": 0, "crop": 16, "test_size": 16, "depth": 18},
    **{"test_clips": 2, "test_crops": 3, "batch_size": 4, "epochs": 3, "warmup_epochs": 0.0},
    **{"learning_rate": 0.1, "dropout": 0.1, "blocks": (), "keep_epoch": "best"},
}
# What has to go with several labels.
EVERYTHING = {
    "mixup": 0.2,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
    "ema": 0.5,
    "accumulation": 2,
    "repeats": 2,
}


def write_charades(folder, train=12, test=8):
    """Writes videos of 2 s: red on the left is c000, blue on the right c001, and white, for 1 s, c002."""
    (folder / "Charades_v1_480").mkdir(parents=True)
    for split, count in (("train", train), ("test", test)):
        rows = ["id,subject,actions,length"]
        for number in range(count):
            frames, actions = np.full((20, 24, 32, 3), 40 + 4 * number, np.uint8), []
            if number % 2:
                frames[:, 4:20, :14] = (220, 40, 40)
                actions.append("c000 0.00 2.10")
            if number % 3:
                frames[:, 4:20, 18:] = (40, 40, 220)
                actions.append("c001 0.00 2.10")
            if number % 4 == 1:
                frames[10:] = 250
                actions.append("c002 1.00 2.00")
            synthetic.write_video(str(folder / "Charades_v1_480" / f"{split}{number}.mp4"), frames, 10)
            rows.append(f"{split}{number},S,{';'.join(actions)},2.0")
        (folder / f"Charades_v1_{split}.csv").write_text("\n".join(rows) + "\n")
    arguments = ["--format=charades", f"--data_dir={folder}", "--split=train", "--split=test"]
    assert manifest_main(["import", *arguments, f"--output={folder / 'all.jsonl'}"]) == 0


def tiny_network(config, num_classes):
    """A network that sees which colours are where."""
    clip = keras.Input((config.clip_frames, None, None, 3))
    x = keras.layers.Conv3D(8, (1, 8, 8), (1, 8, 8))(clip)
    x = keras.layers.Flatten()(keras.layers.GlobalMaxPooling3D(keepdims=True)(x))
    x = keras.layers.Dropout(config.dropout)(x)
    return keras.Model(clip, keras.layers.Dense(num_classes, dtype="float32")(x), name="tiny")


@pytest.fixture(scope="module")
def charades(tmp_path_factory):
    folder = tmp_path_factory.mktemp("charades")
    write_charades(folder)
    return folder


@pytest.fixture(scope="module")
def run(charades, tmp_path_factory):
    """Function (name, flags) -> the workdir of a run of a tiny network."""
    directory = tmp_path_factory.mktemp("runs")

    def run(name, **changes):
        config = Config(**FLAGS | {"data_dir": str(charades), "workdir": str(directory / name)} | changes)
        try:
            loop.train_and_evaluate(config, open_data(config))
        finally:
            keras.config.set_dtype_policy("float32")
        return directory / name

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "build_network", tiny_network)
        yield run


@pytest.fixture(scope="module")
def trained(run):
    """The workdir of a run with everything that goes with several labels, and its `Scores`."""
    workdir = run("trained", **EVERYTHING)
    return SimpleNamespace(workdir=workdir, scores=Scores.load(workdir / "scores_val.npz"))


def ran(program, *arguments):
    """Runs a program in this process."""
    flag_values = flags.FlagValues()
    program.define(flag_values)
    program.main(parse(["program", *map(str, arguments)], flag_values), flag_values)


def charades_map(scores, labels):
    """The data set's program, as ports print it: videos without a label come last, in every class."""
    scores = np.where(labels.any(axis=1, keepdims=True), scores, -np.inf)
    found = []
    for column, is_positive in zip(scores.T, labels.T, strict=True):
        hits = is_positive[np.argsort(-column, kind="stable")]
        if hits.any():
            found.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())
    return np.mean(found)


def test_a_run_has_map_wherever_others_have_top1(trained, charades):
    with open(trained.workdir / "curves.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "steps", "loss", "learning_rate", "val_loss", "val_mAP", "seconds"]
    assert all(0 < float(row["val_mAP"]) <= 1 and 0 < float(row["val_loss"]) < 3 for row in rows)
    results = json.loads((trained.workdir / "results.json").read_text())
    best = [max(range(3), key=lambda k: (float(rows[k]["val_mAP"]), -float(rows[k]["val_loss"])))]
    assert [results["epoch"] - 1] == best
    scores, labels = trained.scores, true_labels(read_manifest(charades / "all.jsonl", "test"))
    np.testing.assert_array_equal(scores.labels, labels)
    assert results["mAP"] == pytest.approx(charades_map(scores.logits, labels))
    probabilities = 1 / (1 + np.exp(-scores.logits.astype(np.float64)))
    losses = -np.log(np.where(labels, probabilities, 1 - probabilities))
    assert results["loss"] == pytest.approx(losses.mean())
    assert (results["videos"], results["classes_with_videos"], results["videos_without_label"]) == (8, 3, 2)
    assert json.loads((trained.workdir / "serving.json").read_text())["activation"] == "sigmoid"
    tags = {tag for _, tag, _ in test_train_resume.curves(trained.workdir)}
    assert "epoch_mAP" in tags and not {"epoch_top1", "confusion_matrix"} & tags


def test_its_report_tells_average_precisions(trained):
    page = Page(write_report(trained.workdir))
    assert complaints(page) == []
    results = json.loads((trained.workdir / "results.json").read_text())
    assert f"mAP {results['mAP']:.1%}".replace("%", " %") in page.text
    assert "the mean over 3 classes that have videos" in page.text and "Confusion matrix" not in page.text
    assert "Mean average precision by epoch" in page.text and "The best validation is" in page.text
    rows = next(table for table in page.tables if table[0] == ["class", "videos", "average precision"])[1:]
    assert len(rows) == 157 and {row[0] for row in rows[:3]} == {"c000", "c001", "c002"}
    assert [row[1:] for row in rows[3:5]] == [["0", "-"]] * 2
    shown = page.text.partition("Worst mistakes")[2]
    logits, labels = trained.scores.logits, trained.scores.labels
    least = np.where(labels, logits, np.inf).min(axis=1)
    wrong = labels.any(axis=1) & (least < np.where(labels, -np.inf, logits).max(axis=1))
    for path, is_wrong in zip(trained.scores.paths, wrong, strict=True):
        assert not is_wrong or path.rpartition("/")[2] in shown
    assert "test0.mp4" not in shown  # It has no label.


def test_evaluation_prediction_and_export_give_the_same_probabilities(trained, charades, tmp_path, capsys):
    workdir, expected = trained.workdir, trained.scores.probabilities
    before = json.loads((workdir / "results.json").read_text())
    assert np.abs(expected.sum(axis=1) - 1).min() > 0.1  # They are no softmax.
    assert export(str(workdir), str(tmp_path / "served")) <= 1e-5
    for name, more in {"run": (), "served": (f"--savedmodel={tmp_path / 'served'}",)}.items():
        ran(evaluation, f"--workdir={workdir}", f"--output={tmp_path / name}-scores", *more)
        assert f"mAP {before['mAP']:.1%} over 3 classes on 8 videos" in capsys.readouterr().out
        found = Scores.load(tmp_path / f"{name}-scores" / "scores.npz")
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
        results = json.loads((tmp_path / f"{name}-scores" / "results.json").read_text())
        assert results["mAP"] == pytest.approx(before["mAP"])
        assert results["loss"] == pytest.approx(before["loss"], abs=1e-5)
        with pytest.raises(SystemExit) as ended:
            ran(
                prediction,
                f"--workdir={workdir}",
                f"--video={charades / 'Charades_v1_480'}",
                f"--video={tmp_path / 'none.mp4'}",
                "--json=-",
                "--top=157",
                *more,
            )
        assert ended.value.code == 2
        rows = json.loads(capsys.readouterr().out)["videos"]
        for path, row in zip(trained.scores.paths, expected, strict=True):
            of_class = {place["class"]: place["probability"] for place in rows[path]}
            np.testing.assert_allclose([of_class[c] for c in trained.scores.classes], row, atol=1e-6)
    config = dataclasses.replace(read_config(workdir), multi_label=False)
    with pytest.raises(ValueError, match=r"Expected .*Received .*Try: "):
        read_trained(config, str(tmp_path / "served"))


@pytest.mark.parametrize("pooling", [pytest.param("probabilities", marks=pytest.mark.long), "max"])
def test_views_are_pooled_by_their_sigmoids(pooling, trained, charades, tmp_path, capsys):
    flag = f"--test_pooling={pooling}"
    config = dataclasses.replace(read_config(trained.workdir), weights="", test_pooling=pooling)
    model, source = read_trained(config).model, open_split(config, config.val_annotations, multi_label=True)
    views = evaluation_clips(config, source, Account(source.manifest, 0.0))
    logits = model.predict(views.map(lambda clips, labels, weights: clips), verbose=0)
    count = len(source.manifest.videos)
    sigmoids = 1 / (1 + np.exp(-logits[: count * 6].reshape(count, 6, -1).astype(np.float64)))
    expected = sigmoids.mean(axis=1) if pooling == "probabilities" else sigmoids.max(axis=1)
    export(str(trained.workdir), str(tmp_path / "served"))
    for name, more in {"run": (), "served": (f"--savedmodel={tmp_path / 'served'}",)}.items():
        ran(evaluation, f"--workdir={trained.workdir}", f"--output={tmp_path / name}-scores", flag, *more)
        found = Scores.load(tmp_path / f"{name}-scores" / "scores.npz")
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
        video = f"--video={charades / 'Charades_v1_480'}"
        ran(prediction, f"--workdir={trained.workdir}", video, "--json=-", "--top=157", flag, *more)
        rows = json.loads(capsys.readouterr().out.partition("{")[2].join(("{", "")))["videos"]
        for path, row in zip(found.paths, expected, strict=True):
            of_class = {place["class"]: place["probability"] for place in rows[path]}
            np.testing.assert_allclose([of_class[c] for c in found.classes], row, atol=1e-5)


def test_perfect_random_and_empty_predictions(charades):
    manifest = read_manifest(charades / "all.jsonl", "train")
    labels = np.tile(true_labels(manifest), (4, 1))
    paths = tuple(map(str, range(len(labels))))

    def found(logits):
        return summary(Scores(logits, labels, paths, manifest.classes))

    assert found(np.where(labels, 1.0, -1.0))["mAP"] == 1
    counts = labels[:, :3].sum(axis=0)
    having = int(labels.any(axis=1).sum())
    assert found(np.zeros(labels.shape))["mAP"] == pytest.approx((counts / having).mean())
    # The expectation over all orders, by the harmonic number of the count of videos.
    harmonic = sum(1 / rank for rank in range(1, having + 1)) / having
    expected = np.mean([harmonic + (n - 1) / (having - 1) * (1 - harmonic) for n in counts])
    draws = np.random.default_rng(0).normal(size=(200, *labels.shape))
    assert np.mean([found(draw)["mAP"] for draw in draws]) == pytest.approx(expected, abs=0.01)


def test_a_clip_has_the_labels_that_are_to_be_seen_in_it(charades):
    config = Config(**FLAGS | {"data_dir": str(charades), "workdir": "run", "batch_size": 12})
    data = open_data(config)
    clips = training_clips(config, data, 12, Account(data.train.manifest))
    rows, partly = {video.path: video.labels for video in data.train.manifest.videos}, 0
    for clip in clips:
        expected = {
            label.number
            for label in rows[clip.path]
            if any(label.start <= second + 1e-3 and second < label.end for second in clip.seconds)
        }
        assert {number for number, _ in clip.labels} == expected
        partly += len(expected) < len(rows[clip.path])
    assert 0 < partly < 3  # Of three videos with c002, some show it in the clip.


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_mean_over_classes_of_binary_cross_entropies(smoothing):
    config = Config(multi_label=True, label_smoothing=smoothing)
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 5)) * 20, (rng.random((3, 5)) < 0.4).astype(np.float32)
    total = 0
    for row, truths in zip(logits, labels, strict=True):
        for logit, truth in zip(row, truths, strict=True):
            wanted = (1 - smoothing) * truth + smoothing / 2
            total += wanted * math.log1p(math.exp(-logit)) + (1 - wanted) * math.log1p(math.exp(logit))
    found = loss_of(config)(labels, logits.astype(np.float32))
    assert float(found) == pytest.approx(total / 15, rel=1e-5)


@pytest.mark.long
def test_a_run_that_dies_goes_on_to_the_same_end(run, trained):
    with test_train_resume.dying_in(fitting._Saves, "on_train_batch_end", 4):
        run("died", **EVERYTHING, checkpoint_steps=1)
    workdir = run("died", **EVERYTHING, checkpoint_steps=1)
    for one, other in zip(*map(test_train_resume.weights_of, (workdir, trained.workdir)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert test_train_resume.results_of(workdir) == test_train_resume.results_of(trained.workdir)
    assert test_train_resume.rows_of(workdir) == test_train_resume.rows_of(trained.workdir)


def test_without_the_flag_the_error_names_it(charades):
    config = Config(**FLAGS | {"data_dir": str(charades), "workdir": "run", "multi_label": False})
    with pytest.raises(ValueError, match=r"Received several, none, or time spans\. Try: --multi_label"):
        open_data(config)


def test_a_split_without_any_label_is_refused(charades):
    whole = read_manifest(charades / "all.jsonl")
    for lacking in ("train", "test"):
        rows = tuple(v._replace(labels=() if v.split == lacking else v.labels) for v in whole.videos)
        write_manifest(charades / f"{lacking}.jsonl", dataclasses.replace(whole, videos=rows))
        splits = {"train_annotations": f"{lacking}.jsonl#train", "val_annotations": f"{lacking}.jsonl#test"}
        with pytest.raises(ValueError, match=r"Expected videos with labels .*Received \d+ without.*Try"):
            open_data(Config(**FLAGS | splits | {"data_dir": str(charades), "workdir": "run"}))


def test_one_label_a_video_trains_sigmoids_too_in_float16_and_patience_goes_by_map(
    charades, run, tmp_path, capsys
):
    whole = read_manifest(charades / "all.jsonl")
    rows = tuple(
        video._replace(labels=tuple(label._replace(start=None, end=None) for label in video.labels[:1]))
        for video in whole.videos
        if video.labels
    )
    write_manifest(charades / "one.jsonl", dataclasses.replace(whole, videos=rows))
    splits = {"train_annotations": "one.jsonl#train", "val_annotations": "one.jsonl#test"}
    # At such a rate nothing changes, so that no epoch is better than the first one.
    workdir = run("one", **splits, learning_rate=1e-30, patience_epochs=1, dtype_policy="mixed_float16")
    said = capsys.readouterr().out
    assert "training has ended: no better mAP in 1 epochs; the weights are those of epoch 1" in said
    assert "val_mAP" in said and "top1" not in said
    assert json.loads((workdir / "results.json").read_text())["ended_by"] == "patience_epochs"
    scores = Scores.load(workdir / "scores_val.npz")
    assert not read_manifest(charades / "one.jsonl").multi_label
    assert scores.multi_label and (scores.labels.sum(axis=1) == 1).all()
    ran(evaluation, f"--workdir={workdir}", f"--output={tmp_path / 'o'}")
    assert Scores.load(tmp_path / "o" / "scores.npz").multi_label


def test_a_flag_of_the_training_may_not_differ_in_evaluation(trained):
    with pytest.raises(SystemExit, match=r"Expected --multi_label=True, as in the training.*Try: leave out"):
        ran(evaluation, f"--workdir={trained.workdir}", "--nomulti_label")


DEVICES = """
import dataclasses, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, "tests")
from test_train_several_labels import Config, loop, open_data, tiny_network
from train.command_line import read_config
loop.build_network = tiny_network
for devices in (1, 2):
    config = dataclasses.replace(read_config(sys.argv[1]), workdir=f"{sys.argv[2]}/{devices}", dropout=0.0)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(devices)])
    loop.train_and_evaluate(config, open_data(config), strategy)
"""


@pytest.mark.long
def test_two_devices_do_what_one_does(run, tmp_path):
    workdir = run("plain")
    process = small_run.run_python("-c", DEVICES, workdir, tmp_path)
    assert process.returncode == 0, process.stderr[-3000:]
    one, two = (Scores.load(tmp_path / name / "scores_val.npz") for name in "12")
    np.testing.assert_allclose(one.logits, two.logits, atol=1e-4)


def test_records_have_the_labels_of_their_manifest(charades, tmp_path):
    from pipelines.records.command import main as records

    assert not records([f"--manifest={charades / 'all.jsonl'}", f"--output={tmp_path / 'r'}", "--split=test"])
    config = Config(**FLAGS | {"data_dir": str(charades), "workdir": "run"})
    of_records = open_split(config, str(tmp_path / "r")).manifest
    of_files = open_split(config, "all.jsonl#test").manifest
    assert [video.labels for video in of_records.videos] == [video.labels for video in of_files.videos]
