"""Scores of an evaluation: the same for any number of devices, videos left over and sizes of batches."""

import ast
import csv
import dataclasses
import json
import os
import pathlib
import pickle
import re
import time

import keras
import numpy as np
import pytest
import small_run
import tensorflow as tf

from pipelines.account import Account
from pipelines.bad_video import BadVideo
from pipelines.decoding.decode import Clip
from pipelines.manifest import Label, Manifest, Video
from pipelines.order import Part
from pipelines.video_files import VideoFiles
from train.config import Config
from train.data import samplers
from train.loop import DeviceError, check_devices
from train.scoring import measures, tables
from train.scoring.evaluation import Progress, evaluate, video_scores
from train.scoring.measures import accuracy, cross_entropy
from train.scoring.scores import Scores, ensemble, summary
from train.scoring.views import evaluation_clips

# One program for all counts of devices, as TensorFlow is told of them once. Its network has a Conv3D, whose
# CPU kernel gives an empty batch a wrong shape.
DEVICES = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
from pipelines.account import Account
from pipelines.bad_video import BadVideo
from pipelines.decoding.decode import Clip
from pipelines.manifest import Label, Manifest, Video
from pipelines.video_files import VideoFiles
from train.config import Config
from train.scoring.evaluation import evaluate

def decode(path, choose, transform):
    if path == "1":
        raise BadVideo(path, "made to fail")
    chosen = choose(np.arange(9) / 10)
    frames = np.random.default_rng([int(path), *chosen]).integers(256, size=(len(chosen), 12, 16, 3))
    return Clip(np.stack([transform(frame) for frame in frames.astype(np.uint8)]), chosen / 10)

config = Config(clip_frames=2, test_size=8, crop=8, test_clips=1, test_crops=1, batch_size=6)
for devices in (1, 2, 3):
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{n}" for n in range(devices)], tf.distribute.HierarchicalCopyAllReduce()
    )
    with strategy.scope():
        keras.utils.set_random_seed(1)
        clip = keras.Input((2, 8, 8, 3))
        hidden = keras.layers.GlobalMaxPooling3D()(keras.layers.Conv3D(8, 3, padding="same")(clip))
        model = keras.Model(clip, keras.layers.Dense(7)(hidden))
    for videos in (2, *range(7, 13)):
        manifest = Manifest(tuple(Video(str(n), (Label(n % 7),)) for n in range(videos)), tuple("abcdefg"))
        scores = evaluate(model, VideoFiles(manifest, decode), config, Account(manifest), verbose=False)
        print("scores", devices, videos, scores["videos"], scores["top1"], scores["top5"], scores["loss"])
"""


@pytest.mark.long
def test_scores_do_not_depend_on_the_number_of_devices():
    process = small_run.run_python("-c", DEVICES)
    assert process.returncode == 0, process.stderr[-3000:]
    found = {}
    for line in re.findall(r"^scores (.*)$", process.stdout, re.MULTILINE):
        devices, videos, *scores = map(ast.literal_eval, line.split())
        found[devices, videos] = scores
    assert len(found) == 3 * 7
    assert len({found[1, videos][-1] for videos in (2, *range(7, 13))}) == 7  # So they can tell.
    for (_, videos), scores in found.items():
        assert scores[0] == videos - 1  # One is bad, and what fills up the batches does not count.
        assert scores[:3] == found[1, videos][:3]
        np.testing.assert_allclose(scores[3], found[1, videos][3], rtol=1e-6)


def grey(path, choose, transform):
    """Decodes a video of nine frames whose grey level is 20 times the frame, plus the video's number."""
    if path == "1":
        raise BadVideo(path, "made to fail")
    chosen = choose(np.arange(9) / 10)
    frames = [np.full((12, 16, 3), 20 * frame + int(path), np.uint8) for frame in chosen]
    return Clip(np.stack([transform(frame) for frame in frames]), chosen / 10)


def squares_model(kernel):
    """A model whose logits are the squares of a clip's mean level, times a kernel."""
    clip = keras.Input((2, None, None, 3))
    level = keras.layers.GlobalAveragePooling3D()(clip)[:, :1]
    dense = keras.layers.Dense(len(kernel), use_bias=False)
    model = keras.Model(clip, dense(level * level))
    dense.kernel.assign([kernel])
    return model


def test_logits_are_the_means_over_the_views():
    config = Config(
        clip_frames=2, window_frames=4, test_size=8, crop=8, test_clips=2, test_crops=3, batch_size=5
    )
    config = dataclasses.replace(config, mean=(100.0,) * 3, std=(50.0,) * 3)
    manifest = Manifest(tuple(Video(str(n), (Label(n % 3),)) for n in range(4)), tuple("abc"))
    account, kernel = Account(manifest), np.array([1.0, -1.0, 0.5])
    source = VideoFiles(manifest, grey)
    scores = video_scores(squares_model(kernel), source, config, account, verbose=False)
    assert scores.labels.tolist() == [0, 2, 0] and 1 in account  # Of videos 0, 2 and 3.
    assert scores.paths == ("0", "2", "3") and scores.classes == ("a", "b", "c")
    clips = np.asarray(samplers(config)[1](9, 2, 2))
    assert len(set(map(tuple, clips))) == 2
    for video, found in zip((0, 2, 3), scores.logits, strict=True):
        views = [((20 * frames + video).mean() - 100) / 50 for frames in clips]
        np.testing.assert_allclose(found, np.square(views).mean() * kernel, rtol=1e-5)


@pytest.mark.parametrize(  # There are four videos.
    ("workers", "views"),
    [(2, {}), (3, {}), (7, {}), (3, {"test_crops": 1, "test_crop_places": "whole", "batch_size": 3})],
)
def test_workers_evaluate_a_range_each(workers, views, monkeypatch):
    config = Config(
        clip_frames=2, window_frames=4, test_size=8, crop=8, test_clips=2, test_crops=3, batch_size=14
    )
    config = dataclasses.replace(config, **views)
    manifest = Manifest(tuple(Video(str(n), (Label(n % 3),)) for n in range(4)), tuple("abc"))
    model, source = squares_model(np.array([1.0, -1.0, 0.5])), VideoFiles(manifest, grey)
    whole = video_scores(model, source, config, Account(manifest), verbose=False)
    told = []

    class Strategy:  # This process's device is one of as many as there are workers.
        num_replicas_in_sync = workers

        def __getattr__(self, name):
            return getattr(tf.distribute.get_strategy(), name)

    class Share(Progress):
        def __init__(self, number):
            super().__init__()
            self.part, self.own = Part(number, workers), []

        def joined(self, values):
            self.own.append(values)
            if self.part.number < workers - 1:
                return np.zeros((4, *values.shape[1:]), values.dtype) + np.ones(1, values.dtype)
            return np.concatenate([share.own[len(self.own) - 1] for share in told])

    monkeypatch.setattr(keras.Model, "distribute_strategy", Strategy())
    for number in range(workers):
        told.append(Share(number))
        found = video_scores(model, source, config, Account(manifest), verbose=False, progress=told[-1])
    np.testing.assert_allclose(found.logits, whole.logits, rtol=1e-6)
    assert found.labels.tolist() == whole.labels.tolist() and found.paths == whole.paths
    assert {values.dtype for share in told for values in share.own[:1]} == {np.dtype("float32")}


def test_scores_are_those_of_the_logits():
    config = Config(
        clip_frames=2, window_frames=4, test_size=8, crop=8, test_clips=2, test_crops=1, batch_size=2
    )
    labels = {0: 1, 3: 2, 4: 4, 5: 5}
    manifest = Manifest(tuple(Video(str(n), (Label(k),)) for n, k in labels.items()), tuple("abcdefg"))
    model, source = (
        squares_model(np.arange(7.0)),
        VideoFiles(manifest, grey),
    )  # The best class is the last one.
    found = video_scores(model, source, config, Account(manifest), verbose=False)
    start = time.monotonic()
    scores = evaluate(model, source, config, Account(manifest), verbose=False)
    assert 0 < scores.pop("seconds_per_video") <= (time.monotonic() - start) / 4
    assert scores == {
        "top1": 0.0,
        "top5": 0.75,  # All but the label 1, which comes sixth.
        "mean_class_accuracy": 0.0,
        "loss": pytest.approx(cross_entropy(found.logits, found.labels)),
        "calibration_error": pytest.approx(found.probabilities.max(axis=1).mean()),
        "brier": pytest.approx(measures.brier_score(found.probabilities, found.labels)),
        "videos": 4,
        "clips": 2,
        "crops": 1,
        "protocol": {
            "test_clips": 2,
            "test_crops": 1,
            "test_size": 8,
            "test_short_side": 0,
            "test_crop_places": "ends",
            "test_starts": "even",
            "test_pooling": "logits",
        },
    }


@pytest.mark.parametrize(
    ("devices", "batch_size", "sizes"),
    [(1, 5, [5, 5, 5, 5, 5]), (1, 24, [24]), (1, 100, [24]), (2, 5, [6, 6, 6, 6]), (3, 7, [6] * 4)],
)
def test_sizes_of_the_batches(devices, batch_size, sizes):
    config = Config(clip_frames=2, window_frames=4, test_size=8, crop=8, test_clips=2, test_crops=3)
    manifest = Manifest(tuple(Video(str(n), (Label(0),)) for n in (0, 3, 4, 5)), ("a",))
    config = dataclasses.replace(config, batch_size=batch_size)
    batches = evaluation_clips(config, VideoFiles(manifest, grey), Account(manifest), devices)
    assert [len(clips) for clips, _, _ in batches] == sizes


def test_logits_that_are_not_finite_are_counted_and_named():
    config = Config(clip_frames=2, window_frames=4, test_size=8, crop=8, test_clips=1, test_crops=1)
    manifest = Manifest(tuple(Video(str(n), (Label(0),)) for n in (0, 40, 3)), ("a",))
    source, model = VideoFiles(manifest, grey), squares_model([1.0])
    logits = video_scores(model, source, config, Account(manifest), verbose=False).logits
    assert logits[0] > logits[2] > logits[1]
    bound = float(logits[0, 0] + logits[2, 0]) / 2
    infinite = keras.Model(model.input, 1 / keras.ops.relu(model.output - bound))
    words = r"infinity or NaN for 2 of 3 videos, first for 40\. Try: --learning_rate=0\.001, in"
    with pytest.raises(FloatingPointError, match=words):
        video_scores(infinite, source, config, Account(manifest), verbose=False)


def test_the_loss_is_that_of_keras():
    logits = np.array([[3, 2, 1, 0], [0, 1000, 2, 3], [1, 0, -1e4, 2]], np.float32)
    labels = np.array([0, 1, 3])
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    np.testing.assert_allclose(cross_entropy(logits, labels), expected, rtol=1e-6)


def test_accuracy():
    logits = np.array([[3, 2, 1, 0], [0, 1, 2, 3], [1, 0, 3, 2]])
    assert accuracy(logits, np.array([0, 0, 3]), 1) == 1 / 3
    assert accuracy(logits, np.array([0, 0, 3]), 2) == 2 / 3
    assert accuracy(logits, np.array([0, 0, 3]), 5) == 1


@pytest.mark.parametrize(
    ("batch_size", "repeats", "videos", "devices", "remedy"),
    [
        (8, 1, 100, 3, 6),
        (64, 1, 40, 3, 39),
        (1, 1, 5, 2, 2),
        (10, 2, 100, 3, 6),
        (9, 3, 100, 2, 6),
        (7, 1, 6, 8, None),
        (3, 3, 1, 2, None),
    ],
)
def test_batches_that_devices_do_not_divide_are_refused(batch_size, repeats, videos, devices, remedy):
    config = Config(batch_size=batch_size, repeats=repeats)
    with pytest.raises(
        DeviceError, match=rf"multiple of {devices}, .*Received {batch_size}\. Try: "
    ) as caught:
        check_devices(config, videos, devices)
    hint = str(caught.value).rsplit("Try: ", 1)[1]
    if remedy is None:
        assert hint.startswith("CUDA_VISIBLE_DEVICES=0")
    else:
        assert hint == f"--batch_size={remedy}"
        check_devices(dataclasses.replace(config, batch_size=remedy), videos, devices)
        assert remedy <= videos * repeats


# What scikit-learn 1.9.1 gives for random and degenerate scores: `python tests/scikit_learn_cases.py`.
KNOWN = json.loads((small_run.ROOT / "tests" / "fixtures" / "scikit_learn.json").read_text())


@pytest.mark.parametrize("case", KNOWN["average_precision"])
def test_average_precision_is_that_of_scikit_learn(case):
    scores, positives = np.array(case["scores"]), np.array(case["positives"], bool)
    found = measures.average_precision(scores, positives)
    assert found == pytest.approx(np.nan if case["expected"] is None else case["expected"], nan_ok=True)
    order = np.random.default_rng(0).permutation(len(scores))
    assert measures.average_precision(scores[order], positives[order]) == pytest.approx(found, nan_ok=True)


@pytest.mark.parametrize("case", KNOWN["single"])
def test_measures_are_those_of_scikit_learn(case):
    logits, labels = np.array(case["logits"]), np.array(case["labels"])
    found = summary(Scores(logits, labels, ("",) * len(labels), tuple(map(str, range(logits.shape[1])))))
    for name in ("loss", "calibration_error", "brier", "mean_class_accuracy", "top1"):
        assert found[name] == pytest.approx(case[name], rel=1e-9, abs=1e-12), name
    assert ("top5" in found) == (logits.shape[1] > 5)
    assert found.get("top5") == case.get("top5")
    assert measures.confusion_matrix(logits, labels).tolist() == case["confusion"]


def test_confidences_at_the_end_of_a_bin_belong_to_it():
    probabilities = np.array([[0.6, 0.4], [0.6001, 0.3999], [1.0, 0.0]])  # 0.6 is the end of the ninth of 15.
    found = measures.calibration_error(probabilities, np.array([0, 1, 0]))
    assert found == pytest.approx((0.4 + 0.6001 + 0) / 3)


def test_mean_average_precision_is_that_of_charades():
    """The data set's own program: the mean of the precision at each positive; -inf for unlabelled videos."""
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(50, 8)), rng.random((50, 8)) < 0.15
    labels[:, 4] = False  # A class without positives.
    labels[:10] = False
    logits[:10] += 100  # Videos without a label would come first.
    expected = []
    for scores, positives in zip(np.where(labels.any(1), logits.T, -np.inf), labels.T, strict=True):
        hits, found = 0, []
        for rank, row in enumerate(sorted(range(50), key=lambda row: -scores[row]), 1):
            if positives[row]:
                hits += 1
                found.append(hits / rank)
        expected.append(np.mean(found) if found else np.nan)
    np.testing.assert_allclose(measures.average_precisions(logits, labels), expected)
    found = summary(Scores(logits, labels, ("",) * 50, tuple("abcdefgh")))
    without = int((~labels.any(1)).sum())
    assert found == {
        "mAP": pytest.approx(np.nanmean(expected)),
        "loss": pytest.approx(np.log1p(np.exp(np.where(labels, -logits, logits))).mean()),
        "classes_with_videos": 7,
        "videos": 50,
        "videos_without_label": without,
    }
    nothing = summary(Scores(logits, np.zeros_like(labels), ("",) * 50, tuple("abcdefgh")))
    assert nothing["mAP"] is None and nothing["videos_without_label"] == 50


def made_scores(seed=0, videos=9, classes=4, multi_label=False, folder="data/"):
    rng = np.random.default_rng(seed)
    logits = (3 * rng.normal(size=(videos, classes))).astype(np.float32)
    fixed = np.random.default_rng(99)
    labels = fixed.random(logits.shape) < 0.3 if multi_label else fixed.integers(0, classes, videos)
    paths = tuple(f"{folder}{n}/é {n}.mp4" for n in range(videos))
    return Scores(logits, labels, paths, tuple("abcdefgh"[:classes]))


@pytest.mark.parametrize("multi_label", [False, True])
def test_an_ensemble_is_the_mean_of_the_probabilities(multi_label):
    parts = [made_scores(seed, multi_label=multi_label, folder=f"at{seed}/x/") for seed in range(3)]
    together = ensemble(parts, "ABC")
    powers = [np.exp(part.logits.astype(np.float64)) for part in parts]
    expected = [p / (1 + p) if multi_label else p / p.sum(1, keepdims=True) for p in powers]
    np.testing.assert_allclose(together.probabilities, np.mean(expected, axis=0), rtol=1e-12)
    assert together.paths == parts[0].paths and together.labels is parts[0].labels
    assert ensemble(parts[:1], "A") is parts[0]
    sure = [dataclasses.replace(part, logits=part.logits * 1000) for part in parts]
    assert np.isfinite(ensemble(sure, "ABC").logits).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ("a", "b", "x", "d")}, "class 'x' for 'c'"),
        (
            {"paths": tuple(f"data/{n}/é {n}.mp4" for n in (1, 0, *range(2, 9)))},
            "9 videos for 9, first '1/é 1",
        ),
        ({"labels": np.arange(9) % 4}, r"other labels of \d videos, first of 'data/0/é 0.mp4'"),
        ({"labels": np.zeros((9, 4), bool)}, "one label a video and several"),
    ],
)
def test_an_ensemble_refuses_scores_of_something_else(changes, words):
    first = made_scores()
    first = dataclasses.replace(first, labels=(np.arange(9) + 1) % 4)
    other = dataclasses.replace(first, **changes)
    with pytest.raises(ValueError, match=rf"Expected in B the scores of the same .* in A\. Received {words}"):
        ensemble([first, other], ["A", "B"])


@pytest.mark.parametrize("multi_label", [False, True])
def test_scores_are_read_as_they_were_written(tmp_path, multi_label):
    scores = made_scores(multi_label=multi_label)
    scores = dataclasses.replace(scores, paths=("name \udcff.mp4", *scores.paths[1:]))
    scores.save(tmp_path / "scores.npz")
    again = Scores.load(tmp_path / "scores.npz")
    assert (again.paths, again.classes) == (scores.paths, scores.classes)
    for name in ("logits", "labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(scores, name))
        assert getattr(again, name).dtype == getattr(scores, name).dtype


class Harmful:
    """An object whose reading, if anything did that, would run a command."""

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(os.environ["HARM"]),)


@pytest.mark.parametrize("damage", [
    "missing", "cut", "text", "npy", "no key", "nan", "label", "shape", "kinds", "pickle", "pickled file",
    "compressed",
])  # fmt: skip
def test_scores_that_are_damaged_are_refused_in_one_line(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("HARM", str(tmp_path / "harm"))
    path, scores = tmp_path / "scores.npz", made_scores()
    arrays = dataclasses.asdict(scores)
    scores.save(path)
    if damage in ("missing", "cut", "text"):
        content = {"cut": path.read_bytes()[:-100], "text": b"no scores", "missing": b""}[damage]
        path.write_bytes(content)
        path.unlink() if damage == "missing" else None
    elif damage == "npy":
        np.save(path.open("wb"), scores.logits)
    elif damage == "pickled file":
        path.write_bytes(pickle.dumps(Harmful()))
    else:
        arrays |= {
            "nan": {"logits": np.where(scores.logits > 0, np.nan, 1)},
            "label": {"labels": scores.labels + 3},
            "shape": {"labels": scores.labels[1:]},
            "kinds": {"paths": np.arange(9)},
            "pickle": {"classes": np.array([Harmful()] * 4, object)},
        }.get(damage, {})
        if damage == "no key":
            del arrays["paths"]
        (np.savez_compressed if damage == "compressed" else np.savez)(path, **arrays)
    with pytest.raises(
        ValueError, match=r"^Expected scores of videos in '.*scores.npz'\. .* Try: .*"
    ) as caught:
        Scores.load(path)
    assert "\n" not in str(caught.value) and not (tmp_path / "harm").exists()


def confused():
    """Scores of 7 videos of a, b and c, of which c has none and d is never taken for anything."""
    taken = {"a": "aab", "b": "cabb"}
    pairs = [("abcd".index(true), "abcd".index(other)) for true, others in taken.items() for other in others]
    labels, other = np.array(pairs).T
    return Scores(np.eye(4)[other], labels, tuple(map(str, range(7))), tuple("abcd"))


def test_the_table_of_the_classes():
    rows = tables.class_table(confused())
    assert [tuple(row.values()) for row in rows] == [
        ("a", 3, 2 / 3, 2 / 3, "b", 1),
        ("b", 4, 0.5, 2 / 3, "a", 2 - 1),
        ("c", 0, None, 0.0, "", 0),
        ("d", 0, None, None, "", 0),
    ]
    assert tables.confusions(confused()) == [
        "a was taken for b in 1 of 3 videos (33%)",
        "b was taken for a in 1 of 4 videos (25%)",
        "b was taken for c in 1 of 4 videos (25%)",
    ]
    assert len(tables.confusions(confused(), most=2)) == 2
    worst = tables.in_columns(rows, most=1)
    assert len(worst) == 2 and worst[1].split() == ["b", "4", "50.0%", "66.7%", "a", "1"]
    lines = tables.in_columns(rows)
    assert len(lines) == 5 and len({line.index("0.0%") for line in lines[3:4]}) == 1


def test_tables_are_written_as_csv(tmp_path):
    scores = dataclasses.replace(confused(), classes=("a", 'b, "x"', "c", "d"))
    tables.write_confusion(tmp_path / "confusion.csv", scores)
    with open(tmp_path / "confusion.csv", newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head[1:] == [row[0] for row in rows] == list(scores.classes)
    assert [row[1:] for row in rows] == [
        ["2", "1", "0", "0"],
        ["1", "2", "1", "0"],
        ["0", "0", "0", "0"],
        ["0", "0", "0", "0"],
    ]
    tables.write_classes(tmp_path / "classes.csv", scores)
    with open(tmp_path / "classes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["most_frequent_mistake"] == 'b, "x"' and rows[2]["recall"] == ""
