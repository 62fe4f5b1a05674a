"""The report of a run says what its files say, whatever is in them, and needs nothing but itself."""

import dataclasses
import io
import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
import small_run
import tensorflow as tf
from pages import Page, complaints
from PIL import Image

from pipelines import synthetic
from pipelines.account import Account
from train.config import Config
from train.data import open_data, open_split
from train.loop.pictures import Pictures
from train.loop.run import report
from train.reporting import write_report
from train.reporting.charts import confusion_chart, line_chart
from train.reporting.examples import rows_of
from train.reporting.pictures import clips_picture, confusion_picture
from train.reporting.shown_clips import denormalised
from train.scoring.scores import Scores
from train.scoring.views import evaluation_clips

CLASSES = tuple(sorted(synthetic.MOTIONS))
EPOCHS = 3
HEADER = "epoch,steps,loss,top1,top5,learning_rate,val_loss,val_top1,val_top5,seconds"
CURVES = (
    f"{HEADER}\n1,3,2.5,0.125,0.5,0.01,2.25,0.25,0.75,12\n2,6,nan,0.5,1,0.005,1.5,0.625,1,11\n"
    "3,9,1.25,0.75,1,0.001,1,0.5,1,11\n"
)
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=http://evil.example onerror=alert(1)>',
    "&lt;b&gt; 'single' \"double\"",
    "half \ud800 a character, and \udcff a byte",
    "\u202eturned\u2066 round\x1b[31m\0",
    "x" * 10_000,
    "\u5012\u7acb",
    "</style></title>--><!--",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    synthetic.write_dataset(str(directory), train=8, val=16, workers=2)
    return directory


def config_of(data, workdir):
    flags = {name: value for name, value in small_run.FLAGS.items() if name != "blocks"}
    places = {"data_dir": str(data), "workdir": str(workdir)}
    splits = {"train_annotations": "train.csv", "val_annotations": "val.csv"}
    return Config(**places, **splits, **flags | {"epochs": EPOCHS, "batch_size": 4}, blocks=("res3_0",))


def scores_of(config, classes=CLASSES):
    """Scores in which video i of 16 has the class after its own if i is a multiple of 5."""
    videos = open_split(config, "val.csv").manifest.videos
    labels = np.array([video.label for video in videos])
    called = np.where(np.arange(len(labels)) % 5, labels, (labels + 1) % len(CLASSES))
    logits = np.random.default_rng(0).random((len(labels), len(CLASSES))).astype(np.float32)
    logits[np.arange(len(labels)), called] += 3 + np.arange(len(labels))
    return Scores(logits, labels, tuple(video.path for video in videos), classes)


def write_run(workdir, data):
    """Writes the files of a finished run; returns its (config, scores)."""
    workdir.mkdir(exist_ok=True)
    config = config_of(data, workdir)
    scores = scores_of(config)
    scores.save(workdir / "scores_val.npz")
    (workdir / "run.flags").write_text(config.to_flags())
    (workdir / "curves.csv").write_text(CURVES)
    account = {"videos": 12, "used": 8, "skipped": 3, "never_read": 1, "skipped_reasons": {}}
    results = {"top1": 0.75, "top5": 0.9375, "loss": 1.0, "videos": 16, "clips": 2, "crops": 3}
    results |= {"train_seconds": 3700.0, "data": {"train": account, "val": account | {"videos": 19}}}
    (workdir / "results.json").write_text(json.dumps(results))
    (workdir / "bad_videos_train.csv").write_text("path,reason\na.mp4,0 bytes\nb.mp4,0 bytes\nc.mp4,cut\n")
    (workdir / "bad_videos_val.csv").write_text("path,reason\n")
    return config, scores


@pytest.fixture(scope="module")
def told(data, tmp_path_factory):
    """(page, config, scores) of a finished run."""
    workdir = tmp_path_factory.mktemp("told") / "motions"
    config, scores = write_run(workdir, data)
    assert write_report(workdir) == os.path.join(workdir, "report.html")
    return Page(workdir / "report.html"), config, scores


def test_the_page_says_what_the_files_say(told):
    page, config, _ = told
    assert complaints(page) == []
    for words in (
        "Report of motions",
        "TSM ResNet-18 with RegionNonLocal, 4 frames a clip, 8 classes, 8 training videos, from",
        "The run is done: 3 of 3 epochs in 1 h 2 min",
        "top-1 75.0 % 50.5 % to 89.8 % with 95 % confidence",  # Wilson's interval for 12 of 16.
        "top-5 93.8 %",
        "chance 12.5 %",
        "2 clips x 3 crops each",
        "The best validation is that of epoch 2: 62.5 %",
        "3 training videos could not be read, or not all of them: 2 x 0 bytes 1 x cut",
        "No validation video was bad.",
        f"--workdir={config.workdir}",
        "keras_nonlocal 0.",
    ):
        assert words in page.text
    accounts = next(table for table in page.tables if table[0][0] == "split")
    assert accounts[1:] == [["training", "12", "8", "3", "1"], ["validation", "19", "8", "3", "1"]]


def test_each_class_has_its_row_and_the_matrix_its_cells(told):
    page, _, scores = told
    called = scores.logits.argmax(axis=1)
    pairs = list(zip(scores.labels.tolist(), called.tolist(), strict=True))
    rows = {row[0]: row[1:] for row in next(t for t in page.tables if t[0][0] == "class")[1:]}
    assert set(rows) == set(CLASSES)
    recalls = []
    for k, name in enumerate(CLASSES):
        of_class, so_called = [b for a, b in pairs if a == k], [a for a, b in pairs if b == k]
        recall, precision = of_class.count(k) / len(of_class), so_called.count(k) / len(so_called)
        recalls.append(recall)
        assert rows[name][:3] == [
            str(len(of_class)),
            f"{recall:.1%}"[:-1] + " %",
            f"{precision:.1%}"[:-1] + " %",
        ]
        wrong = [b for b in of_class if b != k]
        assert rows[name][3] == (f"{CLASSES[wrong[0]]} ({len(wrong)})" if wrong else "")
    assert f"mean class accuracy {np.mean(recalls):.1%}"[:-1] in page.text
    assert next(iter(rows)) == CLASSES[int(np.argmin(recalls))]
    for a, b in set(pairs):
        count, total = pairs.count((a, b)), sum(true == a for true, _ in pairs)
        right = f"{CLASSES[a]}: {count} of {total} right"
        assert (right if a == b else f"{CLASSES[a]} taken for {CLASSES[b]}: {count} of {total}") in page.text
    assert len(page.named("rect", **{"class": "share"})) == len(set(pairs))


def test_mistakes_are_shown_with_the_frames_that_the_network_saw(told):
    page, config, scores = told
    called = scores.logits.argmax(axis=1)
    wrong = np.flatnonzero(called != scores.labels)
    assert wrong.tolist() == [0, 5, 10, 15]
    # The later a video, the surer the network was, so that its worst mistake is the last one.
    order = [15, 10, 5, 0]
    told_of = page.text.partition("Worst mistakes")[2].partition("Surest right answers")[0]
    paths = [os.path.relpath(scores.paths[i], config.data_dir) for i in order]
    ends = [told_of.index(path) for path in paths]
    for i, start, end in zip(order, [0, *ends], ends, strict=False):
        assert start < end and f"taken for {CLASSES[called[i]]}" in told_of[start:end]
    centre = dataclasses.replace(config, test_clips=1, test_crops=1, batch_size=1)
    source = open_split(config, "val.csv")
    clips = [c.numpy()[0] for c, *_ in evaluation_clips(centre, source, Account(source.manifest))]
    shown = np.array(page.pictures()).reshape(-1, config.clip_frames, config.test_size, config.test_size, 3)
    assert len(shown) == len(wrong) + 4
    right = [i for i in range(16) if i % 5]  # Of each class that has one, the surest; and four of these.
    surest = sorted({int(scores.labels[i]): i for i in right}.values(), reverse=True)[:4]
    for i, pixels in zip([*order, *surest], shown, strict=True):
        distances = [np.abs(pixels - denormalised(clip, config).astype(float)).mean() for clip in clips]
        assert np.argmin(distances) == i and distances[i] < 6  # As JPEG has it.


def test_curves_are_drawn_and_put_in_words(told):
    page = told[0]
    lines = [of["points"] for of in page.named("polyline")]
    assert sorted(len(points.split()) for points in lines) == [3] * 5  # The loss has a gap, and so two dots.
    assert len(page.named("circle")) == 2
    assert "training: 1.25 at the end, least 1.25 in epoch 3, most 2.5 in epoch 1" in page.text
    assert "validation top-1: 50% at the end, least 25% in epoch 1, most 62% in epoch 2" in page.text
    # Where a line begins and ends: the rate is 0.01 at first, which is its chart's highest level.
    (rate,) = (points for points in lines if points.split()[0].endswith(",8.0"))
    assert [float(point.split(",")[0]) for point in rate.split()] == [46.0, 199.0, 352.0]
    alone = str(line_chart("Loss", {"a": [1.0], "b": [float("nan")]}, [1]))
    assert alone.count("<circle") == 1 and "b: no values" in alone
    assert line_chart("Loss", {"a": [float("nan")]}, [1]) == ""
    many = str(
        line_chart("Loss", {"a": np.random.default_rng(0).random(100_000).tolist()}, range(1, 100_001))
    )
    assert len(many) < 10_000 and "100000</text>" in many


def test_settings_that_differ_come_first(told):
    page, config, _ = told
    changed, others = ([row[0] for row in t[1:]] for t in page.tables if "meaning" in t[0])
    fields = {field.name: field for field in dataclasses.fields(Config)}
    assert len(changed) + len(others) == len(fields)
    for line in changed:
        name = re.match(r"--(\w+)=", line)[1]
        assert getattr(config, name) != fields[name].default
    assert "--batch_size=4" in changed and "--blocks=res3_0" in changed and "--momentum=0.9" in others


FILES = (
    "run.flags",
    "results.json",
    "curves.csv",
    "scores_val.npz",
    "bad_videos_train.csv",
    "bad_videos_val.csv",
)


@pytest.mark.parametrize("missing", [*FILES, "all"])
def test_what_is_missing_is_named(data, tmp_path, missing):
    write_run(tmp_path / "run", data)
    for name in FILES if missing == "all" else [missing]:
        (tmp_path / "run" / name).unlink()
    page = Page(write_report(tmp_path / "run"))
    assert complaints(page) == []
    assert all(name in page.text for name in (FILES if missing == "all" else [missing]))
    assert ("Worst mistakes" in page.text) == (missing not in ("scores_val.npz", "all"))
    assert ("top-1 75.0 %" in page.text) == (missing not in ("results.json", "all"))
    if missing == "run.flags":  # It says where the videos are.
        assert "The frames cannot be shown" in page.text and page.pictures() == []


DAMAGED = {
    "nothing": b"",
    "bytes": bytes(range(256)) * 40,
    "brackets": b"[" * 100_000,
    "another object": b'{"top1": "high", "top5": [1], "videos": {}, "data": 7, "clips": "<b>"}',
    "numbers": b'{"top1": NaN, "top5": Infinity, "videos": -1e400, "train_seconds": 1e308}',
    "columns": f"{HEADER}\n1\n2,,,,<b>,,inf,-inf\n2,1,1,1\n".encode(),
    "epochs": f"{HEADER}\n1e300,1,1,1,1,1,1,1,1,1\n-1\nnan\n".encode(),
    "flags": b"--depth=7\n--flagfile=run.flags\n--<script>=1\n",
}


@pytest.mark.parametrize("damage", [*DAMAGED, "a folder", "a pipe"])
def test_damaged_files_leave_the_rest_of_the_page(data, tmp_path, damage):
    config, _ = write_run(tmp_path / "run", data)
    for name in FILES:
        path = tmp_path / "run" / name
        path.unlink()
        if damage == "a folder":
            path.mkdir()
        elif damage == "a pipe":
            os.mkfifo(path)
        else:
            path.write_bytes(DAMAGED[damage])
    page = Page(write_report(tmp_path / "run"))
    assert complaints(page) == []
    assert "scores_val.npz" in page.text and "The settings are not known" in page.text
    (tmp_path / "run" / "run.flags").is_dir() or (tmp_path / "run" / "run.flags").unlink()
    if damage != "a folder":
        (tmp_path / "run" / "run.flags").write_text(config.to_flags())
        assert "--batch_size=4" in Page(write_report(tmp_path / "run")).text


def test_scores_that_do_not_fit_are_refused(data, tmp_path):
    _, scores = write_run(tmp_path / "run", data)
    for changes in (
        {"logits": scores.logits[:, 1:]},
        {"logits": scores.logits * np.inf},
        {"labels": scores.labels + 1},
        {"labels": scores.labels - 1},
        {"labels": scores.labels > 0},
        {"labels": np.eye(9, dtype=bool)[scores.labels]},
        {"paths": scores.paths[1:]},
        {"paths": tuple(range(16))},
        {"logits": np.array([object()])},
    ):
        np.savez(tmp_path / "run" / "scores_val.npz", **dataclasses.asdict(scores) | changes)
        page = Page(write_report(tmp_path / "run"))
        assert "There are no scores of videos. scores_val.npz: Expected" in page.text
        assert "Worst mistakes" not in page.text


def test_names_are_escaped_and_cut_off(data, tmp_path):
    config, scores = write_run(tmp_path / "run", data)
    paths = tuple(f"{name}/{i}.mp4" for i, name in enumerate(HOSTILE * 2))
    dataclasses.replace(scores, classes=HOSTILE, paths=paths).save(tmp_path / "run" / "scores_val.npz")
    rows = "".join(
        '"{}","{}"\n'.format(name.replace('"', '""'), "why <b>" + name[:9].replace('"', ""))
        for name in HOSTILE
    )
    content = ("path,reason\n" + rows.replace("\ud800", "")).encode("utf-8", "surrogateescape")
    (tmp_path / "run" / "bad_videos_train.csv").write_bytes(content)
    path = tmp_path / "run" / "run.flags"
    hostile = config.to_flags().replace("--val_annotations=val.csv", f"--val_annotations={HOSTILE[0]}")
    path.write_text(hostile)
    page = Page(write_report(tmp_path / "run"))
    assert complaints(page) == []
    assert "<script>alert(1)</script>" in page.text  # As a text.
    assert (
        r"half \ud800 a character, and \udcff" in page.text
        and r"\u202eturned\u2066 round\x1b[31m" in page.text
    )
    assert "\u5012\u7acb" in page.text
    assert "x" * 47 + "…" in page.text and "x" * 100 not in page.text
    assert "The frames cannot be shown. Expected a manifest" in page.text
    assert len(page.source) < 150_000


def test_many_classes_make_a_small_page(data, tmp_path):
    write_run(tmp_path / "run", data)
    generator, count = np.random.default_rng(0), 400
    labels = np.repeat(np.arange(count), 50)
    logits = generator.normal(size=(len(labels), count)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 3
    names = tuple(f"class number {k} of Kinetics, with its long name" for k in range(count))
    paths = tuple(f"val/{i}.mp4" for i in range(len(labels)))
    Scores(logits, labels, paths, names).save(tmp_path / "run" / "scores_val.npz")
    start = time.monotonic()
    page = Page(write_report(tmp_path / "run"))
    assert time.monotonic() - start < 20
    assert len(page.source) < 400_000
    assert page.named("svg", width=True) == [] and len(page.pictures()) == 1
    assert page.pictures()[0].shape == (800, 800, 3)
    assert "All 400 classes" in page.text and "the worst classes" in page.text


def test_scores_find_their_rows_again(data, tmp_path):
    videos = open_split(config_of(data, tmp_path), "val.csv").manifest.videos
    twice = (*videos[:2], videos[0], *videos[2:])  # As two parts of a file are.
    paths = [videos[0].path, videos[0].path, videos[3].path, "elsewhere.mp4", videos[5].path]
    scores = Scores(np.zeros((5, 8)), np.zeros(5, int), tuple(paths), CLASSES)
    assert rows_of(twice, scores) == {0: 0, 1: 2, 2: 4, 4: 6}


def test_the_program_writes_the_page_or_says_why_not(data, tmp_path, monkeypatch, capsys):
    from absl import flags

    from train.reporting.__main__ import main

    write_run(tmp_path / "run", data)
    monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())
    flags.DEFINE_string("workdir", None, "", flag_values=flags.FLAGS)
    flags.FLAGS(["report", f"--workdir={tmp_path / 'run'}"])
    main(["report"])
    assert capsys.readouterr().out == f"wrote {tmp_path / 'run' / 'report.html'}\n"
    flags.FLAGS.workdir = str(tmp_path / "none")
    with pytest.raises(
        SystemExit, match=r"error: Expected the directory of a run\. Received .*, which is none\. Try"
    ):
        main(["report"])
    with pytest.raises(SystemExit, match="error: Expected nothing but flags"):
        main(["report", "run"])


def test_a_report_that_fails_is_a_warning(tmp_path, caplog):
    report(tmp_path / "none")
    assert "cannot be written: Expected the directory of a run" in caplog.text


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_matrix_is_darker_where_its_row_has_more():
    matrix = np.zeros((50, 50), int)
    matrix[3] = 1
    matrix[7, 7], matrix[7, 9] = 1, 3
    picture = opened(confusion_picture(matrix, [str(k) for k in range(50)]))
    cells = picture[::16, ::16].astype(int)
    assert picture.shape == (800, 800, 3) and (cells[0] == 255).all()
    np.testing.assert_array_equal(cells[7, 9], np.round(255 - 0.75 * (255 - np.array([0, 96, 168]))))
    np.testing.assert_array_equal(cells[7, 7], np.round(255 - 0.25 * (255 - np.array([0, 96, 168]))))
    assert (cells[9, 7] == 255).all() and (cells[3] == cells[3, 0]).all() and cells[3, 0, 0] < 255


def test_a_small_matrix_has_names():
    for names in (["a", "b"], list(HOSTILE[:2])):
        picture = opened(confusion_picture(np.array([[3, 1], [0, 2]]), names))
        margin = len(picture) - 2 * 40 - 8
        assert (picture[margin + 8 : margin + 32, :margin] < 100).any()  # Letters of the first row's name.
        assert (picture[:margin, margin + 8 : margin + 32] < 100).any()
        assert len(picture) < 400
    assert str(confusion_chart(np.array([[3, 1], [0, 2]]), HOSTILE[:2])).count("<script") == 0


def test_clips_are_strips_with_words_beneath():
    clips = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3)).astype(np.uint8)
    picture = opened(clips_picture(clips, ["moving left", HOSTILE[5]]))
    for number, clip in enumerate(clips):
        top = number * (32 + 30)
        for frame in range(4):
            np.testing.assert_array_equal(picture[top : top + 32, 32 * frame : 32 * frame + 32], clip[frame])
        assert (picture[top + 32 : top + 62] < 100).any() and (picture[top + 32 : top + 62, :, 0] > 200).any()
    assert picture.shape == (124, 240, 3)
    long = opened(clips_picture(np.zeros((1, 64, 256, 256, 3), np.uint8), ["x"]))
    assert long.shape[1] == 16 * 128


def pictures_of(workdir):
    """Returns {(tag, step): uint8 [H, W, 3]} of the pictures that TensorBoard would show."""
    found = {}
    for path in Path(workdir).glob("tensorboard/*/events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    found[value.tag, event.step] = opened(tf.make_ndarray(value.tensor)[2])
    return found


def test_a_run_writes_its_report_and_its_pictures(finished_run):
    page = Page(finished_run.workdir / "report.html")
    results = json.loads((finished_run.workdir / "results.json").read_text())
    assert complaints(page) == [] and "report.html" in finished_run.stdout
    assert f"top-1 {results['top1']:.1%}".replace("%", " %") in page.text
    for name in finished_run.bad:
        assert name in page.text
    pictures = pictures_of(finished_run.workdir)
    assert set(pictures) == {("clips", 0), ("confusion_matrix", 0), ("confusion_matrix", 1)}
    from train.command_line import read_config

    config = read_config(finished_run.workdir)
    run = open_data(config)
    clips, _ = next(iter(run.batches()))
    run.close()
    for number, clip in enumerate(denormalised(clips.numpy(), config)):
        top = number * (config.crop + 30)
        strip = pictures["clips", 0][top : top + config.crop, : 4 * config.crop]
        np.testing.assert_array_equal(strip, np.concatenate(list(clip), axis=1))


def test_a_picture_that_fails_is_a_warning(tmp_path, caplog):
    class Run:
        step, config, data, validated = 0, Config(workdir=str(tmp_path)), None, None

    pictures = Pictures(Run)
    pictures.on_train_begin()
    pictures.on_epoch_end(0)
    assert "The picture clips cannot be written" in caplog.text
    assert "The picture confusion_matrix cannot be written" in caplog.text
