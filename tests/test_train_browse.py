"""The page of `train.browse` shows the clips of a training as the network gets them, and their videos."""

import dataclasses
import os

import numpy as np
import pytest
import small_run
from absl import flags
from pages import Page, complaints

from pipelines.account import Account
from train import browse
from train.command_line import config_from_flags, define_flags
from train.data import open_data
from train.reporting import shown_clips
from train.reporting.shown_clips import denormalised, training_clips
from train.scoring.views import evaluation_clips

SIDE, FRAMES = small_run.FLAGS["crop"], small_run.FLAGS["clip_frames"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """(directory, bad files' names and reasons)."""
    directory = tmp_path_factory.mktemp("data")
    return directory, small_run.write_data(directory)


def flag_values_of(data, *arguments):
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    flags.DEFINE_string("output", "browse.html", "", flag_values=flag_values)
    flags.DEFINE_integer("clips", 24, "", flag_values=flag_values)
    given = {name: value for name, value in small_run.FLAGS.items() if name != "flip"}
    given |= {"data_dir": data, "train_annotations": "train.csv", "val_annotations": "val.csv"}
    flag_values(["browse", "--noflip", *(f"--{name}={value}" for name, value in given.items()), *arguments])
    return flag_values


def config_of(data, *arguments):
    return config_from_flags(flag_values_of(data, *arguments), ("data_dir",))


def batches_of(config, count):
    """Returns (pixels uint8 [N, ...], labels [N, ...], paths) of the first batches of a run."""
    run = open_data(config)
    try:
        made = [(clips.numpy(), labels.numpy()) for clips, labels in run.batches().take(count)]
    finally:
        run.close()
    pixels, labels = (np.concatenate(parts) for parts in zip(*made, strict=True))
    return denormalised(pixels, config), labels


@pytest.fixture(scope="module")
def shown(data, tmp_path_factory):
    """(page, config) of what the program wrote in a directory of its own, and nothing else with it."""
    directory = tmp_path_factory.mktemp("shown")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        browse.main(["browse"], flag_values_of(data[0], "--clips=11"))
    assert os.listdir(directory) == ["browse.html"]
    return Page(directory / "browse.html"), config_of(data[0])


def test_clips_are_those_of_the_training(shown):
    page, config = shown
    pixels, labels = batches_of(config, 2)
    pictures = page.pictures()[:11]
    for picture, clip in zip(pictures, pixels, strict=False):
        assert picture.shape == (SIDE, FRAMES * SIDE, 3)
        # JPEG moves a pixel by a few levels; another clip, or another crop of it, is further away.
        expected = np.concatenate(list(clip), axis=1).astype(float)
        assert np.abs(picture - expected).mean() < 3
    classes = open_data(config).classes
    names = [classes[label] for label in labels[:11]]
    texts = page.text.partition("Training clips")[2].partition("Views of evaluation")[0]
    places = [texts.index(name) for name in names[:1]]
    for name in names[1:]:
        places.append(texts.index(name, places[-1] + 1))
    assert len(page.named("div", **{"class": "clip"})) == len(page.pictures())
    assert all(f"--frames: {FRAMES}; " in of["style"] for of in page.named("div", **{"class": "clip"}))


def test_pixels_labels_and_videos_are_those_of_the_pipeline(data):
    config = config_of(data[0], "--erasing=0.5", "--repeats=2", "--seed=4")
    pixels, labels = batches_of(config, 2)
    run = open_data(config)
    clips = training_clips(config, run, 15, run.accounts["train"])
    np.testing.assert_array_equal([clip.pixels for clip in clips], pixels[:15])
    assert [clip.labels for clip in clips] == [[(label, 1.0)] for label in labels[:15].tolist()]
    by_path = {video.path: video.label for video in run.train.manifest.videos}
    assert [by_path[clip.path] for clip in clips] == labels[:15].tolist()
    first = [run.train.manifest.videos[int(run.schedule.order.row(index, 0))].path for index in range(8)]
    replaced = [any(name in path for name in data[1]) for path in first]
    assert sum(replaced) >= 2  # Of bad videos, others have taken the place.
    assert [a == b.path for a, b in zip(first, clips[::2], strict=True)] == [not bad for bad in replaced]
    assert [clip.path for clip in clips[:-1:2]] == [clip.path for clip in clips[1::2]]  # Each is shown twice.
    for clip in clips:
        assert len(clip.seconds) == FRAMES and (np.diff(clip.seconds) >= 0).all()
        assert clip.frames >= 2 and not any(name in clip.path for name in data[1])
    run.close()


def test_the_clips_of_a_consensus_are_shown_one_after_the_other(data):
    config = config_of(data[0], "--sampling=dense", "--window_frames=8", "--consensus_clips=2", "--steps=1")
    pixels, _ = batches_of(config, 1)
    run = open_data(config)
    clips = training_clips(config, run, 3, run.accounts["train"])
    np.testing.assert_array_equal([clip.pixels for clip in clips], pixels[:3])
    for clip in clips:
        assert len(clip.pixels) == len(clip.seconds) == 2 * FRAMES
        first, second = np.split(clip.seconds, 2)
        assert first[0] <= second[0] and (np.diff(first) > 0).all() and (np.diff(second) > 0).all()
    run.close()


def test_an_epoch_is_shown_at_most(data, monkeypatch):
    monkeypatch.setattr(shown_clips, "_origin", lambda *arguments: ("", 1, np.zeros(1)))
    run = open_data(config := config_of(data[0], "--mixup=0.8"))
    assert len(training_clips(config, run, 1000, run.accounts["train"])) == run.schedule.steps_per_epoch * 8
    run.close()


def test_mixed_clips_have_the_labels_of_both_with_their_weights(data, tmp_path):
    config = config_of(data[0], "--mixup=0.8")
    pixels, labels = batches_of(config, 1)
    run = open_data(config)
    clips = training_clips(config, run, 5, run.accounts["train"])
    np.testing.assert_array_equal([clip.pixels for clip in clips], pixels[:5])
    for clip, label in zip(clips, labels, strict=False):
        assert dict(clip.labels) == {k: label[k] for k in np.flatnonzero(label)}
        assert clip.labels[0][1] == label.max() and sum(weight for _, weight in clip.labels) == pytest.approx(
            1
        )
    browse.browse(config, tmp_path / "page.html", 5)
    page = Page(tmp_path / "page.html")
    mixed = next(clip for clip in clips if len(clip.labels) == 2)
    both = ", ".join(f"{run.classes[k]} {weight:.0%}".replace("%", " %") for k, weight in mixed.labels)
    assert both in page.text and "Clips are mixed with others" in page.text
    run.close()


def test_views_are_those_of_evaluation(shown):
    page, config = shown
    run = open_data(config)
    source = dataclasses.replace(config, batch_size=2)
    views = [v.numpy() for v, *_ in evaluation_clips(source, run.val, Account(run.val.manifest))]
    first = denormalised(np.concatenate(views)[: config.test_clips * config.test_crops], config)
    for picture, view in zip(page.pictures()[11:], first, strict=False):
        assert np.abs(picture - np.concatenate(list(view), axis=1).astype(float)).mean() < 6
    assert len(page.pictures()) == 11 + 4 * config.test_clips * config.test_crops
    assert "clip 2 of 2, crop 3 of 3" in page.text
    run.close()


def test_the_page_counts_classes_and_videos(shown, data):
    page, config = shown
    assert complaints(page) == []
    run = open_data(config)
    (table,) = (
        table for table in page.tables if table[0] == ["class", "training videos", "validation videos"]
    )
    for name, *counts in table[1:]:
        k = run.classes.index(name)
        assert counts == [str(sum(v.label == k for v in of.manifest.videos)) for of in (run.train, run.val)]
    train = run.train.manifest
    assert f"training videos {len(train)} {len(train) // 8} steps an epoch, 8 clips a step" in page.text
    assert f"frames of a clip {FRAMES} of " in page.text and "segments sampling" in page.text
    spans = [
        clip.seconds[-1] - clip.seconds[0] for clip in training_clips(config, run, 11, run.accounts["train"])
    ]
    assert f"a clip spans {min(spans):.1f} to {max(spans):.1f} s" in page.text
    for name in ("empty", "missing"):  # They are known without a video being opened, or by the clips.
        assert f"{name}_000000_000010.mp4" in page.text
    assert "--batch_size=8" in page.text
    run.close()


def test_many_frames_make_no_large_page(data, tmp_path):
    config = config_of(data[0], "--clip_frames=32", "--crop=112", "--short_side=112", "--test_size=112")
    browse.browse(config, tmp_path / "page.html", 8)
    page = Page(tmp_path / "page.html")
    assert "16 of their 32 frames are shown, evenly spaced" in page.text
    assert page.pictures()[0].shape == (112, 16 * 112, 3)
    assert len(page.source) < 3_000_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--val_annotations="], "Expected --val_annotations to be a manifest"),
        (["--train_annotations=trian.csv"], "Received no such file. Try: train.csv"),
        (["--batch_size=64", "--repeats=1"], "Expected at least 64 training videos"),
        (["--output=nowhere/page.html"], "Expected --output in a folder that exists"),
    ],
)
def test_what_is_wrong_is_one_line(data, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"^error: .*{words}"):
        browse.main(["browse"], flag_values_of(data[0], *arguments))
    assert list(tmp_path.iterdir()) == []


def test_no_readable_video_is_one_line(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.csv").write_text((data[0] / "train.csv").read_text())
    (tmp_path / "val.csv").write_text((data[0] / "val.csv").read_text())
    for split in ("train", "val"):
        for path in (data[0] / split).glob("*/*.mp4"):
            copy = tmp_path / split / path.parent.name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(b"no video")
    with pytest.raises(SystemExit, match=r"^error: Expected a readable video\. Received .*"):
        browse.main(["browse"], flag_values_of(tmp_path))
    assert not (tmp_path / "browse.html").exists()
