import dataclasses
import shutil

import numpy as np
import pytest

from pipelines import synthetic
from pipelines.manifest import read_manifest
from train.planning.choices import (
    Cost,
    Facts,
    choices_by_time,
    first_choices,
    seconds_of_run,
    seconds_of_videos,
)
from train.planning.folder import open_folder

OPTIONS = {"val_fraction": 0.25, "seed": 0, "min_videos": 3, "decoder_megabytes": 570}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Returns eight small videos, each another one."""
    directory = tmp_path_factory.mktemp("videos")
    paths = []
    for seed in range(8):
        picture = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
        frames = np.stack([np.roll(picture, shift, 1).repeat(4, 0).repeat(4, 1) for shift in range(12)])
        paths.append(directory / f"{seed}.mp4")
        synthetic.write_video(str(paths[-1]), frames, 12)
    return paths


def folder(directory, videos, counts):
    """Writes a folder with so many videos of each class, and returns it."""
    for name, count in counts.items():
        (directory / "videos" / name).mkdir(parents=True)
        for number in range(count):
            shutil.copy(videos[number], directory / "videos" / name / f"{number}.mp4")
            # The container's comment makes each file another one.
            with open(directory / "videos" / name / f"{number}.mp4", "ab") as file:
                file.write(len(name).to_bytes(1, "big"))
    return str(directory / "videos")


def opened(data_dir, directory, **options):
    return open_folder(data_dir, str(directory / "videos.jsonl"), **OPTIONS | options)


def test_a_folder_is_checked_and_split(tmp_path, videos):
    data_dir = folder(tmp_path, videos, {"a": 8, "b": 8})
    shutil.copy(videos[0], tmp_path / "videos" / "a" / "copy.mp4")
    (tmp_path / "videos" / "a" / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "videos" / "b" / "notes.txt").write_text("notes")
    (tmp_path / "videos" / "b" / "older").mkdir()
    found = opened(data_dir, tmp_path)
    assert (found.names, len(found.train) + len(found.val)) == (("train", "val"), 17)
    assert {video.label for video in found.val.videos} == {0, 1}
    sides = {
        video.split for split in (found.train, found.val) for video in split.videos if video.path[-5] in "0y"
    }
    assert len(sides) <= 2
    notes = "\n".join(found.notes)
    assert "1 videos cannot be read, such as " in notes and "broken.mp4" in notes
    assert "2 other entries are passed over, such as b/notes.txt" in notes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["videos", "videos.jsonl"]
    before = (tmp_path / "videos.jsonl").read_bytes()
    again = opened(data_dir, tmp_path, seed=5)
    assert (again.train.videos, again.val.videos, again.notes) == (
        found.train.videos,
        found.val.videos,
        found.notes,
    )
    assert (tmp_path / "videos.jsonl").read_bytes() == before


def test_splits_that_a_folder_has_stay(tmp_path, videos):
    data_dir = folder(tmp_path, videos, {"train/a": 4, "train/b": 4, "valid/a": 1, "valid/b": 2, "other": 1})
    found = opened(data_dir, tmp_path)
    assert (found.names, len(found.train), len(found.val)) == (("train", "valid"), 8, 3)
    assert "videos are in both splits, such as " in "\n".join(found.notes)


def test_a_folder_with_training_alone_is_split(tmp_path, videos):
    found = opened(folder(tmp_path, videos, {"training/a": 5, "training/b": 5}), tmp_path)
    assert (found.names, len(found.train), len(found.val)) == (("train", "val"), 8, 2)


def test_a_class_may_be_called_train(tmp_path, videos):
    found = opened(folder(tmp_path, videos, {"train": 4, "tram": 4}), tmp_path)
    assert (found.train.classes, len(found.train), len(found.val)) == (("train", "tram"), 6, 2)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, r"a folder for each class in .*videos\. Received no folder.*CLASS/VIDEO"),
        ({"a": 4}, r"two classes or more .* Received one, a\. Try: a second folder"),
        ({"a": 4, "b": 2}, r"Received 1 classes with fewer, such as b with 2\. Try: .* or --min_videos=2$"),
        ({"a": 4, "b": 0}, r"such as b with 0\. Try: more videos of it, no folder of it$"),
        ({"train/a": 4, "train/b": 4, "val/c": 1}, r"1 others, such as c\. Try: videos of them in .*train"),
        ({"val/a": 4, "val/b": 4}, r"folders named as splits, val"),
    ],
)
def test_a_folder_that_does_not_do_is_refused_before_anything_is_decoded(tmp_path, videos, counts, words):
    (tmp_path / "videos").mkdir()
    shutil.copy(videos[0], tmp_path / "videos" / "loose.mp4")
    data_dir = folder(tmp_path, videos, counts)
    with pytest.raises((ValueError, OSError), match=words):
        opened(data_dir, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_a_manifest_of_another_folder_is_refused(tmp_path, videos):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        folder(tmp_path / name, videos, {"a": 4, "b": 4})
    opened(str(tmp_path / "one" / "videos"), tmp_path)
    with pytest.raises(
        ValueError, match=r"of the videos in .*two.*Received .* others, such as .*one.*Try: another"
    ):
        opened(str(tmp_path / "two" / "videos"), tmp_path)
    (tmp_path / "videos.jsonl").rename(tmp_path / "videos.partial.jsonl")
    with pytest.raises(ValueError, match=r"Received a manifest of others"):
        opened(str(tmp_path / "two" / "videos"), tmp_path)


def test_videos_that_cannot_be_read_do_not_count(tmp_path, videos):
    data_dir = folder(tmp_path, videos, {"a": 4, "b": 4})
    for number in range(2):
        (tmp_path / "videos" / "b" / f"{number}.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="such as b with 2"):
        opened(data_dir, tmp_path)
    assert "b has 2 videos" in "\n".join(opened(data_dir, tmp_path, min_videos=2).notes)


FACTS = Facts(train=48, val=12, seconds=4.0, gpus=0, weights=None)


def chosen(facts, **given):
    return {name: value for name, (value, _) in first_choices(facts, given).items()}


def test_what_is_given_is_not_chosen():
    found = chosen(FACTS)
    assert (found["depth"], found["sampling"], found["batch_size"], found["flip"]) == (
        18,
        "segments",
        4,
        False,
    )
    given = chosen(FACTS, batch_size=8, depth=50)
    assert {"batch_size", "depth"} & given.keys() == set()
    assert given["epochs"] == 60 and found["epochs"] == 33  # 400 steps, 60 epochs at most.


@pytest.mark.parametrize("train", [1, 3, 9, 48, 1000, 100_000])
@pytest.mark.parametrize("gpus", [0, 1, 3])
def test_batches_fit_videos_and_devices(train, gpus):
    found = chosen(FACTS._replace(train=train, gpus=gpus))
    assert found["batch_size"] % max(1, gpus) == 0
    assert train < max(2, gpus) or found["batch_size"] <= train
    assert 8 <= found["epochs"] <= 60


def test_weights_bring_their_network_and_its_clips():
    fields = {"depth": 50, "blocks": ("res3_0",), "sampling": "dense", "crop": 96, "short_side": 112}
    found = chosen(FACTS._replace(weights=fields))
    assert fields.items() <= found.items() and found["frozen_batch_norm"]
    assert found["learning_rate"] < chosen(FACTS)["learning_rate"]
    assert "dense" not in chosen(FACTS._replace(weights=fields), sampling="segments").values()


def test_long_videos_are_seen_in_parts():
    assert chosen(FACTS._replace(seconds=40.0))["sampling"] == "dense"


def test_what_is_given_of_a_recipe_is_not_contradicted():
    with_weights = FACTS._replace(weights={"depth": 18})
    assert chosen(FACTS, steps=100)["epochs"] == 9  # Of twelve steps each.
    assert chosen(FACTS, consensus_clips=3)["sampling"] == "dense"
    assert chosen(with_weights)["frozen_batch_norm"]
    for name, value in (("partial_batch_norm", True), ("precise_batch_norm", 5)):
        found = chosen(with_weights, **{name: value})
        assert "frozen_batch_norm" not in found
    cost = Cost(1.0, 0.0)
    assert "epochs" in choices_by_time(FACTS, VALUES | {"crop": 96}, {}, cost, 1)
    assert "epochs" not in choices_by_time(FACTS, VALUES | {"crop": 96}, {"steps": 400}, cost, 1)


VALUES = {"epochs": 33, "test_clips": 2, "test_crops": 1}


@pytest.mark.parametrize("minutes", [0.5, 2, 6, 20, 1000])
def test_the_size_fits_the_time(minutes):
    cost = Cost(0.01, 1.2e-5)
    found = choices_by_time(FACTS, VALUES, {}, cost, minutes)
    side, epochs = found["crop"][0], found.get("epochs", (33,))[0]
    seconds = seconds_of_run(FACTS, VALUES | {"epochs": epochs}, cost, side)
    assert seconds <= 60 * minutes or (side, epochs) == (64, 8)
    assert side == 224 or seconds_of_run(FACTS, VALUES, cost, side * 1.3) > 60 * minutes
    assert (found["test_size"][0], found["short_side"][0]) == (side, round(side * 8 / 7))


def test_a_given_size_stays_and_its_others_follow():
    found = choices_by_time(FACTS, VALUES, {"crop": 100}, Cost(0.0, 1.0), 1)
    assert "crop" not in found and found["test_size"][0] == 100 and found["short_side"][0] == 114
    assert found["epochs"][0] == 8
    assert choices_by_time(FACTS, VALUES, {}, None, 1)["crop"][0] == 224


def test_weights_see_no_larger_clips_than_their_own():
    facts = FACTS._replace(weights={"crop": 96, "short_side": 120})
    found = choices_by_time(facts, VALUES | {"crop": 96, "short_side": 120}, {}, None, 1)
    assert (found["crop"][0], found["short_side"][0]) == (96, 120)


def test_the_length_of_videos_is_that_of_their_check(tmp_path, videos):
    found = opened(folder(tmp_path, videos, {"a": 4, "b": 4}), tmp_path)
    assert seconds_of_videos(found.train) == 1.0
    manifest = read_manifest(tmp_path / "videos.jsonl")
    blank = tuple(video._replace(check=None) for video in manifest.videos)
    assert seconds_of_videos(dataclasses.replace(manifest, videos=blank)) == 0
