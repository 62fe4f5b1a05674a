"""Evaluation of what was trained: the loop's own numbers, on any split, from any form of a model."""

import csv
import json
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import small_run
import small_trained
from absl import flags

from pipelines.manifest import read_manifest
from savedmodels.signatures import classify
from train import evaluate as program
from train.command_line import read_config
from train.config.fields import parse
from train.loop.run import build_model
from train.scoring import measures
from train.scoring.scores import Scores, ensemble, summary
from train.scoring.trained import read_trained

A, B, C, D, E, F = small_trained.CLASSES


def run(*arguments):
    """Runs the program in this process."""
    flag_values = flags.FlagValues()
    program.define(flag_values)
    program.main(parse(["evaluate", *map(str, arguments)], flag_values), flag_values)


def refused(*arguments):
    """Returns the line with which the program ends."""
    with pytest.raises((SystemExit, ValueError)) as caught:
        run(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix("error: ")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run, its data, and eight videos in the manifests one.jsonl (a label each) and several.jsonl."""
    data = tmp_path_factory.mktemp("data")
    videos = small_trained.write_videos(data / "clips")
    labels = [[(name,)] for name in (A, B, C, D, E, F, A, B)]
    small_trained.write_split(data / "one.jsonl", videos, labels)
    several = [[(A,), (B,)], [(B, 0.0, 0.2)], [], [(C,), (A, 0.1, None)], [(D,)], [], [(A,)], [(B,), (C,)]]
    small_trained.write_split(data / "several.jsonl", videos, several)
    workdir = data.parent / f"{data.name}_run"
    small_trained.write_run(workdir, data_dir=str(data), val_annotations="one.jsonl")
    return SimpleNamespace(data=data, workdir=workdir, videos=videos, several=several)


def test_the_loops_own_evaluation_comes_again(finished_run, tmp_path):
    process = small_run.run_module(
        "train.evaluate", f"--workdir={finished_run.workdir}", f"--output={tmp_path / 'out'}"
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.json", "scores.npz", "classes.csv", "confusion.csv", "confusion.png", "bad_videos.csv"
    }  # fmt: skip
    before, after = (
        json.loads((folder / "results.json").read_text())
        for folder in (finished_run.workdir, tmp_path / "out")
    )
    for name in ("top1", "top5", "mean_class_accuracy", "loss", "calibration_error", "brier"):
        assert after[name] == pytest.approx(before[name], abs=1e-6), name
    assert [after[name] for name in ("videos", "clips", "crops")] == [small_run.GOOD_VAL, 2, 3]
    assert after["data"] == before["data"]["val"]
    theirs, ours = (
        Scores.load(path)
        for path in (finished_run.workdir / "scores_val.npz", tmp_path / "out" / "scores.npz")
    )
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-6)
    assert (ours.paths, ours.classes) == (theirs.paths, theirs.classes)
    assert ours.labels.tolist() == theirs.labels.tolist()
    assert summary(theirs) == {name: before[name] for name in summary(theirs)}
    assert "broken_000000" in (tmp_path / "out" / "bad_videos.csv").read_text()
    assert f"top-1 {after['top1']:.1%}, top-5 {after['top5']:.1%}, mean class" in process.stdout
    assert "1 videos could not be read" in process.stdout and f"wrote {tmp_path / 'out'}" in process.stdout
    assert re.search(r"evaluating: 100%.*9/9 \[.*<.*(videos/s|s/ videos)\]", process.stderr)


def test_other_views_and_another_split(small, tmp_path, capsys):
    small_trained.write_split(
        tmp_path / "some.jsonl", small.videos[:3], [[("z",)], [("x",)], [("z",)]], "xyz"
    )
    words = "Expected labels among the 6 classes of the model.*Received 2 others in .*first 'x'"
    place = f"--data_dir={tmp_path}", "--annotations=some.jsonl"
    assert re.match(words, refused(f"--workdir={small.workdir}", *place))
    # Classes in another order, and not all of them.
    small_trained.write_split(
        tmp_path / "some.jsonl", small.videos[:3], [[(A,)], [(B,)], [(C,)]], (C, "y", B, A)
    )
    run(
        f"--workdir={small.workdir}", *place, "--test_clips=1", "--test_crops=1", f"--output={tmp_path / 'o'}"
    )
    results = json.loads((tmp_path / "o" / "results.json").read_text())
    assert [results[name] for name in ("videos", "clips", "crops")] == [3, 1, 1]
    scores = Scores.load(tmp_path / "o" / "scores.npz")
    assert scores.labels.tolist() == [0, 1, 2] and scores.classes == small_trained.CLASSES
    assert "on 3 videos, 1 clips x 1 crops" in capsys.readouterr().out


def test_the_output_is_never_written_over(small, capsys):
    run(f"--workdir={small.workdir}")
    place = small.workdir / "evaluation" / "one"
    before = (place / "results.json").read_bytes()
    error = refused(f"--workdir={small.workdir}")
    assert error.startswith(f"Expected a new directory for the results. Received {place}")
    remedy = error.rpartition("Try: ")[2].removesuffix(".")
    assert remedy == f"--output={place}-2"
    run(f"--workdir={small.workdir}", remedy)
    assert refused(f"--workdir={small.workdir}", remedy).endswith("one-3.")
    again = (place.parent / "one-2" / "results.json").read_bytes()
    assert (place / "results.json").read_bytes() == before != again  # The seconds differ.
    capsys.readouterr()
    assert program.default_output("r", "a/b.jsonl#val") == "r/evaluation/val"
    assert program.default_output("r", "records/val/") == "r/evaluation/val"


def test_videos_with_several_labels_or_none(small, tmp_path, capsys):
    run(f"--workdir={small.workdir}", "--annotations=several.jsonl", f"--output={tmp_path / 'o'}")
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "results.json", "scores.npz", "classes.csv", "bad_videos.csv"
    }  # fmt: skip
    scores = Scores.load(tmp_path / "o" / "scores.npz")
    labels = np.array(
        [[name in [label[0] for label in row] for name in scores.classes] for row in small.several]
    )
    np.testing.assert_array_equal(scores.labels, labels)
    known = labels.any(axis=1)
    expected = [
        measures.average_precision(*pair)
        for pair in zip(scores.logits[known].T, labels[known].T, strict=True)
    ]
    results = json.loads((tmp_path / "o" / "results.json").read_text())
    assert results["mAP"] == pytest.approx(np.nanmean(expected)) and "top1" not in results
    assert (results["classes_with_videos"], results["videos"], results["videos_without_label"]) == (4, 8, 2)
    with open(tmp_path / "o" / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["videos"] for row in rows] == ["3", "3", "2", "1", "0", "0"]
    assert rows[4]["average_precision"] == "" and float(rows[0]["average_precision"]) == expected[0]
    said = capsys.readouterr().out
    assert "over 4 classes on 8 videos, 2 clips x 3 crops\n2 videos have no label" in said


def test_an_ensemble_needs_no_models(small, tmp_path, capsys):
    other = small_trained.network()
    other.layers[-1].kernel.assign(other.layers[-1].kernel.numpy()[:, ::-1])
    small_trained.write_run(
        tmp_path / "run", other, data_dir=str(small.data), val_annotations="one.jsonl", test_clips=1
    )
    parts = []
    for name, workdir in (("a", small.workdir), ("b", tmp_path / "run")):
        run(f"--workdir={workdir}", f"--output={tmp_path / name}")
        parts.append(Scores.load(tmp_path / name / "scores.npz"))
    files = [f"--scores={tmp_path / name / 'scores.npz'}" for name in "ab"]
    run(*files, f"--output={tmp_path / 'both'}")
    together = Scores.load(tmp_path / "both" / "scores.npz")
    mean = np.mean([part.probabilities for part in parts], axis=0)
    np.testing.assert_allclose(together.probabilities, mean, rtol=1e-9)
    assert np.abs(parts[0].probabilities - parts[1].probabilities).max() > 0.01
    results = json.loads((tmp_path / "both" / "results.json").read_text())
    assert results["loss"] == pytest.approx(-np.log(mean[np.arange(8), parts[0].labels]).mean())
    assert results["top1"] == (mean.argmax(1) == parts[0].labels).mean()
    assert summary(ensemble(parts, "ab")) == {name: results[name] for name in summary(parts[0])}
    run(*files, "--ensemble=logits", f"--output={tmp_path / 'logits'}")
    mean = (parts[0].logits + parts[1].logits) / 2
    found = Scores.load(tmp_path / "logits" / "scores.npz").logits
    np.testing.assert_allclose(found, mean, rtol=1e-6, atol=1e-6)
    assert "wrote" in capsys.readouterr().out
    assert refused(*files).startswith("Expected --output to be a new directory. Received none.")
    damaged = tmp_path / "both" / "results.json"
    assert re.match(
        f"Expected scores of videos in '{damaged}'", refused(f"--scores={damaged}", f"--output={tmp_path}/x")
    )


def test_a_savedmodel_gives_the_same(small, tmp_path, capsys):
    model, serving = small_trained.network(), json.loads((small.workdir / "serving.json").read_text())
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", classify(model, serving))
    archive.write_out(str(tmp_path / "export"), verbose=False)
    for name, more in (("run", ()), ("export", [f"--savedmodel={tmp_path / 'export'}"])):
        run(f"--workdir={small.workdir}", *more, f"--output={tmp_path / ('of_' + name)}")
    ours, exported = (Scores.load(tmp_path / f"of_{name}" / "scores.npz") for name in ("run", "export"))
    np.testing.assert_allclose(exported.probabilities, ours.probabilities, atol=1e-6)
    found = summary(exported)
    for name, value in summary(ours).items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    where = f"--workdir={small.workdir}", f"--savedmodel={tmp_path / 'export'}", f"--output={tmp_path / 'x'}"
    assert refused(*where, "--annotations=several.jsonl").startswith("Expected one label a video in several")
    (tmp_path / "export" / "saved_model.pb").write_bytes(b"no model")
    assert refused(*where).startswith("Expected a sound SavedModel in")
    assert refused(*where, f"--savedmodel={small.data}").startswith("Expected a SavedModel in")
    capsys.readouterr()


def test_weights_alone_and_those_of_another_network(finished_run, tmp_path, capsys):
    config = read_config(finished_run.workdir)
    weights = tmp_path / "net.weights.h5"
    read_trained(config).model.save_weights(weights)
    flagfile = f"--flagfile={finished_run.workdir / 'run.flags'}", "--workdir="
    run(*flagfile, f"--weights={weights}", f"--output={tmp_path / 'o'}")
    theirs = Scores.load(finished_run.workdir / "scores_val.npz")
    np.testing.assert_allclose(Scores.load(tmp_path / "o" / "scores.npz").logits, theirs.logits, atol=1e-6)
    error = refused(*flagfile, f"--weights={weights}", f"--output={tmp_path / 'p'}", "--blocks=res4_0")
    assert "Expected `weights` (--weights) that were saved from this very network" in error
    capsys.readouterr()


@pytest.mark.long
def test_weights_of_a_keras_file_beside_a_run(finished_run, tmp_path):
    model = f"--weights={finished_run.workdir / 'model.keras'}"
    run(f"--workdir={finished_run.workdir}", model, f"--output={tmp_path / 'k'}")
    theirs = Scores.load(finished_run.workdir / "scores_val.npz")
    np.testing.assert_allclose(Scores.load(tmp_path / "k" / "scores.npz").logits, theirs.logits, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Expected --weights to be the weights of a network, or --workdir that of a run. Received none"),
        (["--workdir={tmp}"], "Expected the directory of a run. Received .* Try: "),
        (["--workdir={run}", "--annotations=lost.jsonl"], "Expected a manifest, records or a CSV at .*lost"),
        (["--workdir={run}", "--annotations=one.jsonl#x"], "Expected rows of split 'x'"),
        (["--workdir={run}", "--annotations=none.jsonl"], "Expected videos with labels in none.*predict"),
        (["--workdir={run}", "--depth=50"], "Expected --depth=18, as in .* --depth=50. Try: leave out"),
        (["--workdir={run}", "--test_crops=2"], "Expected --test_crops to be one of 1, 3"),
        (["--workdir={run}", "--window_frames=1", "--sampling=dense"], "Expected --window_frames to"),
        (["--workdir={run}", "--weights={tmp}/x.h5"], "`weights` .--weights. to be None or the path of a"),
        (["--workdir={run}", "one.jsonl"], "Expected nothing but flags"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(small, tmp_path, arguments, words):
    small_trained.write_split(small.data / "none.jsonl", small.videos, [[]] * 8)
    arguments = [argument.format(tmp=tmp_path, run=small.workdir) for argument in arguments]
    assert re.search(words, refused(*arguments, f"--output={tmp_path / 'out'}"))
    assert not (tmp_path / "out").exists()


def test_a_run_that_has_not_ended(small, tmp_path):
    for name in ("run.flags", "serving.json"):
        (tmp_path / name).write_bytes((small.workdir / name).read_bytes())
    error = refused(f"--workdir={tmp_path}")
    assert re.match(r"Expected a trained model at '.*model.keras'\. Received no such file\. Try: --w", error)
    small_trained.network(classes=3).save(tmp_path / "model.keras")
    assert "3 classes, and 6 in" in refused(f"--workdir={tmp_path}")
    (tmp_path / "model.keras").write_bytes(b"no archive")
    assert refused(f"--workdir={tmp_path}").startswith("Expected the sound model.keras of a run")


def test_too_many_bad_videos(small, tmp_path):
    broken = [tmp_path / f"{number}.mp4" for number in range(2)]
    for path in broken:
        path.write_bytes(b"no video")
    split = tmp_path / "split.jsonl"
    small_trained.write_split(split, [*small.videos[:2], *broken], [[(A,)]] * 4)
    place = f"--workdir={small.workdir}", f"--annotations={split}", f"--output={tmp_path / 'out'}"
    with pytest.raises(SystemExit, match=r"^error: Expected at most 10.0% bad videos .--max_bad_fraction"):
        run(*place)
    assert not (tmp_path / "out").exists()
    run(*place, "--max_bad_fraction=0.5")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["videos"], results["data"]["skipped"]) == (2, 2)
    assert read_manifest(str(split)).multi_label is False


def test_five_classes_have_no_top5(capsys):
    scores = Scores(np.eye(5, dtype=np.float32), np.arange(5), ("",) * 5, tuple("abcde"))
    assert "top5" not in summary(scores)
    said = "\n".join(program.report(scores, summary(scores)))
    assert (
        said.startswith("top-1 100.0%, mean class accuracy 100.0% on 5 videos\nloss ") and "top-5" not in said
    )
    assert "taken for" not in said


def test_training_shows_no_top5_of_five_classes():
    data = SimpleNamespace(classes=tuple("abcde"), schedule=SimpleNamespace(steps_per_epoch=9))
    shown = [variable.path for variable in build_model(small_trained.config(), data).metrics_variables]
    assert any("top1" in path for path in shown) and not any("top5" in path for path in shown)
