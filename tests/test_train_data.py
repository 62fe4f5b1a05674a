"""A run's data: every kind of split, every augmentation, and the same clips wherever they come from."""

import dataclasses
import itertools
import random
import re

import keras
import numpy as np
import pytest
import ramp_videos
import small_run
import tensorflow as tf

from pipelines import synthetic
from pipelines.account import Account
from pipelines.bad_video import BadVideo
from pipelines.decoding.decode import decode_frames
from pipelines.decoding.isolation import IsolatedDecoder
from pipelines.manifest import Check, Label, Manifest, Video, read_manifest, write_manifest
from pipelines.manifest.annotations import read_kinetics
from pipelines.order import Schedule
from pipelines.records.source import Records
from train import data
from train.config import Config
from train.scoring.views import evaluation_clips

ALL_AUGMENTATIONS = {
    "crop_method": "random_resized",
    "rand_augment_layers": 1,
    "colour_jitter": 0.4,
    "erasing": 0.5,
    "mixup": 0.8,
    "cutmix": 1.0,
    "repeats": 2,
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data set three times: as Kinetics' CSV, as one manifest with two splits, and as records."""
    directory = tmp_path_factory.mktemp("data")
    synthetic.write_dataset(str(directory), train=16, val=8, workers=2)
    train = read_kinetics(directory, "train.csv")
    val = read_kinetics(directory, "val.csv", train.classes)
    both = [
        video._replace(split=split)
        for split, part in (("train", train), ("val", val))
        for video in part.videos
    ]
    write_manifest(directory / "all.jsonl", Manifest(tuple(both), train.classes))
    process = small_run.run_module(
        "pipelines.records",
        f"--manifest={directory / 'all.jsonl'}",
        f"--output={directory / 'records'}",
        "--split=train",
        "--short_side=40",
        "--videos_per_shard=6",
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return directory


def config(directory, **changes):
    values = small_run.FLAGS | {"data_dir": str(directory), "workdir": "run", "blocks": ("res3_0",)}
    return Config(**values | {"seed": 4, "epochs": 1} | changes)


def batches(run, annotations, **options):
    with data.decoder(run) as decode:
        source = data.open_split(run, annotations, decode)
        schedule = Schedule(len(source.manifest), run.batch_size, run.epochs, run.seed, run.repeats)
        account = Account(source.manifest, 0.5)
        clips = data.training_batches(run, source, account, schedule, **options)
        return [[part.numpy() for part in batch] for batch in clips], account


@pytest.mark.parametrize(
    ("mixup", "cutmix", "mixed"), [(0.0, 0.0, False), (0.2, 0.0, True), (0.0, 0.2, True), (1.0, 1.0, True)]
)
def test_any_alpha_mixes(mixup, cutmix, mixed):
    assert data.mixes(Config(mixup=mixup, cutmix=cutmix)) is mixed


def test_a_manifest_and_a_kinetics_csv_are_the_same_data(prepared):
    run = config(prepared)
    classes = data.open_split(run, "train.csv").manifest.classes
    for name, count in (("all.jsonl#train", 16), ("all.jsonl#val", 8)):
        manifest = data.open_split(run, name, classes=classes).manifest
        assert manifest.classes == classes and len(manifest) == count
    of_csv, _ = batches(run, "train.csv")
    of_manifest, account = batches(run, "all.jsonl#train")
    for one, other in zip(of_csv, of_manifest, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    assert account.summary()["used"] == 16


def test_records_give_the_clips_of_the_files(prepared):
    run = config(prepared)
    assert isinstance(data.open_split(run, "records"), Records)
    of_files, _ = batches(run, "all.jsonl#train")
    of_records, account = batches(run, "records")
    for one, other in zip(of_files, of_records, strict=True):
        np.testing.assert_array_equal(one[1], other[1])
        assert np.abs(one[0] - other[0]).mean() * 57 < 4  # Grey levels: the JPEGs differ a little.
    assert account.summary() == account.summary() | {"used": 16, "skipped": 0, "never_read": 0}


def test_isolated_decoding_gives_the_same_clips(prepared):
    run = config(prepared)
    plain, _ = batches(run, "train.csv")
    isolated, _ = batches(dataclasses.replace(run, decode_isolation="process"), "train.csv")
    for one, other in zip(plain, isolated, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    with data.decoder(run) as decode:
        assert decode.func is decode_frames
    with data.decoder(dataclasses.replace(run, decode_isolation="process")) as decode:
        assert isinstance(decode, IsolatedDecoder)
    hurried = dataclasses.replace(run, decode_isolation="process", decode_timeout=1e-3)
    with (
        data.decoder(hurried) as decode,
        pytest.raises(BadVideo, match=r"more than 0\.001 seconds") as raised,
    ):
        decode(data.open_split(run, "train.csv").manifest.videos[0].path, [0])
    assert not raised.value.is_final


@pytest.mark.parametrize("isolation", ["process", "none"])
def test_a_decoder_has_the_memory_of_the_flag(prepared, tmp_path, isolation):
    run = dataclasses.replace(config(prepared), decode_isolation=isolation)
    path = ramp_videos.write(tmp_path / "v.mp4", 3, height=200, width=300)
    with (
        data.decoder(dataclasses.replace(run, decoder_megabytes=1)) as decode,
        pytest.raises(BadVideo, match="above the limit of 1,000,000; try more decoder_megabytes"),
    ):
        decode(path, [0])
    with data.decoder(dataclasses.replace(run, decoder_megabytes=10)) as decode:
        assert len(decode(path, [0]).frames) == 1


def test_every_augmentation_at_once(prepared):
    run = config(prepared, **ALL_AUGMENTATIONS)
    found, _ = batches(run, "records")
    assert len(found) == 4  # 16 videos, each twice, in batches of 8.
    for clips, labels in found:
        assert clips.shape == (8, 4, 32, 32, 3) and np.isfinite(clips).all()
        assert labels.shape == (8, 8)
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-5)
    resumed, _ = batches(run, "records", first_step=3)
    np.testing.assert_array_equal(resumed[0][0], found[3][0])


@pytest.mark.parametrize("name", sorted(ALL_AUGMENTATIONS))
def test_each_augmentation_changes_the_clips(prepared, name):
    plain, _ = batches(config(prepared), "records")
    run = config(prepared, **{name: ALL_AUGMENTATIONS[name]})
    changed, _ = batches(run, "records")
    assert (plain[0][0] != changed[0][0]).any()


def test_a_service_makes_the_same_batches(prepared):
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    address = dispatcher.target.partition("://")[2]
    workers = [service.WorkerServer(service.WorkerConfig(dispatcher_address=address)) for _ in range(2)]
    run = config(prepared, repeats=2)
    alone, _ = batches(run, "records")
    served, account = batches(dataclasses.replace(run, data_service=dispatcher.target), "records")
    assert len(workers) == 2 and len(alone) == len(served) == 4
    assert {clips.tobytes() for clips, _ in served} == {clips.tobytes() for clips, _ in alone}
    assert account.summary()["used"] == 16


def test_other_classes_and_several_labels_are_refused(prepared, tmp_path):
    run = config(tmp_path)
    video = Video(str(tmp_path / "a.mp4"), (Label(0), Label(1)))
    (tmp_path / "a.mp4").touch()
    write_manifest(tmp_path / "m.jsonl", Manifest((video,), ("x", "y")))
    with pytest.raises(ValueError, match=r"Expected the classes of the training split.*Received.*Try"):
        data.open_split(run, "m.jsonl", classes=("x", "z"))
    with pytest.raises(ValueError, match=r"Expected one label a video.*Try"):
        data.open_split(run, "m.jsonl")
    with pytest.raises(ValueError, match=r"without #val, as they are read whole.*Try: .*--split=val"):
        data.open_split(config(prepared), "records#val")
    with pytest.raises(FileNotFoundError, match="Expected"):
        data.open_split(run, "nothing.jsonl")


def test_flags_that_do_not_go_with_the_data_are_refused(prepared):
    left_and_right = read_manifest(prepared / "all.jsonl")
    write_manifest(prepared / "sides.jsonl", dataclasses.replace(left_and_right, directional=True))
    files = {"train_annotations": "all.jsonl#train", "val_annotations": "all.jsonl#val"}
    records = files | {"train_annotations": "records"}
    for changes, words in (
        (records | {"fps": 5.0}, r"Expected --fps=0, .*Received --fps=5\. Try"),
        (records | {"data_service": "grpc://127.0.0.1:1"}, r"service at .*Received: .*refused.*Try"),
        (files | {"flip": True, "train_annotations": "sides.jsonl#train"}, r"names directions.*Try: .*flip"),
        (files | {"batch_size": 17}, r"at least 17 .*Received 16.*Try: batch_size=2"),
    ):
        with pytest.raises(ValueError, match=words):
            data.open_data(config(prepared, **changes))
    opened = data.open_data(config(prepared, **records))
    assert opened.schedule.steps_per_epoch == 2 and len(opened.classes) == 8
    opened.close()


def test_validation_on_the_training_videos_is_refused_or_said_loudly(prepared, caplog):
    for names in (("all.jsonl", "all.jsonl"), ("all.jsonl", "all.jsonl#val"), ("records", "all.jsonl#train")):
        run = config(prepared, train_annotations=names[0], val_annotations=names[1])
        with pytest.raises(ValueError, match=r"that training does not show.*Received .*Try: .*FILE#train"):
            data.open_data(run)
    rows = read_manifest(prepared / "all.jsonl")
    copy = next(video for video in rows.videos if video.split == "train")._replace(split="val")
    open_both(prepared, dataclasses.replace(rows, videos=(*rows.videos, copy)))
    assert "1 OF 9 VALIDATION VIDEOS ARE TRAINING VIDEOS TOO" in caplog.text


def test_equal_contents_on_both_sides_are_said(prepared, caplog):
    rows = read_manifest(prepared / "all.jsonl")
    check = Check("a" * 64, 30, 25.0, 64, 64, "h264", "ok")
    first = [next(v for v in rows.videos if v.split == split) for split in ("train", "val")]
    videos = tuple(v._replace(check=check) if v in first else v for v in rows.videos)
    open_both(prepared, dataclasses.replace(rows, videos=videos))
    assert "1 OF 8 VALIDATION VIDEOS" in caplog.text


def open_both(directory, manifest):
    """Opens a manifest's splits for a run."""
    write_manifest(directory / "both.jsonl", manifest)
    splits = {"train_annotations": "both.jsonl#train", "val_annotations": "both.jsonl#val"}
    data.open_data(config(directory, **splits)).close()


def test_a_service_is_refused_for_files(prepared):
    dispatcher = tf.data.experimental.service.DispatchServer()
    run = config(prepared, train_annotations="all.jsonl#train", data_service=dispatcher.target)
    with pytest.raises(ValueError, match=r"Expected records .*video files.*Try"):
        data.open_data(dataclasses.replace(run, val_annotations="all.jsonl#val"))


@pytest.mark.long
def test_a_run_from_records_with_all_augmentations(prepared, tmp_path):
    process = small_run.train(
        prepared,
        tmp_path / "run",
        train_annotations="records",
        val_annotations="all.jsonl#val",
        decode_isolation="process",
        **ALL_AUGMENTATIONS,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "train: 16 of 16 videos used, 0 never read, 0 skipped" in process.stdout
    fingerprint = read_manifest(prepared / "all.jsonl", "val").fingerprint()
    assert f"val: 8 of 8 videos used, 0 never read, 0 skipped; manifest {fingerprint[:12]}" in process.stdout
    assert keras.saving.load_model(tmp_path / "run" / "model.keras").output_shape == (None, 8)


# Options that may meet; those of a pair are of different flags.
OPTIONS = [
    {"repeats": 2},
    {"mixup": 0.5},
    {"cutmix": 1.0},
    {"flip": True},
    {"fps": 5.0},
    {"fps": 0.2},
    {"sampling": "dense", "window_frames": 4},
    {"sampling": "dense", "window_frames": 128, "short_videos": "hold"},
    {"sampling": "dense", "window_frames": 8, "consensus_clips": 3},
    {"short_side": 0},
    {"short_side": 200},
    {"crop_method": "scale_jitter", "jitter_sides": (36, 48)},
    {"crop_method": "random_resized"},
    {"crop_scales": (1.0, 0.01)},
    {"rand_augment_layers": 2, "rand_augment_magnitude": 30},
    {"colour_jitter": 1.0},
    {"erasing": 1.0},
    {"clip_frames": 1, "temporal": "c2d"},
    {"clip_frames": 16, "window_frames": 16},
    {"crop": 1, "test_size": 1},
    {"batch_size": 16},
    {"test_clips": 3, "test_crops": 1},
    {"test_crops": 3, "test_size": 64},
    {"train_annotations": "records"},
    {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
]
PAIRS = [(one, other) for one, other in itertools.combinations(OPTIONS, 2) if not {*one} & {*other}]
PAIRS = random.Random(1).sample(PAIRS, 60)


@pytest.mark.parametrize(
    ("one", "other"),
    [pytest.param(*pair, marks=pytest.mark.long if n >= 4 else ()) for n, pair in enumerate(PAIRS)],
    ids=str,
)
def test_options_in_pairs(prepared, one, other):
    splits = {"train_annotations": "all.jsonl#train", "val_annotations": "all.jsonl#val"}
    run = config(prepared, **splits | {"test_clips": 1, "test_crops": 1} | one | other)
    if run.train_annotations == "records" and run.fps:
        with pytest.raises(ValueError, match="Expected --fps=0, with which the records"):
            data.open_data(run)
        return
    opened = data.open_data(run)
    made = list(opened.batches())
    assert len(made) == opened.schedule.steps > 0
    for clips, labels in made:
        assert clips.shape == (run.batch_size, data.training_format(run).frames, run.crop, run.crop, 3)
        assert np.isfinite(clips).all() and np.std(clips) > 0
        assert labels.shape == ((run.batch_size, 8) if data.mixes(run) else (run.batch_size,))
        np.testing.assert_allclose(np.sum(labels, -1) if data.mixes(run) else 1, 1, rtol=1e-5)
    views = list(evaluation_clips(run, opened.val, opened.accounts["val"], devices=3))
    assert sum(float(np.sum(weights)) for _, _, weights in views) == 8 * run.test_clips * run.test_crops
    assert all(len(clips) % 3 == 0 and np.isfinite(clips).all() for clips, _, _ in views)
    assert not any(map(len, opened.accounts.values()))  # No video became a bad one.
    opened.close()


ENDED = """
import socket, sys, time
from train.loop import service
service._NO_ANSWER, service._NO_BATCH = map(float, sys.argv[1:3])
server = socket.create_server(("127.0.0.1", 0))
address = "grpc://127.0.0.1:%d" % server.getsockname()[1]
with service.watched_service(address, lambda: 3, "runs/mine"):
    if sys.argv[3] == "gone":
        server.close()
    time.sleep(5)
print("went on")
"""


@pytest.mark.parametrize(
    ("seconds", "what", "status", "says"),
    [
        ((1, 99), "gone", 75, "Expected a tf.data service at .*refused.* goes on from the last .*runs/mine"),
        ((99, 1), "there", 75, "Expected clips of the service .* Received none for 1"),
        pytest.param((99, 99), "there", 0, "", marks=pytest.mark.long),
    ],
)
def test_a_run_does_not_wait_for_a_service_that_is_gone(seconds, what, status, says):
    process = small_run.run_python("-c", ENDED, *seconds, what)
    assert process.returncode == status, process.stderr[-2000:]
    assert re.search(says, process.stderr.splitlines()[-1] if says else "")
    assert ("went on" in process.stdout) == (status == 0)
